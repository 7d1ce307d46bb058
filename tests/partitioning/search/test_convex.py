"""Pieces are convex, ordered and complete; on small graphs they are the best of all, on large ones within the gap."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.model.graph import DType, Graph, Operator, Tensor
from atoll.partitioning.search.contiguous import optimal_cuts
from atoll.partitioning.search.convex import PieceBound, optimal_pieces
from atoll.partitioning.search.fleet import Fleet, Goal
from atoll.partitioning.search.ideals import all_ideals, blocks_of, orders, prefixes
from branching import cells, graph_of

MAX_IDEALS = "atoll.partitioning.search.convex.MAX_IDEALS"


@st.composite
def shapes(draw: st.DrawFn, most: int = 6) -> list[list[int]]:
    count = draw(st.integers(1, most))
    return [draw(st.lists(st.integers(0, n - 1), unique=True, max_size=3)) if n else [] for n in range(count)]


def ideals(sources: list[list[int]]) -> list[frozenset[int]]:
    subsets = (frozenset(s) for k in range(len(sources) + 1) for s in itertools.combinations(range(len(sources)), k))
    return [s for s in subsets if all(set(sources[n]) <= s for n in s)]


def chains(sources: list[list[int]], most: int):
    """All chains of ideals from nothing to everything with at most ``most`` steps."""
    family, whole = ideals(sources), frozenset(range(len(sources)))

    def extend(chain):
        if chain[-1] == whole:
            yield [tuple(sorted(b - a)) for a, b in itertools.pairwise(chain)]
        elif len(chain) <= most:
            for larger in family:
                if larger > chain[-1]:
                    yield from extend([*chain, larger])

    return extend([frozenset()])


@given(sources=shapes(7))
def test_ideals_are_those_of_the_definition(sources):
    blocks = blocks_of(graph_of(sources))
    found = all_ideals(blocks, 1000)
    assert {frozenset(blocks.operators_of(d)) for d in found} == set(ideals(sources))
    assert len(found) == len(set(found))
    assert all_ideals(blocks, len(found) - 1) is None


@given(sources=shapes(12))
def test_every_order_is_topological(sources):
    blocks = blocks_of(graph_of(sources))
    for order in orders(blocks, [1] * len(sources)):
        assert sorted(order) == list(range(len(sources)))
        assert all(order.index(s) < order.index(n) for n, reads in enumerate(sources) for s in reads)
        assert prefixes(order)[-1] == blocks.everything


@settings(max_examples=80)
@given(
    sources=shapes(),
    seed=st.integers(0, 10**6),
    devices=st.integers(1, 4),
    replicas=st.sampled_from([1, 1, 2]),
    objective=st.sampled_from(["throughput", "latency"]),
    limit=st.sampled_from([1000, 1]),
)
def test_pieces_are_the_best_of_all_ways_to_cut(sources, seed, devices, replicas, objective, limit):
    def seconds(operators: tuple[int, ...]) -> float:
        value = random.Random(f"{seed} {operators}").choice([0.5, 1.0, 2.0, 3.0, math.inf])
        return len(operators) * 0.25 + value

    bound = PieceBound(np.full((len(sources), 1), 0.25), lambda sums, kind: sums[:, 0] + 0.5)
    fleet = Fleet.of(devices, max_replicas=replicas)

    def objectives():
        for pieces in chains(sources, devices):
            for hand in itertools.product(range(1, replicas + 1), repeat=len(pieces)):
                if sum(hand) <= devices:
                    costs = [seconds(piece) for piece in pieces]
                    yield sum(costs) if objective == "latency" else max(c / r for c, r in zip(costs, hand))

    expected = min(objectives())
    with patch(MAX_IDEALS, limit):
        found = optimal_pieces(
            graph_of(sources), lambda operators, kind: seconds(operators), fleet, bound, Goal(objective)
        )
    if not found.pieces:
        assert math.isinf(expected) or limit == 1
        return
    _is_a_pipeline(sources, found.pieces)
    assert [piece.seconds for piece in found.pieces] == [seconds(piece.operators) for piece in found.pieces]
    if found.exact:
        assert found.objective == pytest.approx(expected) == found.lower_bound
    else:
        assert found.lower_bound <= expected * (1 + 1e-9)
        assert expected <= found.objective * (1 + 1e-9)
        assert found.gap >= 0


@settings(max_examples=60)
@given(
    sources=shapes(),
    seed=st.integers(0, 10**6),
    fleet=st.sampled_from([Fleet.of(3), Fleet(("pcie", "usb")), Fleet(("usb", "pcie", "usb"), max_replicas=2)]),
    at_most=st.sampled_from([None, 2]),
    pinned=st.booleans(),
    limit=st.sampled_from([1000, 1]),
)
def test_transfers_kinds_of_devices_and_pins(sources, seed, fleet, at_most, pinned, limit):
    """Costs are what is computed, received and sent, the last two as the bound has them or more."""
    rng = random.Random(seed)
    count = len(sources)
    weight, receive, send = ([rng.choice([0.0, 1.0, 2.5]) for _ in sources] for _ in range(3))
    readers = [{n for n, reads in enumerate(sources) if s in reads} for s in range(count)]
    pins = [rng.randrange(1, count)] if pinned and count > 1 else []
    factor = {kind: 1.0 + n for n, kind in enumerate(fleet.kinds)}

    def seconds(operators: tuple[int, ...], kind: str) -> float:
        inside = set(operators)
        entering = {s for n in operators for s in sources[n]} - inside
        leaving = [n for n in operators if readers[n] - inside or not readers[n]]
        value = sum(weight[n] for n in operators) + sum(receive[n] for n in entering) + sum(send[n] for n in leaving)
        return value * factor[kind] + random.Random(f"{seed} {operators}").choice([0.0, 0.0, 0.5])

    def hands(pieces):
        for hand in itertools.product(
            itertools.product(fleet.kinds, range(1, fleet.max_replicas + 1)), repeat=len(pieces)
        ):
            used = Counter(kind for kind, r in hand for _ in range(r))
            if used <= Counter(fleet.devices):
                yield max(seconds(piece, kind) / r for piece, (kind, r) in zip(pieces, hand))

    expected = min(
        (
            value
            for pieces in chains(sources, at_most or len(fleet.devices))
            if all(any(n < pin for n in piece) + any(n >= pin for n in piece) == 1 for pin in pins for piece in pieces)
            for value in hands(pieces)
        ),
        default=math.inf,
    )
    bound = PieceBound(
        np.array(weight).reshape(-1, 1),
        lambda sums, kind: sums[:, 0] * factor[kind],
        lambda kind: (np.array(receive) * factor[kind], np.array(send) * factor[kind]),
        lambda kind: (0.0, np.array(weight) * factor[kind]),
    )
    goal = Goal(at_most=at_most)
    with patch(MAX_IDEALS, limit):
        found = optimal_pieces(graph_of(sources), seconds, fleet, bound, goal, pinned=pins)
    _is_a_pipeline(sources, found.pieces)
    assert all(piece.seconds == seconds(piece.operators, piece.kind) for piece in found.pieces)
    assert all(len({n < pin for n in piece.operators}) == 1 for pin in pins for piece in found.pieces)
    assert found.lower_bound <= expected * (1 + 1e-9) <= found.objective * (1 + 2e-9)
    if found.exact:
        assert found.objective == pytest.approx(expected)


def _is_a_pipeline(sources, pieces):
    stage = {n: number for number, piece in enumerate(pieces) for n in piece.operators}
    assert Counter(n for piece in pieces for n in piece.operators) == Counter(range(len(sources)))
    assert all(stage[s] <= stage[n] for n, reads in enumerate(sources) for s in reads)


def test_branches_allow_better_cuts_than_the_execution_order():
    """Two long branches of equal cost, executed in turns: each can have a device of its own."""
    sources = [[], [], *([n - 2] for n in range(2, 12)), [10, 11]]

    def cost(operators: tuple[int, ...], kind: str) -> float:
        branches = {n % 2 for n in operators if n < 12}
        return len(operators) + 3.0 * (len(branches) - 1)  # a device that serves both has to hold both

    contiguous = optimal_cuts(range(14), lambda s, e, k: cost(tuple(range(s, e)), k), Fleet.of(2))
    free = optimal_pieces(graph_of(sources), cost, Fleet.of(2))
    assert free.exact
    assert free.bottleneck < contiguous.bottleneck
    assert free.pieces[0].operators in {(0, 2, 4, 6, 8, 10), (1, 3, 5, 7, 9, 11)}


def test_operators_that_share_a_state_stay_together():
    tensors = [
        Tensor("input", (1, 8), DType.INT8),
        Tensor("state", (1, 8), DType.INT8, is_variable=True),
        *(Tensor(f"t{n}", (1, 8), DType.INT8) for n in range(4)),
    ]
    operators = [
        Operator("ADD", (0,), (2,)),
        Operator("ADD", (2, 1), (3,)),
        Operator("ASSIGN", (3, 1), (4,)),
        Operator("ADD", (3,), (5,)),
    ]
    graph = Graph(tuple(tensors), tuple(operators), (0,), (4, 5))
    assert blocks_of(graph).operators == (range(1), range(1, 3), range(3, 4))
    found = optimal_pieces(graph, lambda operators, kind: float(len(operators)), Fleet.of(4))
    assert {1, 2} in [set(piece.operators) for piece in found.pieces]


def test_more_segments_than_places():
    found = optimal_pieces(graph_of([[], [0], [1]]), lambda o, k: 1.0, Fleet.of(8), goal=Goal(at_least=5))
    assert not found.pieces


def test_a_large_graph_of_cells_comes_with_bound_and_gap():
    """Hundreds of operators with many branches: not all ideals can be searched."""
    sources = cells(10)
    rng = np.random.default_rng(0)
    weights = rng.lognormal(0, 1, (len(sources), 1))
    graph = graph_of(sources, [int(s) for s in rng.integers(1, 100, len(sources))])
    crossing = [graph.tensors[n + 1].nbytes * 0.02 for n in range(len(sources))]

    def cost(operators: tuple[int, ...], kind: str) -> float:
        inside = set(operators)
        entering = {s for n in operators for s in sources[n]} - inside
        return float(weights[list(operators)].sum()) + sum(crossing[n] for n in entering)

    bound = PieceBound(weights, lambda sums, kind: sums[:, 0])
    with patch(MAX_IDEALS, 600):
        found = optimal_pieces(graph, cost, Fleet.of(8), bound)
    assert not found.exact
    _is_a_pipeline(sources, found.pieces)
    before = np.concatenate([[0], np.cumsum(weights)])
    in_order = optimal_cuts(
        range(len(sources) + 1),
        lambda s, e, k: cost(tuple(range(s, e)), k),
        Fleet.of(8),
        bound=lambda s, ends, k: (before[ends] - before[s]) * (1 - 1e-9),
        goal=Goal(tolerance=0.01),
    )
    assert found.bottleneck <= in_order.bottleneck * 1.01
    assert 0 <= found.gap < 0.1
