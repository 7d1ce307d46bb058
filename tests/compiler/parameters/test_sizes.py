"""Bytes and rows of the operators that have parameters but no weights in the chip's layout."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from atoll.compiler.parameters import ParameterSize, parameter_size
from atoll.hardware.generations import generation
from atoll.model import DType, Graph, Operator
from weighted_graphs import activation, constant, one_layer


def unary(kind: str, shape: tuple[int, ...], dtype: DType = DType.INT8) -> Graph:
    tensors = tuple(dataclasses.replace(activation(name, shape), dtype=dtype) for name in "xy")
    return Graph(tensors, (Operator(kind, (0,), (1,)),), (0,), (1,))


def binary(kind: str, constant_shape: tuple[int, ...]) -> Graph:
    tensors = (
        activation("x", (1, 5, 5, 6)),
        constant("c", np.ones(constant_shape, np.int8)),
        activation("y", (1, 5, 5, 6)),
    )
    return Graph(tensors, (Operator(kind, (0, 1), (2,)),), (0,), (2,))


def size(graph: Graph, name: str = "16") -> ParameterSize:
    return parameter_size(graph, graph.operators[0], generation(name))


@pytest.mark.parametrize(
    ("channels", "compiler", "dtype", "nbytes"),
    [
        (1001, "16", DType.UINT8, 3 * 251 * 64 + 64),
        (1001, "16", DType.INT8, 3 * 251 * 64 + 64),
        (1000, "16", DType.INT8, 0),
        (1001, "2.1", DType.UINT8, 0),
        (10, "15", DType.INT8, 2 * 3 * 64),
        (10, "2.0", DType.INT8, 0),
    ],
)
def test_softmax_tables(channels, compiler, dtype, nbytes):
    assert size(unary("SOFTMAX", (1, channels), dtype), compiler) == ParameterSize(nbytes)


@pytest.mark.parametrize("kind", ["ADD", "MUL", "SUB", "MAXIMUM", "MINIMUM"])
@pytest.mark.parametrize(("shape", "nbytes"), [((1, 1, 1, 6), 128), ((1, 5, 5, 6), 192), ((1,), 0), ((), 0)])
def test_constants_of_elementwise_operators_are_streamed(kind, shape, nbytes):
    assert size(binary(kind, shape)) == ParameterSize(nbytes, streamed=nbytes > 0)


def test_operators_without_constants_take_nothing():
    for kind in ("AVERAGE_POOL_2D", "RESIZE_BILINEAR", "LOGISTIC", "RESHAPE", "CONCATENATION"):
        assert size(unary(kind, (1, 4, 4, 3))) == ParameterSize()


def test_lstm_gates_of_the_one_real_model():
    """20 units on 28 inputs: 6,656 bytes (facts/parameters.md, "Not covered")."""
    tensors = [activation("x", (1, 28, 28)), *(constant(f"i{n}", np.ones((20, 28), np.int8)) for n in range(4))]
    tensors += [constant(f"r{n}", np.ones((20, 20), np.int8)) for n in range(4)] + [activation("y", (1, 28, 20))]
    graph = Graph(tuple(tensors), (Operator("UNIDIRECTIONAL_SEQUENCE_LSTM", tuple(range(9)), (9,)),), (0,), (9,))
    assert size(graph).nbytes == 6656


@pytest.mark.parametrize(
    ("outputs", "kernel", "inputs", "blob", "block_rows"),
    [
        (8, 3, 3, 640, (10,)),  # mobilenet_v1_0.25's first layer, goldens.json
        (64, 1, 32, 2304, (9,)),
        (160, 1, 6, 3 * 64 * 12, (3, 3, 3)),
    ],
)
def test_rows_are_counted_per_block_of_64_outputs(outputs, kernel, inputs, blob, block_rows):
    weights = np.ones((outputs, kernel, kernel, inputs), np.int8)
    graph = one_layer("CONV_2D", (1, 9, 9, inputs), weights, np.ones(outputs), (1, 9, 9, outputs), [1], [0], padding=0)
    assert size(graph) == ParameterSize(blob, block_rows)
