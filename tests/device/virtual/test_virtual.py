"""The virtual Edge TPU computes what LiteRT computes, from the compiled file alone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.device.virtual import delegate as delegate_internals
from atoll.device.virtual import virtual_device as internals
from atoll.errors import DeviceError
from atoll.model import Model
from atoll.model.tflite import model_bytes, parse_model
from shared_data import DATA
from small_models import (
    assert_equal,
    branched,
    chain,
    compiled,
    package,
    plain_interpreter,
    random_input,
    recurrent,
    rename,
    run,
)

Save = Callable[[Model], Path]

MODELS = DATA / "models"


def opened(path: Path, device: VirtualEdgeTpu | None = None) -> Interpreter:
    interpreter = make_interpreter(path, device or VirtualEdgeTpu())
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize(
    "regions",
    [
        ([0, 1, 2, 3, 4],),
        ([0],),
        ([1, 2],),
        ([3],),
        ([0, 1, 2], [3]),
        ([0, 1], [2, 3, 4]),
        ([0], [1], [2], [3], [4]),
        ([0], [2, 4]),
    ],
    ids=str,
)
def test_outputs_equal_litert_bit_for_bit(save: Save, regions: tuple[Collection[int], ...]) -> None:
    """Whole, with operators on the CPU before, between and after, and with fused custom operators."""
    model = branched()
    oracle, interpreter = plain_interpreter(model), opened(save(compiled(model, *regions)))
    random, seen = np.random.default_rng(3), set()
    for _ in range(5):
        values = random_input(oracle, random)
        result = run(interpreter, values)
        assert_equal(result, run(oracle, values))
        seen.add(result["pool"].tobytes())
    assert len(seen) == 5  # equal because computed, not because constant


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=5, max_size=5))
def test_any_contiguous_regions(labels: list[int]) -> None:
    """Operators of one label that stand together become one region; label 0 stays on the CPU."""
    regions: list[list[int]] = []
    for index, label in enumerate(labels):
        if label and index and labels[index - 1] == label:
            regions[-1].append(index)
        elif label:
            regions.append([index])
    model = branched()
    oracle, content = plain_interpreter(model), bytes(model_bytes(compiled(model, *regions)))
    delegate = VirtualEdgeTpu().delegate(parse_model(content))
    interpreter = Interpreter(
        model_content=content,
        experimental_delegates=[delegate],
        experimental_op_resolver_type=internals.RESOLVER,
    )
    interpreter.allocate_tensors()
    values = random_input(oracle, np.random.default_rng(5))
    assert_equal(run(interpreter, values), run(oracle, values))


@pytest.mark.parametrize("resolver", [OpResolverType.BUILTIN, OpResolverType.BUILTIN_REF])
def test_outputs_equal_litert_with_other_kernels(save: Save, resolver: OpResolverType) -> None:
    model = branched()
    oracle = Interpreter(model_content=bytes(model_bytes(model)), experimental_op_resolver_type=resolver)
    oracle.allocate_tensors()
    interpreter = make_interpreter(save(compiled(model, [1, 2])), resolver=resolver)
    interpreter.allocate_tensors()
    values = random_input(oracle, np.random.default_rng(3))
    assert_equal(run(interpreter, values), run(oracle, values))


def test_the_same_file_runs_without_a_device(save: Save) -> None:
    model = branched()
    oracle, path = plain_interpreter(model), save(compiled(model, [0, 1, 2]))
    values = random_input(oracle, np.random.default_rng(3))
    alone = Interpreter(model_path=str(path), experimental_op_resolver_type=internals.RESOLVER)
    assert_equal(alone.get_signature_runner("cpu")(**values), run(oracle, values))


def test_state_is_kept_between_inferences(save: Save) -> None:
    model = recurrent()
    oracle, path = plain_interpreter(model), save(compiled(model, [0]))
    first, second = opened(path), opened(path)
    values = random_input(oracle, np.random.default_rng(3))
    outputs = []
    for _ in range(4):
        expected = run(oracle, values)
        assert_equal(run(first, values), expected)
        outputs.append(expected["y"])
    assert not np.array_equal(outputs[0], outputs[1])  # the state matters
    np.testing.assert_array_equal(run(second, values)["y"], outputs[0])  # and each interpreter has its own


def test_interpreters_in_threads_do_not_disturb_each_other(save: Save) -> None:
    model = branched()
    oracle, path = plain_interpreter(model), save(compiled(model, [0, 1], [2, 3, 4]))
    inputs = [random_input(oracle, np.random.default_rng(seed)) for seed in range(50)]
    expected = [run(oracle, values) for values in inputs]
    shared, own = VirtualEdgeTpu(), VirtualEdgeTpu()

    def work(device: VirtualEdgeTpu) -> list[dict[str, np.ndarray]]:
        interpreter = opened(path, device)
        return [run(interpreter, values) for values in inputs]

    with ThreadPoolExecutor(3) as pool:
        for results in pool.map(work, (shared, shared, own)):
            for result, value in zip(results, expected, strict=True):
                assert_equal(result, value)


def test_a_device_runs_one_inference_at_a_time(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(compiled(branched(), [0, 1, 2, 3, 4]))
    running, most = [0], [0]

    def slowly(_: internals.Region) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.005)
        running[0] -= 1

    monkeypatch.setattr(internals.Region, "run", slowly)
    device = VirtualEdgeTpu()
    threads = [threading.Thread(target=opened(path, device).invoke) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_latency_is_a_lower_bound_and_leaves_results_alone(save: Save) -> None:
    model = branched()
    oracle, device = plain_interpreter(model), VirtualEdgeTpu(latency=0.003)
    interpreter = opened(save(compiled(model, [0, 1, 2, 3, 4])), device)
    values = random_input(oracle, np.random.default_rng(3))
    for _ in range(5):
        begin = time.perf_counter()
        result = run(interpreter, values)
        assert time.perf_counter() - begin >= 0.003
        assert_equal(result, run(oracle, values))


@pytest.mark.parametrize("latency", [-1.0, float("nan"), float("inf")])
def test_impossible_latency(latency: float) -> None:
    with pytest.raises(DeviceError, match="latency"):
        VirtualEdgeTpu(latency=latency)


def test_ctrl_c_during_an_inference_stays_ctrl_c(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = opened(save(compiled(branched(), [0, 1])))

    def interrupted(_: internals.Region) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(internals.Region, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            interpreter.invoke()
    interpreter.invoke()


def test_ctrl_c_that_no_kernel_could_catch(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised at the entry of the callback it would leave the outputs stale and the invoke successful."""
    interpreter = opened(save(compiled(branched(), [0], [3])))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(delegate_internals, "_instance", interrupted)
        patch.setattr(delegate_internals, "_fail", interrupted)
        patch.setattr(sys, "unraisablehook", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            interpreter.invoke()
    interpreter.invoke()


def test_compiled_operator_outside_of_the_main_graph() -> None:
    model = compiled(branched(), [0])
    with pytest.raises(DeviceError, match="graph 2 holds an Edge TPU operator"):
        VirtualEdgeTpu().delegate(replace(model, graphs=(*model.graphs, model.graphs[0])))


def test_failure_of_the_device_is_the_cause(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = opened(save(compiled(branched(), [0, 1])))

    def broken(_: internals.Region) -> None:
        raise DeviceError("the link is down")

    monkeypatch.setattr(internals.Region, "run", broken)
    with pytest.raises(RuntimeError, match="the link is down") as caught:
        interpreter.invoke()
    assert isinstance(caught.value.__cause__, DeviceError)


def test_file_without_its_original_operators(tmp_path: Path) -> None:
    path = tmp_path / "vendor_edgetpu.tflite"
    path.write_bytes(chain(package(chip="beagle")))
    with pytest.raises(DeviceError, match=r"vendor_edgetpu\.tflite was compiled for real Edge TPUs") as caught:
        make_interpreter(path)
    assert "original model" in caught.value.hint


@pytest.mark.parametrize(
    ("graph", "tensor", "changes", "message"),
    [
        (1, "sum", {"name": "other"}, "no tensor 'sum'"),
        (1, "conv_1", {"name": "other"}, "needs 'x'"),
        (0, "sum", {"name": "x"}, "no operator that computes 'x'"),
        (0, "sum", {"shape": (1, 8, 8, 2)}, r"'sum' as int8\[1, 8, 8, 4\], not as int8\[1, 8, 8, 2\]"),
    ],
)
def test_graphs_that_do_not_belong_together(
    save: Save, graph: int, tensor: str, changes: dict[str, object], message: str
) -> None:
    path = save(rename(compiled(branched(), [1, 2]), graph, tensor, **changes))
    with pytest.raises(DeviceError, match=message):
        make_interpreter(path)


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant", "keras_lstm_mnist_ptq", "split_concat"])
def test_real_models(save: Save, name: str) -> None:
    path = MODELS / f"uncompiled/{name}.tflite"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    model = parse_model(path.read_bytes())
    count = len(model.main.operators)
    oracle = plain_interpreter(model)
    interpreter = opened(save(compiled(model, range(count // 2), range(count // 2, count))))
    for seed in range(3):
        values = random_input(oracle, np.random.default_rng(seed))
        assert_equal(run(interpreter, values), run(oracle, values))


def test_vendor_compiled_files_are_refused() -> None:
    files = sorted(MODELS.glob("v*/**/*_edgetpu.tflite"))
    if not files:
        pytest.skip(f"{MODELS} is not there")
    for file in files:
        with pytest.raises(DeviceError, match="compiled for real Edge TPUs"):
            make_interpreter(file)
