"""For each number of devices the use is the best of all: pipelines, copies and mixtures alike."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.hardware.host import profile
from atoll.model.graph import Graph
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.given_costs import GivenCosts
from atoll.partitioning.search.contiguous import Stage
from atoll.partitioning.search.convex import Piece
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.planning.best_use import best_use
from atoll.reporting.plan_report import PlanRow
from builders import branched, chain

X86 = profile("x86-pcie")
Cost = Callable[[range], float]


class Served(GivenCosts):
    """Costs of stages that a host has to serve, so many seconds each."""

    each = 0.0

    def host_seconds(self, stages: Sequence[Stage | Piece]) -> float:
        return len(stages) * self.each


def given_costs(operators: int, cost: Cost, host_seconds: float = 0.0) -> FleetCosts:
    costs = Served(chain(operators).main, X86, cost)
    costs.each = host_seconds
    return FleetCosts({"any": costs})


def planned(operators: int, cost: Cost, devices: int, host_seconds: float = 0.0) -> PlanRow:
    return best_use(given_costs(operators, cost, host_seconds), devices)


def random_costs(seed: int) -> Cost:
    return lambda ops: (
        random.Random(f"{seed} {ops.start} {ops.stop}").choice([1.0, 2.0, 3.0, 5.0]) + 0.1 * (ops.stop - ops.start)
    )


def arrangements(operators: int, cost: Cost, devices: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    """(slowest stage, replicas) of every pipeline with every number of replicas."""
    for count in range(1, operators + 1):
        for cuts in itertools.combinations(range(1, operators), count - 1):
            seconds = [cost(range(a, b)) for a, b in itertools.pairwise([0, *cuts, operators])]
            for replicas in itertools.product(range(1, devices + 1), repeat=count):
                if sum(replicas) <= devices:
                    yield max(s / r for s, r in zip(seconds, replicas)), replicas


@settings(max_examples=40, deadline=None)
@given(operators=st.integers(1, 5), seed=st.integers(0, 10**6), devices=st.integers(1, 5))
def test_the_best_of_all_arrangements(operators: int, seed: int, devices: int) -> None:
    """To within the percent that a plan does not search."""
    cost = random_costs(seed)
    row = planned(operators, cost, devices)
    everything = list(arrangements(operators, cost, devices))
    assert row.best.throughput == pytest.approx(1 / min(slowest for slowest, _ in everything), rel=0.011)
    assert row.best.devices <= devices
    pipelines = [slowest for slowest, replicas in everything if set(replicas) == {1}]
    assert row.pipeline is not None and row.copies is not None
    assert row.pipeline.throughput == pytest.approx(1 / min(pipelines), rel=0.011)
    assert row.copies.throughput == pytest.approx(devices / cost(range(operators)))
    assert max(stage.use for stage in row.best.stages) == pytest.approx(1.0)
    assert row.best.latency_ms == pytest.approx(sum(stage.ms for stage in row.best.stages))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_more_devices_are_never_worse(seed: int) -> None:
    rates = [planned(5, random_costs(seed), devices).best.throughput for devices in range(1, 7)]
    assert all(more >= fewer * 0.989 for fewer, more in itertools.pairwise(rates))


def test_shapes() -> None:
    """Copies win when the model fits and transfers cost; a mixture when one slow part cannot be cut."""
    transfers = lambda ops: len(ops) + 2.0  # noqa: E731
    assert [planned(4, transfers, devices).best.shape for devices in (1, 4)] == ["single", "copies"]
    assert planned(4, lambda ops: len(ops) ** 3 * 1.0, 4).best.shape == "pipeline"
    slow = [1.0, 3.0, 1.0]
    mixed = planned(3, lambda ops: sum(slow[n] for n in ops) + 10.0 * (len(ops) - 1), 5).best
    assert mixed.shape == "mixture" and [stage.replicas for stage in mixed.stages] == [1, 3, 1]


def test_a_host_that_serves_all_stages_bounds_the_rate() -> None:
    """Then a single stage may be as fast, and the use with the shorter latency wins."""
    best = planned(4, lambda ops: float(len(ops)), 4, host_seconds=0.5).best
    assert best.throughput == pytest.approx(1.0)
    assert best.shape == "copies"


def test_under_the_timing_model_more_devices_are_never_worse() -> None:
    rows = [best_use(FleetCosts({"any": SegmentCosts(branched().main, X86)}), n) for n in range(1, 5)]
    rates = [row.best.throughput for row in rows]
    assert rates == sorted(rates) and all(row.best.devices <= row.devices for row in rows)
    assert rows[0].best.shape == "single"
    assert rows[3].copies is not None and rows[3].best.throughput >= rows[3].copies.throughput


def test_a_graph_is_what_it_is_planned_for() -> None:
    graph: Graph = chain(3).main
    row = best_use(FleetCosts({"any": SegmentCosts(graph, X86)}), 2, model="a")
    assert row.pipeline is not None and row.model == "a" and row.pipeline.stages[-1].end == len(graph.operators)
    assert row.pipeline.stages[-1].last_tensor == graph.tensors[graph.outputs[0]].name
