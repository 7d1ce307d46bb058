"""Two interpreters share the memory of a region's inputs and outputs: always the right one, and never more of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.device.virtual import virtual_device as internals
from atoll.device.virtual.region import Region
from atoll.errors import DeviceError
from atoll.model import DType, Graph, Model, Operator, Tensor
from small_models import (
    CONV,
    assert_equal,
    branched,
    compiled,
    constant,
    plain_interpreter,
    quantization,
    random_input,
    recurrent,
    rename,
    run,
)

Save = Callable[[Model], Path]
SHAPE = (1, 4, 4, 4)


@pytest.fixture
def regions(monkeypatch: pytest.MonkeyPatch) -> list[Region]:
    """Those that are made during the test."""
    made: list[Region] = []

    class Noted(Region):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(internals, "Region", Noted)
    return made


def opened(path: Path) -> Interpreter:
    interpreter = make_interpreter(path, VirtualEdgeTpu())
    interpreter.allocate_tensors()
    return interpreter


def assert_as_plain(model: Model, interpreter: Interpreter, times: int = 3) -> None:
    oracle, random = plain_interpreter(model), np.random.default_rng(0)
    for _ in range(times):
        values = random_input(oracle, random)
        assert_equal(run(interpreter, values), run(oracle, values))


def convolutions(count: int, then: Then | None = None) -> Model:
    """One after the other; ``then`` an operator with a constant between the last two, of which both sides go out."""
    random = np.random.default_rng(count)
    tensors = [Tensor("x", SHAPE, DType.INT8, quantization(0.05))]
    operators: list[Operator] = []
    scales = [0.004, 0.003, 0.005, 0.002]

    def conv(name: str, source: int) -> int:
        tensors.append(constant(f"{name}/w", random.integers(-127, 128, (4, 3, 3, 4), np.int8), quantization(*scales)))
        bias = random.integers(-200, 200, 4, np.int32)
        tensors.append(constant(f"{name}/b", bias, quantization(*(0.05 * scale for scale in scales))))
        tensors.append(Tensor(name, SHAPE, DType.INT8, quantization(0.05)))
        inputs = (source, len(tensors) - 3, len(tensors) - 2)
        operators.append(Operator("CONV_2D", inputs, (len(tensors) - 1,), CONV, "Conv2DOptions"))
        return len(tensors) - 1

    last, outputs = 0, []
    for n in range(count - 1):
        last = conv(f"y{n}", last)
    if then is not None:
        outputs.append(last)
        kind, options_type, options, values = then
        tensors.append(constant("argument", values))
        tensors.append(Tensor("between", SHAPE, DType.INT8, quantization(0.05)))
        operators.append(Operator(kind, (last, len(tensors) - 2), (len(tensors) - 1,), options, options_type))
        last = len(tensors) - 1
    outputs.append(conv("z", last))
    return Model((Graph(tuple(tensors), tuple(operators), (0,), tuple(outputs), "main"),))


def everything(model: Model) -> Model:
    return compiled(model, range(len(model.main.operators)))


def test_a_tensor_larger_than_the_file_says_is_refused(save: Save) -> None:
    """LiteRT computes shapes anew: the kernel would write behind what the other interpreter has reserved."""
    model = compiled(branched(), [3])
    for graph in (0, 1):
        model = rename(model, graph, "conv_3", shape=(1, 1, 1, 4))
    with pytest.raises(DeviceError, match=r"computes 'conv_3' as \[1, 8, 8, 4\], not as \[1, 1, 1, 4\]"):
        make_interpreter(save(model), VirtualEdgeTpu())


def test_tensors_that_the_runtime_moves_are_still_found(save: Save, regions: list[Region]) -> None:
    """LiteRT keeps its tensors in a vector, and moves them when kernels ask for more of them than it has room for."""
    moved = 0
    for count in range(26, 33):
        regions.clear()
        model = convolutions(count)
        interpreter = opened(save(everything(model)))
        (region,) = regions
        slot = region._slots[0]
        before = slot._tensors.value
        assert_as_plain(model, interpreter)
        moved += slot._tensors.value != before
        for slot in region._slots:
            slot.share(False)
            assert slot.tensor.data == slot._own != slot.address
            slot.address = -1  # as if the tensors of the outer interpreter had moved
        assert_as_plain(model, interpreter)
        for slot in region._slots:
            assert slot.tensor.data == slot.view.array.ctypes.data
    assert moved, "the case that this is about did not come up"


Then = tuple[str, str, dict[str, object], np.ndarray]
RESHAPE: Then = ("RESHAPE", "ReshapeOptions", {"new_shape": list(SHAPE)}, np.array(SHAPE, np.int32))
TRANSPOSE: Then = ("TRANSPOSE", "TransposeOptions", {}, np.array([0, 2, 1, 3], np.int32))


@pytest.mark.parametrize("then", [RESHAPE, TRANSPOSE], ids=["RESHAPE", "TRANSPOSE"])
def test_an_output_that_is_read_inside_too(save: Save, regions: list[Region], then: Then) -> None:
    """LiteRT lets some operators work in place: not where that would be the memory of another interpreter."""
    model = convolutions(3, then)
    assert_as_plain(model, opened(save(everything(model))))
    assert regions[0]._shares


def test_an_output_that_the_outer_graph_reads_too(save: Save, regions: list[Region]) -> None:
    model = branched()
    assert_as_plain(model, opened(save(compiled(model, [0, 1]))))
    assert regions[0]._shares


def test_outer_tensors_that_move_are_followed(save: Save, regions: list[Region]) -> None:
    """An input that is resized makes the outer arena another one."""
    both = convolutions(2)
    graph = both.main
    more = len(graph.tensors)
    tensors = (*graph.tensors, Tensor("free", (1, 8), DType.INT8, quantization(0.05)))
    tensors += (Tensor("also", (1, 8), DType.INT8, quantization(0.05)),)
    operators = (*graph.operators, Operator("ABS", (more,), (more + 1,), {}, "AbsOptions"))
    model = Model((Graph(tensors, operators, (0, more), (*graph.outputs, more + 1), "main"),))
    interpreter, oracle = opened(save(compiled(model, [0, 1]))), plain_interpreter(model)
    random, addresses = np.random.default_rng(0), set()
    for size in (8, 100_000, 8, 1_000_000):
        for each in (interpreter, oracle):
            (index,) = (d["index"] for d in each.get_input_details() if d["name"] == "free")
            each.resize_tensor_input(index, [1, size])
            each.allocate_tensors()
        values = random_input(oracle, random)
        assert_equal(run(interpreter, values), run(oracle, values))
        addresses.add(regions[0]._slots[0].address)
    assert regions[0]._shares and len(addresses) > 1


def test_shapes_that_depend_on_values_are_copied(save: Save, regions: list[Region]) -> None:
    """A tensor that is placed while operators run makes LiteRT place those behind it anew."""
    inner = quantization(0.05)
    tensors = (
        Tensor("x", (1, 16), DType.INT8, inner),
        Tensor("shape", (2,), DType.INT32),
        Tensor("shaped", (4, 4), DType.INT8, inner),
        constant("flat", np.array([16], np.int32)),
        Tensor("y", (16,), DType.INT8, inner),
    )
    operators = (
        Operator("RESHAPE", (0, 1), (2,), {}, ""),
        Operator("RESHAPE", (2, 3), (4,), {"new_shape": [16]}, "ReshapeOptions"),
    )
    model = Model((Graph(tensors, operators, (0, 1), (4,), "main"),))
    interpreter = opened(save(everything(model)))
    for rows in (2, 8, 4):
        x = np.arange(16, dtype=np.int8)[None] + np.int8(rows)
        shape = np.array([rows, 16 // rows], np.int32)
        assert_equal(run(interpreter, {"x": x, "shape": shape}), {"y": x[0]})
    assert not regions[0]._shares


def test_a_state_stays_inside(save: Save) -> None:
    """A variable tensor is the region's own, even where the custom operator names one like it as its input."""
    model = compiled(recurrent(), [0])
    device, cpu = model.graphs
    tensors = (*device.tensors, Tensor("state", (1, 4), DType.FLOAT32))
    operator = replace(device.operators[0], inputs=(*device.operators[0].inputs, len(tensors) - 1))
    outer = replace(device, tensors=tensors, operators=(operator,), inputs=(*device.inputs, len(tensors) - 1))
    interpreter = opened(save(replace(model, graphs=(outer, cpu), signatures=model.signatures[1:])))
    oracle, values = plain_interpreter(recurrent()), {"x": np.ones((1, 3), np.float32)}
    state = np.full((1, 4), 0.5, np.float32)
    (index,) = (d["index"] for d in interpreter.get_input_details() if d["name"] == "state")
    for _ in range(3):
        assert_equal(run(interpreter, values | {"state": state}), run(oracle, values))
        np.testing.assert_array_equal(interpreter.get_tensor(index), state)


def test_tensors_of_no_bytes(save: Save) -> None:
    tensors = (Tensor("x", (0, 4), DType.FLOAT32), Tensor("y", (0, 4), DType.FLOAT32))
    model = Model((Graph(tensors, (Operator("ABS", (0,), (1,), {}, "AbsOptions"),), (0,), (1,), "main"),))
    interpreter = opened(save(everything(model)))
    assert run(interpreter, {"x": np.zeros((0, 4), np.float32)})["y"].shape == (0, 4)
