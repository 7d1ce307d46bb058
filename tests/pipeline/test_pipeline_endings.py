"""However a pipeline ends (close, cancel, failure, neglect), every call returns and every thread goes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from atoll.errors import PipelineClosedError
from atoll.pipeline import Pipeline, StageError
from pipeline_fakes import PATIENCE_S, POISON, Fake, chain, expected, frame
from shared_data import HELPERS


class Gate:
    """A stage that waits here is busy until the gate opens."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()

    def __call__(self, _: np.ndarray) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE_S)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


class Call:
    """A call in a thread of its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None

        def run() -> None:
            try:
                self.result = function()
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def returned(self) -> Call:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the call did not return"
        return self


def fill(pipeline: Pipeline, value: int = 0) -> int:
    """Push until there is no room."""
    count = 0
    try:
        while True:
            pipeline.push(frame(value), timeout=0.2)
            count += 1
    except TimeoutError:
        return count


@pytest.mark.parametrize(("sizes", "stages"), [((1, 1, 1), 1), ((1, 1, 1), 3), ((2, 1, 3), 2)])
def test_exactly_the_capacity_fits_when_nobody_pops(sizes: tuple[int, int, int], stages: int) -> None:
    at_input, between, at_output = sizes
    pipeline = Pipeline(chain(stages), input_queue=at_input, stage_queue=between, output_queue=at_output)
    assert pipeline.capacity == at_input + stages + (stages - 1) * between + at_output
    for _ in range(pipeline.capacity):
        pipeline.push(frame(1), timeout=PATIENCE_S)
    with pytest.raises(TimeoutError):
        pipeline.push(frame(1), timeout=0.1)
    assert pipeline.pop() is not None
    pipeline.push(frame(1), timeout=PATIENCE_S)
    pipeline.cancel()


def test_map_never_takes_more_inputs_than_there_is_room() -> None:
    taken = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for i in range(100):
            taken += 1
            yield frame(i)

    with Pipeline(chain(3)) as pipeline:
        for given, _ in enumerate(pipeline.map(source())):
            assert taken - given <= pipeline.capacity


@pytest.mark.parametrize("busy", [0, 1, 2])
@pytest.mark.parametrize("end", [Pipeline.close, Pipeline.cancel])
def test_blocked_calls_return_whatever_stage_is_busy(gate: Gate, busy: int, end: Callable[[Pipeline], None]) -> None:
    pipeline = Pipeline(chain(3, {busy: gate}))
    accepted = fill(pipeline)
    push = Call(lambda: pipeline.push(frame(0)))
    pop = Call(pipeline.pop)
    Call(lambda: end(pipeline)).returned()
    assert isinstance(push.returned().error, PipelineClosedError)
    gate.opened.set()
    assert pipeline.join(PATIENCE_S)
    results = [pop.returned().result]
    while (result := pipeline.pop()) is not None:
        results.append(result)
    if end is Pipeline.close:
        assert [int(r["t3"][0]) for r in results] == [expected(0, 3)] * accepted
    else:
        assert results == [None]


def test_threads_end_after_close_although_nobody_pops() -> None:
    pipeline = Pipeline(chain(3), output_queue=1)
    for _ in range(pipeline.capacity):
        pipeline.push(frame(2))
    pipeline.close()
    assert pipeline.join(PATIENCE_S)
    assert pipeline.pop() is not None


def test_an_exception_in_the_block_ends_everything() -> None:
    with pytest.raises(ZeroDivisionError), Pipeline(chain(3)) as pipeline:
        for _ in pipeline.map(frame(i) for i in range(1000)):
            raise ZeroDivisionError
    assert pipeline.join(0)
    assert pipeline.pop() is None
    with pytest.raises(PipelineClosedError):
        pipeline.push(frame(0))


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failure_comes_in_its_place_and_then_for_ever(failing: int) -> None:
    def fail_at_five(value: np.ndarray) -> None:
        if value[0] == expected(5, failing):
            raise OSError("device lost")

    pipeline = Pipeline(chain(3, {failing: fail_at_five}))
    results = []
    with pytest.raises(StageError, match=f"segment {failing} failed on item 5: device lost") as caught:
        for result in pipeline.map(frame(i) for i in range(100)):
            results.append(int(result["t3"][0]))
    assert results == [expected(i, 3) for i in range(5)]
    assert (caught.value.segment, caught.value.item) == (failing, 5)
    assert isinstance(caught.value.__cause__, OSError)
    assert pipeline.failure is caught.value
    assert pipeline.join(PATIENCE_S), "no thread survives a failure"
    for call in (pipeline.pop, lambda: pipeline.push(frame(0)), pipeline.pop):
        with pytest.raises(StageError, match="device lost"):
            call()


def test_threads_end_after_a_failure_although_nobody_pops() -> None:
    pipeline = Pipeline(chain(3), input_queue=8, output_queue=1)
    with pytest.raises(StageError):
        for i in range(10):
            pipeline.push(frame(POISON if i == 6 else i))
        assert pipeline.join(PATIENCE_S)
        pipeline.push(frame(0))
    assert pipeline.join(PATIENCE_S)
    assert [int(pipeline.pop()["t3"][0]) for _ in range(6)] == [expected(i, 3) for i in range(6)]  # type: ignore[index]
    with pytest.raises(StageError):
        pipeline.pop()


def test_a_failure_wakes_a_blocked_push(gate: Gate) -> None:
    pipeline = Pipeline(chain(2, {0: gate}))
    pipeline.push(frame(POISON))
    fill(pipeline)
    push = Call(lambda: pipeline.push(frame(0)))
    gate.opened.set()
    assert isinstance(push.returned().error, StageError)
    assert pipeline.join(PATIENCE_S)


def test_the_earliest_of_two_failures_counts(gate: Gate) -> None:
    def late(value: np.ndarray) -> None:
        gate(value)
        raise OSError("late stage")

    pipeline = Pipeline(chain(2, {1: late}))
    pipeline.push(frame(1))
    assert gate.reached.wait(PATIENCE_S)
    pipeline.push(frame(POISON))  # fails in segment 0 while item 0 is still in segment 1
    while pipeline.failure is None:
        time.sleep(0.001)
    gate.opened.set()
    for _ in range(2):
        with pytest.raises(StageError, match="segment 1 failed on item 0: late stage"):
            pipeline.pop()
    assert pipeline.join(PATIENCE_S)


def test_by_policy_only_the_failed_item_is_lost() -> None:
    outcomes: list[int | str] = []
    with Pipeline(chain(3), on_error="continue") as pipeline:
        pipeline_inputs = [1, POISON, 2, 3, POISON]
        for value in pipeline_inputs:
            pipeline.push(frame(value))
        pipeline.close()
        while True:
            try:
                result = pipeline.pop()
            except StageError as error:
                outcomes.append(f"{error.segment} {error.item}")
                continue
            if result is None:
                break
            outcomes.append(int(result["t3"][0]))
    assert outcomes == [expected(1, 3), "0 1", expected(2, 3), expected(3, 3), "0 4"]
    assert pipeline.failure is None


def test_cancel_after_a_failure_is_quiet() -> None:
    pipeline = Pipeline(chain(1))
    pipeline.push(frame(POISON))
    with pytest.raises(StageError):
        pipeline.pop()
    pipeline.cancel()
    assert pipeline.pop() is None
    with pytest.raises(StageError):
        pipeline.push(frame(0))


def test_a_map_that_is_cancelled_says_so(gate: Gate) -> None:
    pipeline = Pipeline(chain(2, {1: gate}))
    results = Call(lambda: list(pipeline.map([frame(0)] * 3)))
    assert gate.reached.wait(PATIENCE_S)
    pipeline.cancel()
    assert isinstance(results.returned().error, PipelineClosedError)


def test_a_dropped_pipeline_ends_its_threads() -> None:
    pipeline = Pipeline(chain(3))
    pipeline.push(frame(1))
    threads = [t for t in threading.enumerate() if t.name.startswith("atoll-segment-")]
    assert len(threads) == 3
    del pipeline
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_stage_holds_no_item_while_it_waits_for_the_next() -> None:
    fetched: list[weakref.ref[np.ndarray]] = []
    segment = Fake(["x"], ["y"], lambda t: {"y": t["x"]})
    get_tensor = segment.get_tensor

    def spy(tensor_index: int, /) -> np.ndarray:
        array = get_tensor(tensor_index)
        fetched.append(weakref.ref(array))
        return array

    segment.get_tensor = spy  # type: ignore[method-assign]
    with Pipeline([segment]) as pipeline:
        pipeline.push(frame(1))
        assert pipeline.pop() is not None
        deadline = time.monotonic() + PATIENCE_S
        while fetched[0]() is not None:
            assert time.monotonic() < deadline, "the stage keeps the item"
            time.sleep(0.001)


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from pipeline_fakes import chain, frame
from atoll.pipeline import Pipeline
def slow(value):
    sys.stderr.write("enter ")
    time.sleep(0.3)
    sys.stderr.write("leave ")
pipeline = Pipeline(chain(3, {{1: slow}}))
for i in range(5):
    pipeline.push(frame(i))
{ending}
"""


@pytest.mark.parametrize("ending", ["", "del pipeline", "pipeline.close()", "sys.exit(3)", "1 / 0"])
def test_a_process_that_forgets_its_pipeline_leaves_at_once(ending: str) -> None:
    script = SCRIPT.format(tests=str(HELPERS), ending=ending)
    done = subprocess.run([sys.executable, "-c", script], timeout=PATIENCE_S, capture_output=True, text=True)
    assert done.returncode == {"sys.exit(3)": 3, "1 / 0": 1}.get(ending, 0), done.stderr
    assert ("ZeroDivisionError" in done.stderr) == (ending == "1 / 0")
    assert "Fatal" not in done.stderr
    assert done.stderr.count("enter") == done.stderr.count("leave"), "killed inside invoke"
