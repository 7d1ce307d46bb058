"""Percentiles from logarithmic buckets are close to the exact ones, and shares add up."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.pipeline import Pipeline
from atoll.pipeline.monitoring.stats import StageMeter
from pipeline_fakes import PATIENCE_S, Fake

nanoseconds = st.one_of(st.integers(0, 10_000), st.integers(0, 10**12))


@given(st.lists(nanoseconds, min_size=1, max_size=200))
def test_percentiles_are_within_a_64th_of_the_exact_ones(durations: list[int]) -> None:
    meter, now = StageMeter(), 0
    for duration in durations:
        meter.record(now, now + duration)
        now += duration
    exact = [sorted(durations)[max(math.ceil(share * len(durations)) - 1, 0)] for share in (0.5, 0.95, 0.99)]
    for estimate, value in zip(meter.percentiles(0.5, 0.95, 0.99), exact):
        assert abs(estimate - value) <= value / 64 + 0.5


@given(st.lists(st.tuples(nanoseconds, nanoseconds, nanoseconds), min_size=1, max_size=50))
def test_totals_are_exact_and_the_first_wait_does_not_count(items: list[tuple[int, int, int]]) -> None:
    meter, now = StageMeter(), 1000
    for waited, busy, held in items:
        begin = now + waited
        meter.record(begin, begin + busy)
        now = begin + busy + held
        meter.released(now)
    stats = meter.read(segment=3, queued=1)
    busy = sum(item[1] for item in items)
    waited, held = sum(item[0] for item in items[1:]), sum(item[2] for item in items[:-1])
    assert (stats.segment, stats.count, stats.queued) == (3, len(items), 1)
    assert stats.total_s == pytest.approx(busy / 1e9)
    assert stats.mean_s == pytest.approx(busy / len(items) / 1e9)
    assert stats.wait_input_s == pytest.approx(waited / 1e9)
    assert stats.wait_output_s == pytest.approx(held / 1e9)
    assert stats.busy_share == pytest.approx(busy / max(busy + waited + held, 1))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=40))
def test_two_workers_on_one_device_count_the_time_when_any_of_them_is_at_it(spans: list[tuple[int, int]]) -> None:
    meter = StageMeter()
    begins = sorted(begin for begin, _ in spans)
    ends = sorted(begin + busy for begin, busy in spans)  # first come, first served
    for begin, end in zip(begins, ends):
        meter.record(begin, end)
    covered = {moment for begin, end in zip(begins, ends) for moment in range(begin, end)}
    assert meter.busy == len(covered)
    assert meter.count == len(spans)


def test_all_zero_before_the_first_item() -> None:
    stats = StageMeter().read(segment=0, queued=0)
    assert (stats.count, stats.total_s, stats.mean_s, stats.p99_s, stats.busy_share) == (0, 0, 0, 0, 0)


def test_memory_does_not_grow_with_the_number_of_items() -> None:
    meter = StageMeter()
    size = len(meter.buckets)
    for exponent in range(63):
        meter.record(1 << exponent, 2 << exponent)
    assert len(meter.buckets) == size
    assert sum(meter.buckets) == 63


def test_an_item_counts_when_the_device_is_done_with_it() -> None:
    """And not when there is room for it behind the segment: meanwhile a sibling may have counted a later one."""
    computed = threading.Semaphore(0)

    def compute(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        computed.release()
        return {"b": tensors["a"]}

    with Pipeline([Fake(["a"], ["b"], compute)], output_queue=1, input_queue=4) as pipeline:
        for i in range(4):
            pipeline.push({"a": np.full(2, i, np.int32)})
        for _ in range(2):
            assert computed.acquire(timeout=PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while pipeline.stats()[0].count < 2:  # the first is in the output queue, the second waits for room there
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert not computed.acquire(blocking=False)
        for _ in range(4):
            pipeline.pop()


def test_devices_of_one_name_are_told_apart() -> None:
    """Virtual ones that somebody makes for himself are all called the same."""

    class Device:
        path, listed = "virtual", False

    class On(Fake):
        def __init__(self, device: Device) -> None:
            super().__init__(["a"], ["b"], lambda tensors: {"b": tensors["a"]})
            self.device = device

    one, other = Device(), Device()
    with Pipeline([[On(one), On(other), On(one)]]) as pipeline:
        list(pipeline.map({"a": np.full(2, i, np.int32)} for i in range(9)))
        stats = pipeline.stats()
    assert [stage.device for stage in stats] == ["virtual", "virtual"] and sum(stage.count for stage in stats) == 9
