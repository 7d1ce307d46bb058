"""A pipeline in other processes does what one in threads does, and loses nothing when a process dies."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atoll.errors import DeviceError, InputError, PipelineClosedError, PipelineError
from atoll.pipeline import Pipeline, StageError, TensorSpec, Trace
from atoll.pipeline.processes.chain import ProcessDiedError
from pipeline_fakes import PATIENCE_S, POISON, Fake, Tensors, chain, expected, frame, step
from process_fakes import Before, hangs, nothing, opens_once, outcomes, right, segments, sleeps

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.mark.parametrize(("processes", "replicas"), [(1, 1), (2, 1), (3, 2), (4, 1)])
def test_results_are_those_of_threads(processes: int, replicas: int) -> None:
    trace = Trace()
    with Pipeline(segments(4, replicas, s1=sleeps), processes=processes, trace=trace) as pipeline:
        assert outcomes(pipeline, 100) == right(100, 4)
    stats = pipeline.stats()
    counts = [sum(stage.count for stage in stats if stage.segment == segment) for segment in range(4)]
    assert counts == [100] * 4
    assert {event.segment for event in trace.events} == set(range(4)) and len(trace.events) == 400
    assert pipeline.bottleneck() is not None


def test_tensors_that_cross_several_processes() -> None:
    def opener(reads: Sequence[str], gives: Sequence[str], compute: Callable[[Tensors], Tensors]) -> Any:
        return partial(Fake, reads, gives, compute, shapes={"x": (3, 5), "y": ()}, dtypes={"y": np.float64})

    parts = [
        opener(["x", "y"], ["a", "early"], first),
        opener(["a"], ["b"], second),
        opener(["x", "b"], ["last"], third),
    ]
    with Pipeline(parts, processes=3) as pipeline:
        assert [spec.name for spec in pipeline.outputs] == ["early", "last"]
        x = np.arange(15, dtype=np.int32).reshape(3, 5)
        results = list(pipeline.map({"x": x * i, "y": np.array(0.5 * i)} for i in range(30)))
    for i, result in enumerate(results):
        assert (result["early"] == i).all()
        assert (result["last"] == (x * i)[0, :2] + x[0, 1] * i + 1 + 7).all()


def first(tensors: Tensors) -> Tensors:
    return {"a": tensors["x"][0, 1] + np.ones(2, np.int32), "early": 2 * tensors["y"]}


def second(tensors: Tensors) -> Tensors:
    return {"b": tensors["a"] + 7}


def third(tensors: Tensors) -> Tensors:
    return {"last": tensors["x"][0, :2] + tensors["b"]}


def test_results_belong_to_the_caller_and_inputs_may_be_used_again() -> None:
    value = frame(0)
    with Pipeline(segments(2), processes=2) as pipeline:
        kept = []
        for i in range(50):
            value[...] = i
            pipeline.push(value)
            value[...] = -1
            kept.append(pipeline.pop())
    assert [int(result["t2"][0]) for result in kept if result] == right(50, 2)


def test_a_failure_has_its_place_and_the_others_go_on() -> None:
    with Pipeline(segments(3), processes=3, on_error="continue") as pipeline:
        for value in (0, POISON, 2):
            pipeline.push(frame(value))
        pipeline.close()
        assert int(pipeline.pop()["t3"][0]) == expected(0, 3)  # type: ignore[index]
        with pytest.raises(StageError, match="segment 0 failed on item 1: poisoned") as caught:
            pipeline.pop()
        assert isinstance(caught.value.__cause__, ValueError)
        assert int(pipeline.pop()["t3"][0]) == expected(2, 3)  # type: ignore[index]
        assert pipeline.pop() is None


@pytest.mark.parametrize("segment", [0, 2])
def test_a_failure_stops_after_the_results_before_it(segment: int, tmp_path: Path) -> None:
    before: dict[str, Before] = {f"s{segment}": Fails(expected(5, segment))}
    with Pipeline(segments(3, **before), processes=3) as pipeline:
        found = outcomes(pipeline, 40)
    assert found == [*right(5, 3), (segment, 5, PipelineError)]
    assert pipeline.failure is not None and "CannotTravelError: one" in str(pipeline.failure)
    with pytest.raises(StageError, match="failed on item 5"):
        pipeline.pop()
    with pytest.raises(StageError):
        pipeline.push(frame(0))


class CannotTravelError(Exception):
    """Pickle cannot make it again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


