"""What pieces cost against the timing model, what bounds promise, and the best pieces against all there are."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import PartitionError
from atoll.estimate import pipeline_timing
from atoll.hardware.host import profile
from atoll.model.graph import Graph
from atoll.partitioning.best_cuts import best_pieces, cut_places, fewer_devices, interval, latency
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.neighbours import moves
from atoll.partitioning.search.fleet import Fleet, Goal
from atoll.partitioning.segment_costs import Operators, SegmentCosts, contiguous
from builders import GraphBuilder

X86, PI = profile("x86-pcie"), profile("pi3-usb2")


def random_graph(seed: int, operators: int) -> Graph:
    """Convolutions and sums that read any earlier tensor; what nobody reads is an output."""
    rng = random.Random(seed)
    build = GraphBuilder(size=rng.choice([8, 32]), channels=rng.choice([4, 64]), seed=seed)
    tensors = [build.tensor("input")]
    unread: set[int] = set()
    for n in range(operators):
        a, b = rng.choice(tensors[-3:]), rng.choice(tensors)
        sums = a != b and rng.random() < 0.4
        new = build.add(a, b, f"t{n}") if sums else build.conv(a, f"t{n}")
        unread -= {a, b} if sums else {a}
        unread.add(new)
        tensors.append(new)
    return build.graph((tensors[0],), tuple(sorted(unread)))


def pipelines(graph: Graph, most: int) -> Iterator[list[tuple[int, ...]]]:
    """Every way to give operators to the stages of a pipeline."""
    writer = {t: n for n, operator in enumerate(graph.operators) for t in operator.outputs}
    sources = [[writer[t] for t in operator.inputs if t in writer] for operator in graph.operators]
    for count in range(1, most + 1):
        for stage in itertools.product(range(count), repeat=len(sources)):
            if len(set(stage)) == count and all(stage[s] <= stage[n] for n, reads in enumerate(sources) for s in reads):
                yield [tuple(n for n, own in enumerate(stage) if own == k) for k in range(count)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), stages=st.integers(1, 4))
def test_pieces_cost_what_the_pipeline_model_says_and_no_bound_is_above(seed: int, stages: int) -> None:
    graph = random_graph(seed, 6)
    costs = SegmentCosts(graph, X86)
    pieces = random.Random(seed).choice([p for p in pipelines(graph, stages) if len(p) <= stages])
    own = costs.in_pipeline(len(pieces))
    timing = pipeline_timing([costs.piece_timing(contiguous(piece)) for piece in pieces], X86)
    bound = FleetCosts({"any": own}).piece_bound()
    for piece, stage in zip(pieces, timing.stages):
        seconds = own.piece_cost(piece)
        assert seconds * 1e3 == pytest.approx(stage.device_ms + stage.host_ms)
        lower = bound.seconds(bound.weights[list(piece)].sum(axis=0)[None], "any")[0]
        assert bound.linear is not None
        always, each = bound.linear("any")
        assert always + each[list(piece)].sum() <= lower * (1 + 1e-12) and lower <= seconds
    ends = np.arange(1, 7)
    for start in range(6):
        lower = own.bound(start, ends[start:])
        assert all(lower[e - start - 1] <= own.cost(start, int(e)) for e in ends[start:])
        # All parameters fit on the chip: then the bound is the cost.
        assert lower == pytest.approx([own.cost(start, int(e)) for e in ends[start:]])


FLEETS = [
    Fleet.of(1),
    Fleet.of(3),
    Fleet.of(3, max_replicas=2),
    Fleet(("pcie", "usb2")),
    Fleet(("pcie", "usb2", "usb2"), max_replicas=2),
    Fleet(("any",) * 3, max_replicas=3, all_used=True),
    Fleet(("pcie", "usb2", "usb2"), max_replicas=2, all_used=True),
]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    fleet=st.sampled_from(FLEETS),
    objective=st.sampled_from(["throughput", "latency"]),
    share=st.sampled_from([None, None, 0.4, 0.8]),
)
def test_the_best_pieces_are_the_best_of_all(
    seed: int, fleet: Fleet, objective: Literal["throughput", "latency"], share: float | None
) -> None:
    """With branches, replicas, two kinds of devices, a limit on memory, the host's own limit, and all to be used."""
    graph = random_graph(seed, 5)
    free = SegmentCosts(graph, X86)
    limit = None if share is None else max(1, int(free.parameter_bytes.sum() * share))
    hosts = {"any": X86, "pcie": X86, "usb2": PI}
    costs = FleetCosts({kind: SegmentCosts(graph, hosts[kind], limit) for kind in fleet.kinds})
    values = []
    for pieces in pipelines(graph, min(3, fleet.size)):
        uses = itertools.product(fleet.kinds, range(1, fleet.max_replicas + 1))
        for hand in itertools.product(uses, repeat=len(pieces)):
            used = Counter(kind for kind, r in hand for _ in range(r))
            if not used <= Counter(fleet.devices) or (fleet.all_used and used != Counter(fleet.devices)):
                continue
            own = costs if len(pieces) == 1 and hand[0][1] > 1 else costs.in_pipeline(len(pieces))
            each = [own.piece_cost(piece, kind) for piece, (kind, _) in zip(pieces, hand)]
            several = len(pieces) > 1 or hand[0][1] > 1
            host = sum(hosts[kind].host.stage_ms / 1e3 for kind, _ in hand) if several else 0.0
            slowest = max(host, *(seconds / r for seconds, (_, r) in zip(each, hand)))
            values.append(slowest if objective == "throughput" else sum(each))
    expected = min(values)
    places, goal = cut_places(graph, 1), Goal(objective, at_least=fleet.fewest_segments)
    if math.isinf(expected):
        with pytest.raises(PartitionError, match="bytes of parameters each cannot be had"):
            best_pieces(costs, places, fleet, goal)
        return
    found = best_pieces(costs, places, fleet, goal)
    ours = interval(costs, found.pieces) if objective == "throughput" else latency(found.pieces)
    assert ours == pytest.approx(expected) == found.objective
    assert found.exact and found.lower_bound <= ours * (1 + 1e-9)
    assert sorted(n for piece in found.pieces for n in piece.operators) == list(range(5))
    if limit is not None:
        assert all(free.parameter_bytes[list(piece.operators)].sum() <= limit for piece in found.pieces)


