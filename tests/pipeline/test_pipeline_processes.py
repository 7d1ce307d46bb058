"""A pipeline in other processes does what one in threads does, and loses nothing when a process dies."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline_fakes import PATIENCE_S, POISON, Fake, Tensors, chain, expected, frame, step

from atoll.errors import DeviceError, InputError, PipelineClosedError, PipelineError
from atoll.pipeline import Pipeline, StageError, TensorSpec, Trace
from atoll.pipeline.processes import ring
from atoll.pipeline.processes.chain import ProcessDiedError

Before = Callable[[np.ndarray], None]
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, no shared memory, no file descriptor more than before."""
    names: list[str] = []

    class Noted(ring.SharedMemory):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            names.append(self.name)

    monkeypatch.setattr(ring, "SharedMemory", Noted)

    def left() -> tuple[int, list[str], int]:
        files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
        return (
            len(multiprocessing.active_children()),
            [name for name in names if (SHARED_MEMORY / name).exists()],
            files,
        )

    with Pipeline([partial(step, 0)], processes=1):
        pass  # the resource tracker that it starts stays
    gc.collect()
    before = left()
    yield
    gc.collect()
    assert left() == before
    assert names and not before[1]


@dataclass(frozen=True)
class Dies:
    """Ends its process on the input ``at``, as long as ``marker`` does not have so many bytes as ``times``."""

    marker: Path
    at: int
    times: int = 1
    how: int = 3
    """Exit code, or less than 0 a signal."""

    def __call__(self, value: np.ndarray) -> None:
        if value[0] == self.at and (not self.marker.exists() or self.marker.stat().st_size < self.times):
            with self.marker.open("ab") as file:
                file.write(b".")
            if self.how < 0:
                os.kill(os.getpid(), -self.how)
            os._exit(self.how)


def sleeps(value: np.ndarray) -> None:
    time.sleep(0.002 if value[0] % 3 else 0)


def hangs(_value: np.ndarray) -> None:
    threading.Event().wait()


def nothing(_value: np.ndarray) -> None:
    pass


def segments(count: int, replicas: int = 1, **before: Before) -> list[list[Callable[[], Fake]]]:
    """Segments that triple and add one; ``before`` by ``s0``, ``s1``, ... ."""
    return [[partial(step, i, before.get(f"s{i}", nothing)) for _ in range(replicas)] for i in range(count)]


def outcomes(pipeline: Pipeline, count: int) -> list[Any]:
    """Push so many items and close; their results, or segment, item and cause of their failures, until the end."""
    last = pipeline.outputs[0].name

    def produce() -> None:
        try:
            for i in range(count):
                pipeline.push(frame(i))
        except StageError:
            return
        pipeline.close()

    producer = threading.Thread(target=produce)
    producer.start()
    found: list[Any] = []
    stopped = False
    while not stopped:
        try:
            result = pipeline.pop(PATIENCE_S)
        except StageError as error:
            found.append((error.segment, error.item, type(error.__cause__)))
            stopped = pipeline.failure is not None
            continue
        if result is None:
            break
        found.append(int(result[last][0]))
    producer.join(PATIENCE_S)
    assert pipeline.join(PATIENCE_S)
    return found


def right(count: int, length: int) -> list[int]:
    return [expected(i, length) for i in range(count)]


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


@pytest.mark.parametrize("segment", range(3))
@pytest.mark.parametrize("how", [3, -signal.SIGKILL, -signal.SIGSEGV])
def test_a_process_that_dies_costs_nothing_with_retries(segment: int, how: int, tmp_path: Path) -> None:
    before: dict[str, Before] = {f"s{segment}": Dies(tmp_path / "died", expected(11, segment), how=how)}
    with Pipeline(segments(3, **before), processes=3, on_error="retry") as pipeline:
        assert outcomes(pipeline, 40) == right(40, 3)
    assert (tmp_path / "died").stat().st_size == 1