@dataclass(frozen=True)
class Fails:
    at: int

    def __call__(self, value: np.ndarray) -> None:
        if value[0] == self.at:
            raise CannotTravelError("on", "e")


def test_an_allocator_that_fails_ends_it_with_its_error() -> None:
    class Failing:
        calls = 0

        def allocate(self, spec: TensorSpec, /) -> np.ndarray:
            self.calls += spec.name == "t2"
            if self.calls > 3:
                raise MemoryError("no more")
            return np.empty(spec.shape, spec.dtype)

    with Pipeline(segments(2), processes=2, allocator=Failing()) as pipeline:
        found = outcomes(pipeline, 20)
    assert found == [*right(3, 2), (0, 3, MemoryError)]


def test_outputs_of_another_size_are_failures() -> None:
    part = partial(Fake, ["x"], ["y"], other_size, shapes={"x": (2,), "y": (2,)})
    with Pipeline([partial(Resizing, part)], processes=1, on_error="continue") as pipeline:
        pipeline.push(frame(1))
        with pytest.raises(StageError, match=r"expected tensor 'y' int32\[2\], got int32\[3\]"):
            pipeline.pop(PATIENCE_S)


def other_size(_tensors: Tensors) -> Tensors:
    return {}


class Resizing:
    def __init__(self, opener: Callable[[], Fake]) -> None:
        self._fake = opener()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fake, name)

    def get_tensor(self, _index: int, /) -> np.ndarray:
        return np.zeros(3, np.int32)


def test_too_small_a_budget_leaves_no_process() -> None:
    with pytest.raises(PipelineError, match="memory_budget"):
        Pipeline(segments(2), processes=2, memory_budget=1)


def test_what_an_opener_says_comes_here(tmp_path: Path) -> None:
    (tmp_path / "marker").touch()
    with pytest.raises(DeviceError, match="the device is gone") as caught:
        Pipeline([partial(step, 0), partial(opens_once, tmp_path / "marker", nothing)], processes=2)
    assert caught.value.hint == "Plug it in again."
    with pytest.raises(ProcessDiedError, match=r"process 1 of the pipeline died \(exit code 9\)"):
        Pipeline([partial(step, 0), partial(os._exit, 9)], processes=2)
    with pytest.raises(PipelineError, match="segment 1 needs tensor 't2'"):
        Pipeline([partial(step, 0), partial(step, 2)], processes=2)


def test_what_cannot_go_to_another_process_is_refused() -> None:
    with pytest.raises(PipelineError, match="segment 1 is given as Fake, but it has to be opened in another process"):
        Pipeline([partial(step, 0), *chain(2)[1:]], processes=2)
    with pytest.raises(PipelineError, match=r"cannot go to another process: .*lambda"):
        Pipeline([lambda: step(0)], processes=1)
    with pytest.raises(PipelineError, match=r"cannot go to another process: .*lambda"):
        Pipeline([NAMELESS], processes=1)
    for processes in (0, -1, 3):
        with pytest.raises(PipelineError, match=f"2 segments do not fit into {processes} processes"):
            Pipeline(segments(2), processes=processes)


NAMELESS = lambda: step(0)  # noqa: E731


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot tie processes to processors")
def test_processes_stay_on_their_processors() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    parts = [partial(Fake, [f"t{i}"], [f"t{i + 1}"], partial(allowed_cpu, f"t{i + 1}"), shape=(1,)) for i in range(3)]
    with Pipeline(parts, processes=3, cpus=allowed[:2], outputs=["t1", "t2", "t3"]) as pipeline:
        pipeline.push(np.zeros(1, np.int32))
        result = pipeline.pop(PATIENCE_S)
    assert result is not None
    assert [int(result[f"t{i + 1}"][0]) for i in range(3)] == [allowed[:2][i % len(allowed[:2])] for i in range(3)]
    with pytest.raises(PipelineError, match="processor 12345 is not among those that this process may use"):
        Pipeline(parts, processes=3, cpus=[12345])
    with pytest.raises(PipelineError, match="no processor is among"):
        Pipeline(parts, processes=3, cpus=[])
    with pytest.raises(PipelineError, match="cpus are for worker processes"):
        Pipeline(parts, cpus=allowed)


