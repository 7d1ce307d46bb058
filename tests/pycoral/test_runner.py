"""The vendor's runner: its rules, and its words, as ../shared/facts/pipeline.md has them; without its faults."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import numpy as np
import pytest

from atoll.pycoral.pipeline.pipelined_model_runner import PipelinedModelRunner
from pipeline_fakes import PATIENCE_S, POISON, Fake, chain, expected, frame, litert, step


def runner_of(length: int, before: Any = None) -> PipelinedModelRunner:
    fakes = chain(length, before)
    for fake in fakes:
        fake.allocate_tensors()
    return PipelinedModelRunner(fakes)


def test_push_pop_and_close() -> None:
    runner = runner_of(3)
    assert len(runner.interpreters()) == 3
    assert all(tuple(stats) == (0, 0) for stats in runner.segment_stats())
    for i in range(50):
        assert runner.push({"t0": frame(i)}) is None  # unbounded: never blocks
    runner.push({})
    for i in range(50):
        result = runner.pop()
        assert result is not None
        assert list(result) == ["t3"]
        assert result["t3"].tolist() == [expected(i, 3)] * 2
    assert [runner.pop() for _ in range(3)] == [None] * 3
    assert [stats.num_inferences for stats in runner.segment_stats()] == [50] * 3
    assert all(stats.total_time_ns > 0 for stats in runner.segment_stats())


@pytest.mark.parametrize("segments", [1, 2, 4])
def test_with_queues_of_one_and_nobody_popping_2n_plus_1_pushes_succeed(segments: int) -> None:
    runner = runner_of(segments)
    runner.set_input_queue_size(1)
    runner.set_output_queue_size(1)
    done = 0

    def produce() -> None:
        nonlocal done
        for i in range(2 * segments + 2):
            runner.push({"t0": frame(i)})
            done += 1
        runner.push({})

    producer = threading.Thread(target=produce)
    producer.start()
    deadline = time.monotonic() + PATIENCE_S
    while done < 2 * segments + 1 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)
    assert done == 2 * segments + 1
    assert producer.is_alive()
    results = 0
    while runner.pop() is not None:
        results += 1
    assert results == 2 * segments + 2
    producer.join(PATIENCE_S)
    assert not producer.is_alive()


def test_queues_can_be_resized_while_active() -> None:
    gate = threading.Event()
    runner = runner_of(1, {0: lambda _: gate.wait(PATIENCE_S) and None})
    for i in range(10):
        runner.push({"t0": frame(i)})
    runner.set_input_queue_size(2)  # fewer than there are inside: pushes wait until there are fewer
    pushed = threading.Event()
    producer = threading.Thread(target=lambda: (runner.push({"t0": frame(10)}), pushed.set()))
    producer.start()
    assert not pushed.wait(0.1)
    gate.set()
    assert pushed.wait(PATIENCE_S)
    producer.join()
    runner.push({})
    results = []
    while (result := runner.pop()) is not None:
        results.append(int(result["t1"][0]))
    assert results == [expected(i, 1) for i in range(11)]
    for size in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            runner.set_input_queue_size(size)
        with pytest.raises(ValueError, match="at least 1"):
            runner.set_output_queue_size(size)


def test_no_interpreter_and_segments_in_the_wrong_order() -> None:
    with pytest.raises(ValueError, match=r"^At least one interpreter expected$"):
        PipelinedModelRunner([])
    with pytest.raises(ValueError, match=r"^Interpreter 1 can not get its input tensors$"):
        PipelinedModelRunner([step(1), step(0)])
    with pytest.raises(ValueError, match=r"^Interpreter 2 can not get its input tensors$"):
        PipelinedModelRunner([step(0), step(1), step(3)])


def test_inputs_that_do_not_fit() -> None:
    runner = runner_of(2)
    with pytest.raises(ValueError, match=r"^Expected input of length 1, but got 2$"):
        runner.push({"t0": frame(1), "t1": frame(1)})
    for wrong in (np.zeros(2, np.float32), [1, 2]):
        with pytest.raises(ValueError, match=r"^Input should be a list of numpy array of type <class 'numpy.int32'>$"):
            runner.push({"t0": wrong})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="no input 'x'"):
        runner.push({"x": frame(1)})
    with pytest.raises(ValueError, match="shape"):
        runner.push({"t0": np.zeros(3, np.int32)})
    runner.push({"t0": frame(4).reshape(2, 1)})
    result = runner.pop()
    assert result is not None
    assert result["t2"].tolist() == [expected(4, 2)] * 2
    runner.push({})


def test_pushing_and_closing_after_the_close() -> None:
    runner = runner_of(1)
    runner.push({})
    for tensors in ({}, {"t0": frame(1)}):
        with pytest.raises(RuntimeError, match=r"^Pipeline was turned off before.$"):
            runner.push(tensors)
    assert runner.pop() is None


def close(runner: PipelinedModelRunner, barrier: threading.Barrier, outcomes: list[str]) -> None:
    barrier.wait()
    try:
        runner.push({})
        outcomes.append("closed")
    except RuntimeError as error:
        outcomes.append(str(error))


def test_of_two_threads_that_close_at_once_one_succeeds() -> None:
    for _ in range(20):
        runner = runner_of(2)
        outcomes: list[str] = []
        barrier = threading.Barrier(2)

        threads = [threading.Thread(target=close, args=(runner, barrier, outcomes)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["Pipeline was turned off before.", "closed"]


def test_a_segment_that_fails() -> None:
    runner = runner_of(2)
    runner.push({"t0": frame(POISON)})
    with pytest.raises(RuntimeError, match=r"^Segment 0 runner error: poisoned$"):
        runner.pop()
    for tensors in ({"t0": frame(1)}, {}):
        with pytest.raises(RuntimeError, match=r"^Segment 0 runner error: poisoned$"):
            runner.push(tensors)
    assert runner.pop() is None


def add(source: str, target: str, *, allocate: bool = True) -> Any:
    interpreter = litert([(source, source, target)], [source], [target])
    if allocate:
        interpreter.allocate_tensors()
    return interpreter


def test_an_interpreter_without_allocated_tensors_fails_with_its_own_message() -> None:
    runner = PipelinedModelRunner([add("x", "a"), add("a", "y", allocate=False)])
    runner.push({"x": np.ones(4, np.float32)})
    with pytest.raises(RuntimeError, match=r"^Segment 1 runner error: Invoke called on model that is not ready.$"):
        runner.pop()


def test_float_outputs_have_their_own_number_of_elements() -> None:
    runner = PipelinedModelRunner([add("x", "a"), add("a", "y")])
    runner.push({"x": np.arange(4, dtype=np.float32)})
    runner.push({})
    result = runner.pop()
    assert result is not None
    assert result["y"].dtype == np.float32
    assert result["y"].tolist() == [0, 4, 8, 12]
    assert runner.pop() is None


def test_a_runner_that_is_dropped_finishes_what_was_pushed() -> None:
    seen: list[int] = []
    runner = runner_of(2, {1: lambda value: seen.append(int(value[0]))})
    threads = [t for t in threading.enumerate() if t.name.startswith("atoll-segment-")]
    for i in range(20):
        runner.push({"t0": frame(i)})
    del runner
    gc.collect()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert seen == [expected(i, 1) for i in range(20)]


def test_results_are_those_of_the_last_segment_only() -> None:
    first = Fake(["x"], ["a", "extra"], lambda t: {"a": t["x"], "extra": t["x"]})
    last = Fake(["a"], ["y"], lambda t: {"y": t["a"] + 1})
    for fake in (first, last):
        fake.allocate_tensors()
    runner = PipelinedModelRunner([first, last])
    runner.push({"x": frame(1)})
    runner.push({})
    result = runner.pop()
    assert result is not None
    assert list(result) == ["y"]
