"""Delegates built against older TensorFlow Lites, in today's LiteRT: results, lifetimes, failures."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from atoll.device import adapt_delegate, make_interpreter
from atoll.device.inventory import edge_tpus
from atoll.device.real import adapter, context_view
from atoll.model import DType, Graph, Model, Operator, Tensor
from atoll.model.tflite import model_bytes
from atoll.pycoral.utils import edgetpu
from small_models import chain, custom, package, quantization
from standins import OF_2019, OF_2021, TODAY, Install, Layout, Standin

PAYLOAD = package(chip="beagle")


@pytest.fixture(params=[TODAY, OF_2021, OF_2019], ids=["today", "2021", "2019"])
def library(request: pytest.FixtureRequest, install: Install) -> Path:
    return install(request.param)


def on_the_cpu_between() -> Model:
    """x -> custom -> RELU on the CPU -> custom (with x) -> two outputs; the first tensors belong to nobody."""
    q = quantization(0.1)
    tensors = tuple(Tensor(f"t{i}", (1, 4, 4, 8), DType.INT8, q) for i in range(7))
    operators = (
        custom([2], [3], PAYLOAD),
        Operator("RELU", (3,), (4,)),
        custom([2, 4], [5, 6], PAYLOAD),
    )
    return Model((Graph(tensors, operators, (2,), (6, 5)),))


def computed(*inputs: np.ndarray) -> np.ndarray:
    """What a node of the stand-in computes."""
    total = sum(values.view(np.uint8).astype(np.uint32) for values in inputs)
    return np.asarray(3 * total + 1).astype(np.uint8).view(np.int8)


def run(interpreter: Any, values: np.ndarray) -> list[np.ndarray]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def random(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


@pytest.mark.usefixtures("library")
def test_results_are_right(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(model_bytes(on_the_cpu_between()))
    interpreter = make_interpreter(path)
    interpreter.allocate_tensors()
    for seed in range(20):
        values = random((1, 4, 4, 8), seed)
        expected = computed(values, np.maximum(computed(values), 0))
        for output in run(interpreter, values):
            np.testing.assert_array_equal(output, expected)


def test_outputs_follow_their_inputs_size(library: Path) -> None:
    """The library resizes a tensor that it has a copy of, and reads the result from it."""
    interpreter = Interpreter(
        model_content=chain(PAYLOAD, PAYLOAD, shape=(1, 16)), experimental_delegates=[adapt_delegate(library)]
    )
    for batch in (3, 1, 70):
        interpreter.resize_tensor_input(0, (batch, 16))
        interpreter.allocate_tensors()
        values = random((batch, 16), batch)
        np.testing.assert_array_equal(run(interpreter, values)[0], computed(computed(values)))


@pytest.mark.parametrize(("layout", "ours"), [(TODAY, False), (OF_2021, False), (OF_2019, True)])
def test_an_inference_calls_python_only_where_it_must(
    install: Install, monkeypatch: pytest.MonkeyPatch, layout: Layout, ours: bool
) -> None:
    called = []
    invoke = adapter._invoke
    watched = adapter.capi.NodeFn(lambda *given: called.append(1) or invoke(*given))
    monkeypatch.setattr(adapter, "_INVOKE", watched)
    interpreter = Interpreter(model_content=chain(PAYLOAD), experimental_delegates=[adapt_delegate(install(layout))])
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert bool(called) == ours


def test_the_delegate_lives_as_long_as_the_native_interpreter(library: Path, standin: Standin) -> None:
    def own() -> list[object]:
        return [event["event"] for event in standin.events() if event["pid"] == os.getpid()]

    interpreter = Interpreter(model_content=chain(PAYLOAD), experimental_delegates=[adapt_delegate(library)])
    interpreter.allocate_tensors()
    view = interpreter.tensor(1)()
    del interpreter
    gc.collect()
    assert own() == ["create"]  # a view of a tensor keeps the native interpreter
    del view
    gc.collect()
    assert own() == ["create", "node", "free"]
    assert not adapter._nodes
    assert not context_view.VIEWS


def test_a_device_is_free_when_its_driver_is_closed(library: Path, standin: Standin, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(chain(PAYLOAD))
    (device,) = edge_tpus()
    for _ in range(3):
        interpreter = make_interpreter(path)
        assert device.interpreters == 1
        interpreter.close()
        gc.collect()
        assert device.interpreters == 0
        assert standin.events()[-1]["event"] == "free"


def test_many_interpreters_share_nothing(library: Path) -> None:
    made = []
    for seed in range(4):
        interpreter = Interpreter(
            model_content=chain(*[PAYLOAD] * (seed + 1)), experimental_delegates=[adapt_delegate(library)]
        )
        interpreter.allocate_tensors()
        made.append((seed + 1, interpreter))
    for _ in range(3):
        for count, interpreter in made:
            values = expected = random((1, 4), count)
            for _ in range(count):
                expected = computed(expected)
            np.testing.assert_array_equal(run(interpreter, values)[0], expected)
        del made[1]


def test_what_a_kernel_says_arrives(library: Path, standin: Standin) -> None:
    interpreter = Interpreter(model_content=chain(PAYLOAD), experimental_delegates=[adapt_delegate(library)])
    interpreter.allocate_tensors()
    standin.set(fail="fail_invoke")
    with pytest.raises(RuntimeError, match="told to fail"):
        interpreter.invoke()
    standin.set(fail="")
    values = random((1, 4), 1)
    np.testing.assert_array_equal(run(interpreter, values)[0], computed(values))


@pytest.mark.usefixtures("library")
def test_pycoral_with_interpreters_of_litert() -> None:
    delegate = edgetpu.load_edgetpu_delegate({"device": "pci"})
    interpreter = Interpreter(model_content=chain(PAYLOAD), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    values = random((1, 4), 5)
    np.testing.assert_array_equal(run(interpreter, values)[0], computed(values))
    interpreter = edgetpu.make_interpreter(chain(PAYLOAD))
    interpreter.allocate_tensors()
    np.testing.assert_array_equal(run(interpreter, values)[0], computed(values))
