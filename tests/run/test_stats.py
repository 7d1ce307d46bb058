"""Percentiles from logarithmic buckets are close to the exact ones, and shares add up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.run.stats import Meter

nanoseconds = st.one_of(st.integers(0, 10_000), st.integers(0, 10**12))


@given(st.lists(nanoseconds, min_size=1, max_size=200))
def test_percentiles_are_within_a_64th_of_the_exact_ones(durations: list[int]) -> None:
    meter, now = Meter(), 0
    for duration in durations:
        meter.record(now, now + duration)
        now += duration
    exact = [sorted(durations)[max(math.ceil(share * len(durations)) - 1, 0)] for share in (0.5, 0.95, 0.99)]
    for estimate, value in zip(meter.percentiles(0.5, 0.95, 0.99), exact):
        assert abs(estimate - value) <= value / 64 + 0.5


@given(st.lists(st.tuples(nanoseconds, nanoseconds, nanoseconds), min_size=1, max_size=50))
def test_totals_are_exact_and_the_first_wait_does_not_count(items: list[tuple[int, int, int]]) -> None:
    meter, now = Meter(), 1000
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
    meter = Meter()
    begins = sorted(begin for begin, _ in spans)
    ends = sorted(begin + busy for begin, busy in spans)  # first come, first served
    for begin, end in zip(begins, ends):
        meter.record(begin, end)
    covered = {moment for begin, end in zip(begins, ends) for moment in range(begin, end)}
    assert meter.busy == len(covered)
    assert meter.count == len(spans)


def test_all_zero_before_the_first_item() -> None:
    stats = Meter().read(segment=0, queued=0)
    assert (stats.count, stats.total_s, stats.mean_s, stats.p99_s, stats.busy_share) == (0, 0, 0, 0, 0)


def test_memory_does_not_grow_with_the_number_of_items() -> None:
    meter = Meter()
    size = len(meter.buckets)
    for exponent in range(63):
        meter.record(1 << exponent, 2 << exponent)
    assert len(meter.buckets) == size
    assert sum(meter.buckets) == 63
