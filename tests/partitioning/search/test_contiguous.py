"""The search finds what trying everything finds, whatever the costs are, and asks for few of them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exhaustive
from atoll.errors import PartitionError
from atoll.partitioning.search.bounded_search import best_path
from atoll.partitioning.search.contiguous import Bound, Cost, neighbours, optimal_cuts
from atoll.partitioning.search.edges import Edges, PathTables
from atoll.partitioning.search.fleet import Fleet, Goal
from spilling import spilling_chain

FLEETS = [
    Fleet.of(1),
    Fleet.of(3),
    Fleet.of(5),
    Fleet.of(4, max_replicas=3),
    Fleet(("pcie", "usb", "usb")),
    Fleet(("pcie", "usb", "pcie"), ordered=True),
    Fleet(("usb", "usb", "pcie", "usb"), ordered=True, max_replicas=2),
    Fleet(("pcie", "usb", "usb"), max_replicas=2),
    Fleet(("pcie", "usb", "usb", "pcie"), max_replicas=2, limit=2),
    Fleet.of(6),
    Fleet(("any",) * 4, max_replicas=2, all_used=True),
    Fleet(("any",) * 5, max_replicas=5, all_used=True),
    Fleet(("any",) * 3, all_used=True),
    Fleet(("pcie", "usb", "usb"), max_replicas=2, all_used=True),
]
# Few different values, so that there are ties to break, and impossible segments.
SECONDS = st.sampled_from([1.0, 1.5, 2.0, 3.0, 3.25, 4.0, math.inf])


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], Cost, Bound | None, Fleet]:
    """A chain of up to six operators, some places where it must not be cut, and a table of arbitrary costs."""
    operators = draw(st.integers(1, 6))
    inner = draw(st.lists(st.integers(1, operators - 1), unique=True)) if operators > 1 else []
    fleet = draw(st.sampled_from(FLEETS))
    keys = [(s, e, k) for s in range(operators) for e in range(s + 1, operators + 1) for k in fleet.kinds]
    table = dict(zip(keys, draw(st.lists(SECONDS, min_size=len(keys), max_size=len(keys)))))
    slack = dict(zip(keys, draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(keys), max_size=len(keys)))))

    def bound(start: int, ends: np.ndarray, kind: str) -> np.ndarray:
        values = [min(4.0, table[start, int(e), kind]) * slack[start, int(e), kind] for e in ends]
        return np.array(values, dtype=np.float64)

    with_bound = draw(st.booleans())
    return [0, *sorted(inner), operators], lambda s, e, k: table[s, e, k], bound if with_bound else None, fleet


GOALS = st.builds(
    Goal,
    objective=st.sampled_from(["throughput", "latency"]),
    max_latency=st.sampled_from([math.inf, math.inf, 8.0, 5.0]),
    max_bottleneck=st.sampled_from([math.inf, math.inf, 3.0, 1.5]),
    at_least=st.sampled_from([1, 1, 2, 3]),
    at_most=st.sampled_from([None, None, 2, 4]),
)


@settings(max_examples=150)
@given(problem=problems(), goal=GOALS, pin=st.booleans(), rounds=st.sampled_from([1, 1, 6]))
def test_it_is_the_best_of_all_ways_to_cut(problem, goal, pin, rounds):
    """With a single round alone, the decisions and batches of long searches take part in short ones."""
    with patch("atoll.partitioning.search.bounded_search._ROUNDS_ALONE", rounds):
        check_best_of_all(problem, goal, pin)


def test_a_limit_that_nothing_meets_is_refused_by_long_searches_too():
    """Found by the test above: once the decisions had proven it, a path beyond the limit came out."""
    table = {(0, 1): 1.0, (0, 4): 1.0, (1, 4): 3.25}
    goal = Goal(max_bottleneck=3.0)
    with patch("atoll.partitioning.search.bounded_search._ROUNDS_ALONE", 1):
        found = optimal_cuts([0, 1, 4], lambda start, end, kind: table[start, end], Fleet.of(3), goal=goal, pinned=(1,))
    assert found is None


def check_best_of_all(problem, goal, pin):
    positions, cost, bound, fleet = problem
    pinned = tuple(positions[1:2]) if pin and len(positions) > 2 else ()
    expected = exhaustive.best(positions, cost, fleet, goal, pinned)
    bounds = {} if bound is None else {"bound": bound}
    found = optimal_cuts(positions, cost, fleet, goal=goal, pinned=pinned, **bounds)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert exhaustive.rank(found, goal) == pytest.approx(exhaustive.rank(expected, goal))
    assert found.lower_bound == pytest.approx(exhaustive.rank(expected, goal)[0])
    # What is claimed is a cutting, and costs what is claimed.
    ends = [stage.end for stage in found.stages]
    assert [stage.start for stage in found.stages] == [0, *ends[:-1]] and ends[-1] == positions[-1]
    assert set(found.cuts) <= set(positions) and set(pinned) <= set(found.cuts)
    assert all(stage.seconds == cost(stage.start, stage.end, stage.kind) for stage in found.stages)
    used = Counter(kind for stage in found.stages for kind in [stage.kind] * stage.replicas)
    assert used <= Counter(fleet.devices)
    assert found.latency <= goal.max_latency and found.bottleneck <= goal.max_bottleneck


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), loose=st.sampled_from([0.0, 0.2, 0.5, 0.9]), segments=st.integers(2, 6))
def test_loose_bounds_change_the_effort_and_not_the_result(seed, loose, segments):
    """Long enough for the decisions and the batches of the search to take part."""
    cost, bound = spilling_chain(30, seed, loose)
    asked: Counter[tuple[int, int]] = Counter()

    def counting(start: int, end: int, kind: str) -> float:
        asked[start, end] += 1
        return cost(start, end, kind)

    found = optimal_cuts(range(31), counting, Fleet.of(segments), bound=bound)
    table = [[cost(s, e, "any") if e > s else math.inf for e in range(31)] for s in range(31)]
    assert found.bottleneck == pytest.approx(_least_bottleneck(table, segments))
    assert max(asked.values()) == 1
    assert found.evaluations == len(asked)


def _least_bottleneck(table: list[list[float]], segments: int) -> float:
    """The textbook recursion over all segments."""
    best = table[0]
    for _ in range(segments - 1):
        best = [min(best[e], min((max(best[s], table[s][e]) for s in range(e)), default=math.inf)) for e in range(31)]
    return best[-1]


def test_a_thousand_operators_are_cut_with_a_bounded_number_of_costs():
    cost, bound = spilling_chain(1000, 1, 0.02)
    found = optimal_cuts(range(1001), cost, Fleet.of(16), bound=bound)
    assert len(found.stages) == 16
    assert found.evaluations < 1000 * 1001 // 2 // 100  # of all segments at most one in a hundred


def test_a_bound_that_meets_the_cost_needs_no_other_costs_than_those_of_the_result():
    compute = np.arange(201, dtype=float)
    found = optimal_cuts(
        range(201), lambda s, e, k: float(e - s), Fleet.of(8), bound=lambda s, ends, k: compute[ends] - compute[s]
    )
    assert found.bottleneck == 25
    assert found.evaluations == 8


def test_fewest_segments_among_equals():
    """One operator dominates: more segments than needed to set it apart bring nothing."""
    seconds = [1.0, 1.0, 9.0, 1.0, 1.0, 1.0]
    found = optimal_cuts(range(7), lambda s, e, k: sum(seconds[s:e]), Fleet.of(6))
    assert found.bottleneck == 9
    assert len(found.stages) == 3


def test_a_tolerance_ends_early_and_says_what_is_proven():
    cost, bound = spilling_chain(60, 3, 0.4)
    exact = optimal_cuts(range(61), cost, Fleet.of(5), bound=bound)
    rough = optimal_cuts(range(61), cost, Fleet.of(5), bound=bound, goal=Goal(tolerance=0.2))
    assert rough.evaluations <= exact.evaluations
    assert rough.lower_bound <= exact.bottleneck <= rough.bottleneck <= rough.lower_bound * 1.2


def test_very_many_places_are_first_cut_coarsely(monkeypatch):
    cost, bound = spilling_chain(300, 5, 0.05)
    expected = optimal_cuts(range(301), cost, Fleet.of(4), bound=bound)
    monkeypatch.setattr("atoll.partitioning.search.contiguous._COARSE", 100)
    found = optimal_cuts(range(301), cost, Fleet.of(4), bound=bound)
    assert found.bottleneck == pytest.approx(expected.bottleneck)


def test_too_many_segments_to_consider_is_an_error_not_a_full_memory(monkeypatch):
    monkeypatch.setattr("atoll.partitioning.search.edges.MAX_EDGES", 10)
    with pytest.raises(PartitionError, match="99 places to cut: too many"):
        optimal_cuts(range(101), lambda s, e, k: float(e - s), Fleet.of(4))


@pytest.mark.parametrize(
    ("goal", "fleet", "pinned"),
    [
        (Goal(at_least=5), Fleet.of(5), ()),
        (Goal(at_least=4), Fleet.of(3), ()),
        (Goal(), Fleet.of(2), (1, 2)),
        (Goal(max_latency=3.0), Fleet.of(2), ()),
        (Goal(max_bottleneck=0.5), Fleet.of(4), ()),
    ],
)
def test_what_cannot_be_had_is_nothing(goal, fleet, pinned):
    assert optimal_cuts(range(5), lambda s, e, k: float(e - s), fleet, goal=goal, pinned=pinned) is None


def test_every_segment_impossible():
    assert optimal_cuts(range(5), lambda s, e, k: math.inf, Fleet.of(2)) is None


def test_what_is_no_better_than_a_known_solution_is_not_looked_for():
    """The bound alone shows it here, so no cost is computed."""

    def cost(start: int, end: int, kind: str) -> float:
        raise AssertionError("a cost was asked for")

    def bound(start: int, ends: np.ndarray, kind: str) -> np.ndarray:
        return (ends - start).astype(float)

    assert optimal_cuts(range(9), cost, Fleet.of(4), bound=bound, goal=Goal(), worst=1.9) is None
    assert optimal_cuts(range(9), cost, Fleet.of(4), bound=bound, goal=Goal("latency"), worst=7.9) is None


def test_more_devices_than_are_of_use_do_not_lengthen_the_search():
    """The tables end where one more segment improves nothing."""
    compute = np.arange(101, dtype=float)
    edges = Edges.build(101, lambda tail, kind: compute[tail + 1 :] - compute[tail], 1, math.inf)
    sums = PathTables.fill(edges, Fleet.of(100).layers(100), np.add, math.inf)
    assert len(sums.layers) == 2  # the second shows that a sum of segments is never less than the whole
    forced = PathTables.fill(edges, Fleet.of(100).layers(100), np.add, math.inf, at_least=40)
    assert forced.at_end(40)[0] == 100
    assert PathTables.fill(edges, Fleet.of(100).layers(100), np.maximum, math.inf).at_end(1)[-1] == 1


def test_a_bound_above_a_cost_is_a_fault_of_the_program():
    with pytest.raises(AssertionError, match="below its lower bound"):
        best_path(2, lambda tail, kind: np.array([2.0]), lambda a, b, k: 1.0, Fleet.of(1), Goal(), 1)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_neighbours_are_the_result_with_one_cut_moved(seed):
    cost, bound = spilling_chain(12, seed, 0.1)
    found = optimal_cuts(range(13), cost, Fleet.of(3), bound=bound)
    moved = neighbours(found, range(13), cost)
    assert {n.cut for n in moved} <= set(found.cuts)
    for n in moved:
        bounds = [0, *sorted({*found.cuts} - {n.cut} | {n.moved_to}), 12]
        costs = [cost(s, e, "any") for s, e in itertools.pairwise(bounds)]
        assert abs(n.moved_to - n.cut) == 1
        assert n.bottleneck == pytest.approx(max(costs)) and n.latency == pytest.approx(sum(costs))
        assert n.bottleneck >= found.bottleneck * (1 - 1e-12)