def turns(length: int) -> Graph:
    """Two branches, executed in turns, that end in a sum: any cut of the execution order parts both. 1 MiB each."""
    build = GraphBuilder(size=4, channels=1024)
    first = build.tensor("input")
    ends = [first, first]
    for n in range(2 * length):
        ends[n % 2] = build.conv(ends[n % 2], f"t{n}")
    return build.graph((first,), (build.add(ends[0], ends[1], "sum"),))


def test_branches_that_are_executed_in_turns_get_a_device_each() -> None:
    graph = turns(5)
    costs = FleetCosts({"any": SegmentCosts(graph, PI)})
    found = best_pieces(costs, cut_places(graph, 1), Fleet.of(2))
    assert not found.contiguous and found.gap == 0
    odd, even = {n for n in range(10) if n % 2}, {n for n in range(10) if n % 2 == 0}
    first, second = (set(piece.operators) for piece in found.pieces)
    assert first <= odd or first <= even or second - {10} <= odd or second - {10} <= even


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), replicas=st.sampled_from([1, 2]), share=st.sampled_from([0.0, 0.1, 0.5, 3.0]))
def test_the_fewest_devices_that_do_nearly_as_well(seed: int, replicas: int, share: float) -> None:
    graph = random_graph(seed, 5)
    costs, places, most = FleetCosts({"any": SegmentCosts(graph, PI)}), cut_places(graph, 1), 4
    by_count = {n: best_pieces(costs, places, Fleet.of(n, max_replicas=replicas)) for n in range(1, most + 1)}
    used = sum(piece.replicas for piece in by_count[most].pieces)
    limit = by_count[most].objective * (1 + share)
    enough = [n for n in range(1, used) if by_count[n].objective <= limit]
    fleet = Fleet.of(most, max_replicas=replicas)
    fewer = fewer_devices(costs, places, by_count[most], fleet, Goal(), share, [])
    if not enough:
        assert fewer is None
        return
    assert fewer is not None and interval(costs, fewer) == pytest.approx(by_count[enough[0]].objective)
    assert sum(piece.replicas for piece in fewer) <= enough[0]


def test_no_single_operator_on_the_other_side_of_a_cut_is_better() -> None:
    graph = turns(5)
    costs = FleetCosts({"any": SegmentCosts(graph, PI)})
    found = best_pieces(costs, cut_places(graph, 1), Fleet.of(3))
    slowest = max(piece.seconds for piece in found.pieces)
    neighbours = moves(costs, found.pieces)
    assert {move.cut for move in neighbours} == set(range(len(found.pieces) - 1))
    for move in neighbours:
        assert move.bottleneck >= slowest * (1 - 1e-9)
        changed = [set(piece.operators) for piece in found.pieces]
        source = move.cut if move.to == move.cut + 1 else move.cut + 1
        changed[source] -= set(move.operators)
        changed[move.to] |= set(move.operators)
        own = costs.in_pipeline(len(changed))
        assert move.bottleneck == pytest.approx(max(own.piece_cost(tuple(sorted(ops)), "any") for ops in changed))


def test_fitting_on_the_chip_is_kept_or_refused_with_what_it_takes() -> None:
    build = GraphBuilder(size=4, channels=1024)
    last = build.tensor("input")
    for n in range(12):  # 1 MiB each, on a chip of 8
        last = build.conv(last, f"t{n}")
    graph = build.graph((0,), (last,))
    costs = SegmentCosts(graph, X86, "fit")
    fleet = FleetCosts({"any": costs})
    with pytest.raises(PartitionError, match="1 segment with parameters that stay on the chip") as caught:
        best_pieces(fleet, cut_places(graph, 1), Fleet.of(1))
    assert "takes 2 segments at least" in caught.value.hint
    found = best_pieces(fleet, cut_places(graph, 1), Fleet.of(2))
    streamed: list[Operators] = [piece.operators for piece in found.pieces]
    assert [costs.piece_streamed_bytes(contiguous(operators)) for operators in streamed] == [0, 0]
    tiny = FleetCosts({"any": SegmentCosts(graph, X86, 1000)})
    with pytest.raises(PartitionError) as caught:
        best_pieces(tiny, cut_places(graph, 1), Fleet.of(4))
    assert "alone takes" in caught.value.hint