@pytest.mark.parametrize(("processes", "replicas"), [(3, 1), (2, 1), (1, 1), (1, 2)])
@pytest.mark.parametrize("segment", [0, 2])
@pytest.mark.parametrize("on_error", ["stop", "continue", "retry"])
def test_the_item_that_a_process_always_dies_of_is_the_only_one_to_fail(
    segment: int, processes: int, replicas: int, on_error: Any, tmp_path: Path
) -> None:
    before: dict[str, Before] = {f"s{segment}": Dies(tmp_path / "died", expected(4, segment), times=1000)}
    parts = segments(3, replicas, **before)
    with Pipeline(parts, processes=processes, on_error=on_error, retries=1) as pipeline:
        found = outcomes(pipeline, 12)
    head = [first for first in (n * 3 // processes for n in range(processes)) if first <= segment][-1]
    rest = [] if on_error == "stop" else right(12, 3)[5:]
    assert found == [*right(4, 3), (head, 4, ProcessDiedError), *rest]
    deaths = (tmp_path / "died").stat().st_size
    assert deaths <= 2 + (on_error == "retry"), "once with others about, and then alone, as often as it may be tried"


def test_a_process_that_has_nothing_to_do_is_nobodys_fault() -> None:
    with Pipeline(segments(2, s0=slow), processes=2) as pipeline:  # stops at the first failure
        pipeline.push(frame(1))
        children = {child.name: child for child in multiprocessing.active_children()}
        os.kill(children["atoll-segment-1"].pid or 0, signal.SIGKILL)
        assert int(pipeline.pop(PATIENCE_S)["t2"][0]) == expected(1, 2)  # type: ignore[index]


def test_a_process_that_has_only_the_end_left_is_nobodys_fault(tmp_path: Path) -> None:
    with Pipeline(segments(2, s1=slow), processes=2, stage_queue=1) as pipeline:
        for value in range(4):
            pipeline.push(frame(value))
        pipeline.close()
        children = {child.name: child for child in multiprocessing.active_children()}
        while pipeline._engine._chain.inside(0) != range(4, 4):  # type: ignore[union-attr]
            time.sleep(0.001)
        os.kill(children["atoll-segment-0"].pid or 0, signal.SIGKILL)
        assert [int(pipeline.pop(PATIENCE_S)["t2"][0]) for _ in range(4)] == right(4, 2)  # type: ignore[index]
        assert pipeline.pop(PATIENCE_S) is None


def slow(_value: np.ndarray) -> None:
    time.sleep(0.3)


def test_processes_killed_at_any_time_lose_nothing() -> None:
    chance = random.Random(1)
    pids: list[int] = []
    stop = threading.Event()

    def kill_now_and_then() -> None:
        while not stop.wait(chance.uniform(0.3, 0.8)):
            children = [child.pid for child in multiprocessing.active_children() if child.pid]
            if len(pids) < 4 and children:
                pids.append(chance.choice(children))
                os.kill(pids[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_now_and_then)
    with Pipeline(segments(3, 2, s1=sleeps), processes=2, on_error="retry", retries=100) as pipeline:
        killer.start()
        try:
            for value, result in enumerate(pipeline.map(frame(i) for i in range(100_000))):
                assert int(result["t3"][0]) == expected(value, 3)
                if len(pids) >= 4 and value > 2000:
                    break
        finally:
            stop.set()
            killer.join(PATIENCE_S)
    assert len(pids) >= 4


GONE = DeviceError("the device is gone", "Plug it in again.")


@pytest.mark.parametrize("reason", [GONE, RuntimeError("LiteRT does not like it"), OSError(5, "no")], ids=repr)
@pytest.mark.parametrize("on_error", ["continue", "retry"])
def test_no_new_process_is_to_be_had(on_error: Any, reason: Exception, tmp_path: Path) -> None:
    dies = Dies(tmp_path / "died", expected(3, 1))
    parts = [partial(step, 0), partial(opens_once, tmp_path / "gone", dies, reason)]
    with Pipeline(parts, processes=2, on_error=on_error) as pipeline:
        found = outcomes(pipeline, 20)
    assert found[:3] == right(3, 2)
    assert found[3][1:] in ((3, type(reason)), (3, ProcessDiedError)) and len(found) == 4
    assert pipeline.failure is not None
    with pytest.raises(StageError):
        pipeline.push(frame(0))


def opens_once(marker: Path, before: Before, reason: Exception = GONE) -> Fake:
    if marker.exists():
        raise reason
    marker.touch()
    return step(1, before)


def test_processes_that_never_live_long_enough_end_it(tmp_path: Path) -> None:
    parts = [partial(step, 0), partial(opens_and_dies, tmp_path / "first")]
    with Pipeline(parts, processes=2, on_error="retry", retries=0) as pipeline, pytest.raises(StageError) as caught:
        pipeline.push(frame(0))
        pipeline.pop(PATIENCE_S)
    assert isinstance(caught.value.__cause__, ProcessDiedError)


def opens_and_dies(marker: Path) -> Fake:
    threading.Timer(0.2 if marker.exists() else 0.5, os._exit, (4,)).start()
    marker.touch()
    return step(1, hangs)


def test_cancel_ends_a_restart_that_hangs(tmp_path: Path) -> None:
    parts = [partial(step, 0), partial(opens_once_then_hangs, tmp_path / "first", Dies(tmp_path / "died", 4))]
    pipeline = Pipeline(parts, processes=2, on_error="retry")
    pipeline.push(frame(1))
    while not (tmp_path / "hangs").exists():
        time.sleep(0.01)
    pipeline.cancel()
    assert pipeline.join(PATIENCE_S) and pipeline.pop() is None


def opens_once_then_hangs(marker: Path, before: Before) -> Fake:
    if marker.exists():
        (marker.parent / "hangs").touch()
        threading.Event().wait()
    marker.touch()
    return step(1, before)


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_copy_leaves_the_pipeline_alone(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FORKING.format(path=[str(Path(__file__).parent)]))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.split() == ["copy", str(expected(1, 2))], done.stderr


FORKING = """
import os, sys
sys.path[:0] = {path!r}
from functools import partial
from pipeline_fakes import step, frame
from test_pipeline_processes import slow
from atoll.pipeline import Pipeline

if __name__ == "__main__":
    with Pipeline([partial(step, 0), partial(step, 1, slow)], processes=2) as pipeline:  # any failure stops it
        pipeline.push(frame(1))
        pid = os.fork()
        if not pid:
            print("copy", flush=True)
            sys.exit(0)
        os.waitpid(pid, 0)
        print(pipeline.pop(30)["t2"][0])
"""


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


SCRIPT = """
import sys, time
sys.path[:0] = {path!r}
from functools import partial
from pipeline_fakes import step, frame
from atoll.pipeline import Pipeline
import multiprocessing

if __name__ == "__main__":
    pipeline = Pipeline([partial(step, 0), partial(step, 1)], processes=2)
    pipeline.push(frame(1))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    {then}
"""


@pytest.mark.parametrize("then", ["time.sleep(1000)", "sys.exit(0)"])
def test_no_process_outlives_its_parent(then: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(path=[str(Path(__file__).parent)], then=then))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        if "sleep" in then:
            parent.kill()
        assert parent.wait(PATIENCE_S) in (0, -signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while any(map(_runs, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_runs, children))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
