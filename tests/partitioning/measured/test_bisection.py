"""The vendor's search, mended: each segment is within the target, failures are walked around, nothing is done twice."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import PartitionError
from atoll.partitioning.measured.bisection import profiled_cuts
from atoll.partitioning.measured.store import Failure


def measured(seconds, broken=()):
    calls: Counter[tuple[int, int]] = Counter()

    def measure(start: int, end: int):
        calls[start, end] += 1
        if any(start <= a and b <= end for a, b in broken):
            return Failure(f"operators {start} to {end - 1}: internal compiler error")
        return float(sum(seconds[start:end]))

    return measure, calls


def segments(cuts, operators):
    return list(itertools.pairwise([0, *cuts, operators]))


@given(
    seconds=st.lists(st.floats(0.001, 1.0), min_size=2, max_size=25),
    data=st.data(),
    step=st.sampled_from([1, 1, 2, 5]),
    threshold=st.sampled_from([1e-4, 1e-2, 0.3]),
)
def test_every_segment_is_measured_once_and_the_start_is_never_made_worse(seconds, data, step, threshold):
    count = data.draw(st.integers(1, min(8, len(seconds))))
    places = st.lists(st.integers(1, len(seconds) - 1), min_size=count - 1, max_size=count - 1, unique=True)
    initial = sorted(data.draw(places))
    measure, calls = measured(seconds)
    found = profiled_cuts(range(len(seconds) + 1), measure, initial, threshold=threshold, step=step)
    assert sorted(set(found.cuts)) == list(found.cuts) and len(found.cuts) == count - 1
    assert found.seconds == tuple(measure(a, b) for a, b in segments(found.cuts, len(seconds)))
    assert found.bottleneck <= max(measure(a, b) for a, b in segments(initial, len(seconds)))
    assert max(calls.values()) <= 3  # once by the search, and by the two lines above
    assert found.measurements <= len(calls)


@given(seconds=st.lists(st.floats(0.001, 1.0), min_size=8, max_size=25), count=st.integers(2, 8))
def test_with_single_steps_the_balance_is_as_good_as_the_threshold_says(seconds, count):
    """Costs that add up: longest-first is optimal, so the bisection ends within the threshold of the optimum."""
    measure, _ = measured(seconds)
    found = profiled_cuts(range(len(seconds) + 1), measure, list(range(1, count)), threshold=1e-3)
    best = [sum(seconds[:e]) for e in range(len(seconds) + 1)]
    for _ in range(count - 1):
        best = [
            min((max(best[s], sum(seconds[s:e])) for s in range(1, e)), default=float("inf")) if e else float("inf")
            for e in range(len(seconds) + 1)
        ]
    assert found.bottleneck <= best[-1] + 1e-3 + 1e-9


def test_a_balanced_start_is_the_result():
    measure, calls = measured([1.0] * 8)
    found = profiled_cuts(range(9), measure, [2, 4, 6])
    assert found.cuts == (2, 4, 6)
    assert found.measurements == len(calls) == 4


def test_bounds_nearer_than_the_threshold_still_give_a_result():
    measure, _ = measured([1.0, 5.0, 1.0, 1.0])
    assert profiled_cuts(range(5), measure, [1], lower=4.0, upper=4.0).cuts == (1,)


@pytest.mark.parametrize("count", [5, 6, 7, 8])
def test_five_segments_and_more_lose_no_operator(count):
    seconds = [1.0 + (7 * n) % 5 for n in range(40)]
    measure, _ = measured(seconds)
    found = profiled_cuts(range(41), measure, list(range(1, count)), threshold=0.5)
    assert [n for a, b in segments(found.cuts, 40) for n in range(a, b)] == list(range(40))
    assert found.bottleneck < sum(seconds) / count * 1.5


def test_failed_segments_are_searched_around():
    """Operators 3 to 5 do not compile together."""
    measure, calls = measured([1.0] * 12, broken=[(3, 6)])
    found = profiled_cuts(range(13), measure, [2, 8])
    assert all(not (a <= 3 and b >= 6) for a, b in segments(found.cuts, 12))
    assert found.failures and all("internal compiler error" in f.reason for f in found.failures.values())
    assert max(calls.values()) == 1


def test_a_start_that_fails_does_not_limit_what_is_found():
    """All but one operator of the start compile, and tell nothing of how long the rest takes."""
    measure, _ = measured([1.0] * 20 + [0.01], broken=[(0, 18)])
    found = profiled_cuts(range(22), measure, [20], threshold=0.01)
    assert max(found.start) == float("inf") and found.cuts == (10,)
    assert found.bottleneck == pytest.approx(10.01)


def test_a_failure_inside_what_works_does_not_hide_it():
    def measure(start, end):
        return Failure("nothing to map") if start == 0 and end < 6 else float(end - start)

    assert profiled_cuts(range(9), measure, [4]).cuts == (6,)


def test_what_contains_a_failure_is_not_tried():
    measure, calls = measured([1.0] * 60, broken=[(30, 32)])
    found = profiled_cuts(range(61), measure, [20, 40])
    assert 31 in found.cuts
    failed: list[tuple[int, int]] = []
    for start, end in calls:
        assert not any(start <= s and e <= end for s, e in failed)
        failed += [(start, end)] if start <= 30 and end >= 32 else []


def test_a_threshold_of_nothing_ends():
    measure, _ = measured([0.1, 0.2, 0.3, 0.4])
    assert profiled_cuts(range(5), measure, [1], threshold=0.0).bottleneck == pytest.approx(0.6)


def test_nothing_compiles():
    with pytest.raises(PartitionError, match="not even the shortest") as caught:
        profiled_cuts(range(6), lambda start, end: Failure("no licence"), [2, 4])
    assert "no licence" in caught.value.hint
