"""Small graphs of known shape for the timing tests; constants have sizes and no meaning."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from atoll.estimate import OperatorWork, ParameterUse, work_of
from atoll.model.graph import Buffer, DType, Graph, Operator, Tensor


class Builder:
    """Appends operators one after the other to a growing graph."""

    def __init__(self, *shape: int) -> None:
        self.tensors = [Tensor("input", shape, DType.INT8)]
        self.operators: list[Operator] = []

    def add(self, kind: str, shape: Sequence[int], weights: tuple[int, ...] = (), **options: int) -> Builder:
        """An operator on the last output."""
        inputs = [len(self.tensors) - 1]
        if weights:
            buffer = Buffer(np.zeros(math.prod(weights), np.uint8))
            self.tensors.append(Tensor(f"w{len(self.tensors)}", weights, DType.INT8, buffer=buffer))
            inputs.append(len(self.tensors) - 1)
        self.tensors.append(Tensor(f"t{len(self.tensors)}", tuple(shape), DType.INT8))
        self.operators.append(Operator(kind, tuple(inputs), (len(self.tensors) - 1,), options))
        return self

    def conv(self, channels: int, kernel: int = 3, stride: int = 1) -> Builder:
        """A convolution with SAME padding."""
        _, h, w, c = self.tensors[-1].shape
        shape = 1, -(-h // stride), -(-w // stride), channels
        return self.add("CONV_2D", shape, (channels, kernel, kernel, c), stride_h=stride, stride_w=stride)

    def dense(self, units: int) -> Builder:
        return self.add("FULLY_CONNECTED", (1, units), (units, self.tensors[-1].shape[-1]))

    def graph(self) -> Graph:
        return Graph(tuple(self.tensors), tuple(self.operators), (0,), (len(self.tensors) - 1,))


def convolutions(filters: int, layers: int = 5, size: int = 64) -> Graph:
    """The nets of ../shared/data/sweeps/conv_1tpu.csv."""
    builder = Builder(1, size, size, 3)
    for _ in range(layers):
        builder.conv(filters)
    return builder.graph()


def chain(units: int, layers: int) -> Graph:
    """Fully connected layers."""
    builder = Builder(1, units)
    for _ in range(layers):
        builder.dense(units)
    return builder.graph()


def uses(graph: Graph, streamed: Sequence[int] = ()) -> dict[int, ParameterUse]:
    """Raw constant bytes, cached except for the operators ``streamed``."""
    result = {}
    for index, operator in enumerate(graph.operators):
        nbytes = sum(t.nbytes for t in graph.inputs_of(operator) if t.is_constant)
        result[index] = ParameterUse(streamed=nbytes) if index in streamed else ParameterUse(cached=nbytes)
    return result


def work(builder: Builder) -> OperatorWork:
    """That of the last operator."""
    graph = builder.graph()
    return work_of(graph, graph.operators[-1])