def allowed_cpu(name: str, _tensors: Tensors) -> Tensors:
    (only,) = os.sched_getaffinity(0)
    return {name: np.array([only], np.int32)}


def test_openers_serve_threads_too() -> None:
    with Pipeline(segments(2, 2), spares={0: [partial(step, 0)]}) as pipeline:
        assert outcomes(pipeline, 20) == right(20, 2)


def test_spares_and_reopening_happen_there() -> None:
    flaky = partial(step, 1, Fails(expected(2, 1)))
    for helper in ({"spares": {1: [partial(step, 1)]}}, {"reopen": reopened}):
        with Pipeline([partial(step, 0), flaky], processes=2, on_error="retry", **helper) as pipeline:  # type: ignore[arg-type]
            assert outcomes(pipeline, 10) == right(10, 2)
        assert [stage.failures for stage in pipeline.stats()] == [0, 1]


def reopened(segment: int, _failed: Any) -> Fake:
    return step(segment)


def test_cancel_returns_at_once_whatever_a_stage_does() -> None:
    pipeline = Pipeline(segments(2, s1=hangs), processes=2)
    pipeline.push(frame(0))
    waiting = threading.Thread(target=pipeline.pop)
    waiting.start()
    begin = time.monotonic()
    pipeline.cancel()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive() and time.monotonic() - begin < PATIENCE_S / 2
    assert pipeline.join(PATIENCE_S)
    with pytest.raises(PipelineClosedError):
        pipeline.push(frame(0))


def test_an_exception_in_the_block_ends_it() -> None:
    with pytest.raises(KeyError), Pipeline(segments(2), processes=2) as pipeline:
        for i in range(5):
            pipeline.push(frame(i), PATIENCE_S)
        raise KeyError
    assert pipeline.pop() is None


def test_a_dropped_pipeline_ends_its_processes() -> None:
    pipeline = Pipeline(segments(2), processes=2)
    pipeline.push(frame(0))
    engine = pipeline._engine
    del pipeline
    gc.collect()
    assert not engine.join(PATIENCE_S)


def test_never_more_inside_than_fits() -> None:
    with Pipeline(segments(2, s1=hangs), processes=2, input_queue=1, stage_queue=1, output_queue=1) as pipeline:
        pushed = 0
        with pytest.raises(TimeoutError):
            for pushed in range(100):
                pipeline.push(frame(pushed), 0.5)
        assert pushed <= pipeline.capacity < 20
        pipeline.cancel()


def test_resizing_and_bad_input_while_it_runs() -> None:
    with Pipeline(segments(3), processes=1) as pipeline:
        pipeline.push(frame(1))
        before = pipeline.capacity
        pipeline.resize(input_queue=5, stage_queue=7, output_queue=9)
        assert pipeline.capacity == before + (5 - 2) + 2 * (7 - 2) + (9 - 2)
        with pytest.raises(InputError):
            pipeline.push({"wrong": frame(1)})
        assert int(pipeline.pop()["t3"][0]) == expected(1, 3)  # type: ignore[index]
        assert list(pipeline.map([])) == []


def test_asyncio() -> None:
    async def main() -> list[int]:
        async with Pipeline(segments(2), processes=2) as pipeline:
            return [int(result["t2"][0]) async for result in pipeline.amap(frame(i) for i in range(50))]

    assert asyncio.run(main()) == right(50, 2)


def test_two_pipelines_at_once() -> None:
    with Pipeline(segments(2), processes=2) as one, Pipeline(segments(2), processes=1) as other:
        pairs = zip(one.map(frame(i) for i in range(30)), other.map(frame(i + 1) for i in range(30)))
        assert [(int(a["t2"][0]), int(b["t2"][0])) for a, b in pairs] == [
            (expected(i, 2), expected(i + 1, 2)) for i in range(30)
        ]
