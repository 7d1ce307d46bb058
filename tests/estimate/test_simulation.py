"""The event simulation against a clock that ticks, against the closed form, and against itself without skipping."""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.estimate import PipelineStage, PipelineTiming, simulate

STAGES = st.lists(
    st.builds(PipelineStage, st.integers(1, 9).map(float), st.integers(0, 3).map(float), st.integers(1, 3)),
    min_size=1,
    max_size=5,
)


class Worker:
    """One replica: what it does, with which item, and until when."""

    def __init__(self) -> None:
        self.state, self.item, self.until = "idle", -1, -1


def ticking(stages: list[PipelineStage], items: int, room: int) -> tuple[int, list[int]]:
    """The finishing time of every item, found by advancing a clock tick by tick and moving whatever can move.

    Without host time there is one outcome however ties are broken, so this checks queues, blocking and replicas.
    """
    workers = [[Worker() for _ in range(stage.replicas)] for stage in stages]
    queues: list[list[int]] = [[] for _ in stages]
    pushed, finished, now = 0, [], 0
    while len(finished) < items:
        moved = True
        while moved:
            moved = False
            while pushed < items and len(queues[0]) < room:
                queues[0].append(pushed)
                pushed, moved = pushed + 1, True
            for s in reversed(range(len(stages))):
                for worker in sorted(workers[s], key=lambda w: (w.until, w.item)):
                    if worker.state == "busy" and worker.until == now:
                        worker.state = "done"
                    if worker.state == "done" and s == len(stages) - 1:
                        finished.append(now)
                        worker.state, moved = "idle", True
                    elif worker.state == "done" and len(queues[s + 1]) < room:
                        queues[s + 1].append(worker.item)
                        worker.state, moved = "idle", True
                    if worker.state == "idle" and queues[s]:
                        worker.item, worker.state = queues[s].pop(0), "busy"
                        worker.until, moved = now + int(stages[s].device_ms), True
        now += 1
    return now - 1, finished


@settings(max_examples=150, deadline=None)
@given(STAGES, st.integers(1, 60), st.integers(1, 3))
def test_agrees_with_a_ticking_clock(stages: list[PipelineStage], items: int, room: int) -> None:
    without_host = [PipelineStage(stage.device_ms, 0.0, stage.replicas) for stage in stages]
    expected, finished = ticking(without_host, items, room)
    assert finished == sorted(finished)
    assert simulate(without_host, items, queue_size=room, tick_ms=1.0).total_ms == expected


@settings(max_examples=150, deadline=None)
@given(STAGES, st.integers(30, 400), st.integers(1, 3), st.sampled_from((0.0, 1.0, 5.0, 7.0, 20.0)))
def test_skipping_periods_changes_nothing(stages: list[PipelineStage], items: int, room: int, arrival: float) -> None:
    quick = simulate(stages, items, queue_size=room, arrival_ms=arrival, tick_ms=1.0)
    full = simulate(stages, items, queue_size=room, arrival_ms=arrival, tick_ms=1.0, trace_items=items)
    assert quick.total_ms == full.total_ms == max(span.device_end_ms for span in full.spans)
    assert quick.mean_latency_ms == pytest.approx(full.mean_latency_ms)
    assert quick.max_latency_ms == full.max_latency_ms
    assert quick.device_utilization == pytest.approx(full.device_utilization)
    assert quick.host_utilization == pytest.approx(full.host_utilization)


@settings(max_examples=100, deadline=None)
@given(STAGES, st.integers(1, 40))
def test_spans_are_a_possible_schedule(stages: list[PipelineStage], items: int) -> None:
    spans = simulate(stages, items, tick_ms=1.0, trace_items=items).spans
    assert len(spans) == items * len(stages)
    ends = {(span.stage, span.item): span.device_end_ms for span in spans}
    hosts = sorted(
        (span.host_begin_ms, span.device_begin_ms) for span in spans if span.host_begin_ms < span.device_begin_ms
    )
    assert all(before[1] <= after[0] for before, after in pairwise(hosts))  # one host
    for span in spans:
        stage = stages[span.stage]
        assert span.device_begin_ms - span.host_begin_ms == stage.host_ms
        assert span.device_end_ms - span.device_begin_ms == stage.device_ms
        assert span.stage == 0 or ends[span.stage - 1, span.item] <= span.host_begin_ms
        at_once = [
            s for s in spans if s.stage == span.stage and s.device_begin_ms <= span.device_begin_ms < s.device_end_ms
        ]
        assert len(at_once) <= stage.replicas


@settings(max_examples=100, deadline=None)
@given(STAGES)
def test_no_faster_than_the_closed_form_and_as_fast_without_host_work(stages: list[PipelineStage]) -> None:
    items = 20_000
    closed = PipelineTiming(tuple(stages)).interval_ms
    assert simulate(stages, items, tick_ms=1.0).interval_ms > closed * (1 - 1e-9)
    single = [PipelineStage(stage.device_ms) for stage in stages]
    expected = PipelineTiming(tuple(single)).latency_ms + (items - 1) * PipelineTiming(tuple(single)).interval_ms
    assert simulate(single, items, tick_ms=1.0).total_ms == pytest.approx(expected)


def test_an_item_alone_takes_the_latency() -> None:
    stages = [PipelineStage(3, 1), PipelineStage(5, 2)]
    run = simulate(stages, 1, tick_ms=1.0)
    assert run.total_ms == run.mean_latency_ms == run.max_latency_ms == PipelineTiming(tuple(stages)).latency_ms
    slow = simulate(stages, 1000, arrival_ms=100, tick_ms=1.0)
    assert slow.mean_latency_ms == slow.max_latency_ms == 11
    assert slow.total_ms == 999 * 100 + 11


def test_a_million_items_take_few_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are counted instead of the seconds: 16 million without skipping."""
    events, pop = 0, heapq.heappop

    def counted(heap: list[Any]) -> Any:
        nonlocal events
        events += 1
        return pop(heap)

    monkeypatch.setattr(heapq, "heappop", counted)
    stages = [PipelineStage(10 + 0.37 * i, 0.24, 1 + i % 2) for i in range(8)]
    run = simulate(stages, 1_000_000)
    assert events < 100_000
    assert run.interval_ms == pytest.approx(PipelineTiming(tuple(stages)).interval_ms, rel=0.05)
    assert max(run.device_utilization) <= 1


def test_a_host_that_is_the_bottleneck_is_fully_used() -> None:
    run = simulate([PipelineStage(0.1, 0.25)] * 4, 100_000)
    assert run.interval_ms == pytest.approx(1.0, rel=1e-3)
    assert run.host_utilization == pytest.approx(1.0, rel=1e-3)


def test_instant_stages_end() -> None:
    assert simulate([PipelineStage(0.0)] * 3, 1000).total_ms == 0


@pytest.mark.parametrize(
    ("stages", "items", "options"),
    [
        ([], 1, {}),
        ([PipelineStage(1)], 0, {}),
        ([PipelineStage(1)], 1, {"queue_size": 0}),
        ([PipelineStage(1)], 1, {"arrival_ms": -1.0}),
        ([PipelineStage(1)], 1, {"tick_ms": 0.0}),
    ],
)
def test_impossible_runs_are_refused(stages: list[PipelineStage], items: int, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot be simulated"):
        simulate(stages, items, **options)  # type: ignore[arg-type]
