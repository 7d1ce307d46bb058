"""Replicas share the work of their segment, and nobody behind can tell."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import PipelineError
from atoll.pipeline import Pipeline, StageError
from atoll.pipeline.threads.item import Item
from atoll.pipeline.threads.merge import Merge
from atoll.pipeline.threads.queues import Channel
from pipeline_fakes import PATIENCE_S, POISON, Fake, expected, frame, step


@given(order=st.permutations(range(12)))
def test_a_merge_puts_items_in_order(order: list[int]) -> None:
    sink: Channel[Item] = Channel(100)
    merge = Merge(sink, 12)
    for number in order:
        merge.put(Item(number, {}))
    assert [sink.get().number for _ in order] == list(range(12))


@settings(max_examples=15)
@given(replicas=st.lists(st.integers(1, 4), min_size=1, max_size=3), count=st.integers(0, 120), seed=st.integers(0, 99))
def test_outputs_leave_in_input_order_whatever_the_replicas_do(replicas: list[int], count: int, seed: int) -> None:
    def dawdle(_: np.ndarray) -> None:
        if np.random.default_rng(seed + int(_[0])).integers(4) == 0:
            time.sleep(0.001)

    groups = [[step(i, dawdle) for _ in range(n)] for i, n in enumerate(replicas)]
    length = len(replicas)
    with Pipeline(groups) as pipeline:
        results = [int(r[f"t{length}"][0]) for r in pipeline.map(frame(i) for i in range(count))]
    assert results == [expected(i, length) for i in range(count)]
    for segment in range(length):
        stats = [s for s in pipeline.stats() if s.segment == segment]
        assert [s.replica for s in stats] == list(range(replicas[segment]))
        assert sum(s.count for s in stats) == count


def test_replicas_work_at_the_same_time_and_the_slow_one_does_less() -> None:
    both = threading.Barrier(2)
    met = threading.Event()

    def meet(_: np.ndarray) -> None:
        if not met.is_set():
            both.wait(PATIENCE_S)
            met.set()

    hold, count = threading.Event(), 0

    def stick(value: np.ndarray) -> None:
        meet(value)
        assert hold.wait(PATIENCE_S)

    def quick(value: np.ndarray) -> None:
        nonlocal count
        meet(value)
        count += 1

    with Pipeline([[step(0, stick), step(0, quick)]], input_queue=8, output_queue=8) as pipeline:
        count_in = pipeline.capacity - 8
        for i in range(count_in):
            pipeline.push(frame(i), timeout=PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while count < 7:  # the window of two replicas holds 8, one of which the slow one has
            assert time.monotonic() < deadline
            time.sleep(0.001)
        hold.set()
        pipeline.close()
        results = []
        while (result := pipeline.pop()) is not None:
            results.append(int(result["t1"][0]))
    assert results == [expected(i, 1) for i in range(count_in)]


def test_capacity_is_exact_with_replicas() -> None:
    sizes = {"input_queue": 1, "stage_queue": 1, "output_queue": 1}
    pipeline = Pipeline([[step(0), step(0), step(0)], step(1)], **sizes)
    count = pipeline.capacity
    for i in range(count):
        pipeline.push(frame(i), timeout=PATIENCE_S)
    with pytest.raises(TimeoutError):
        pipeline.push(frame(0), timeout=0.05)
    pipeline.close()
    assert pipeline.join(PATIENCE_S)
    for i in range(count):
        assert int(pipeline.pop()["t2"][0]) == expected(i, 2)  # type: ignore[index]
    assert pipeline.pop() is None


@pytest.mark.parametrize("poisoned", [0, 1, 7])
def test_a_failure_among_replicas_comes_in_its_place_and_nothing_after_it(poisoned: int) -> None:
    pipeline = Pipeline([[step(0), step(0), step(0)], [step(1), step(1)]])
    results = []
    with pytest.raises(StageError) as caught:
        for result in pipeline.map(frame(POISON if i == poisoned else i) for i in range(50)):
            results.append(int(result["t2"][0]))
    assert results == [expected(i, 2) for i in range(poisoned)]
    assert caught.value.item == poisoned
    with pytest.raises(StageError):
        pipeline.pop()
    assert pipeline.join(PATIENCE_S)


@pytest.mark.parametrize("end", ["close", "cancel", "drop"])
def test_replicas_end_however_the_pipeline_does(end: str) -> None:
    pipeline = Pipeline([[step(0), step(0)], [step(1), step(1), step(1)]])
    for i in range(10):
        pipeline.push(frame(i))
    if end == "drop":
        del pipeline  # the fixture sees the threads end
    else:
        getattr(pipeline, end)()
        assert pipeline.join(PATIENCE_S)


def test_replicas_that_cannot_be() -> None:
    one = step(0)
    with pytest.raises(PipelineError, match="two replicas of segment 0 are the same"):
        Pipeline([[one, one]])
    with pytest.raises(PipelineError, match="segments 0 and 1 are the same"):
        Pipeline([[step(0), one], one])
    with pytest.raises(PipelineError, match="segment 1 has no interpreter"):
        Pipeline([one, []])
    with pytest.raises(PipelineError, match="segment 0: one interpreter of the segment needs 't0'"):
        Pipeline([[step(0), step(1)]])
    with pytest.raises(PipelineError, match="names of devices"):
        Pipeline([[step(0), step(0)]], devices=["a"])
    with pytest.raises(PipelineError, match="spares for segment 3"):
        Pipeline([step(0)], spares={3: [step(0)]})


def test_indices_may_differ_between_replicas() -> None:
    a = Fake(["x"], ["y"], lambda t: {"y": t["x"] + 1})
    b = Fake(["x"], ["y"], lambda t: {"y": t["x"] + 1})
    b.names.reverse()
    with Pipeline([[a, b]], devices=[["left", "right"]]) as pipeline:
        results = [int(r["y"][0]) for r in pipeline.map(frame(i) for i in range(30))]
    assert results == list(range(1, 31))
    assert [s.device for s in pipeline.stats()] == ["left", "right"]
