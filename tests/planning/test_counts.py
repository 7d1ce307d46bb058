"""For each number of devices the arrangement is the best of all: pipelines, copies and mixtures alike."""

from __future__ import annotations

import itertools
import random

import pytest
from atoll.planning.counts import fewest_for, plan_counts
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import PartitionError
from atoll.partitioning import Fleet, Goal, optimal_cuts


def plans_for(operators: int, cost, counts, max_rate=None, **options):
    def search(devices: int, *, max_replicas: int, whole: bool = False):
        places = [0, operators] if whole else range(operators + 1)
        return optimal_cuts(places, cost, Fleet.of(devices, max_replicas=max_replicas), **options)

    return plan_counts(search, counts, max_rate)


def random_costs(operators: int, seed: int):
    return lambda s, e, kind: random.Random(f"{seed} {s} {e}").choice([1.0, 2.0, 3.0, 5.0]) + 0.1 * (e - s)


def arrangements(operators: int, cost, devices: int):
    """(slowest stage, latency, segments, devices) of every pipeline with every number of replicas."""
    for count in range(1, operators + 1):
        for cuts in itertools.combinations(range(1, operators), count - 1):
            seconds = [cost(a, b, "any") for a, b in itertools.pairwise([0, *cuts, operators])]
            for replicas in itertools.product(range(1, devices + 1), repeat=count):
                if sum(replicas) <= devices:
                    yield max(s / r for s, r in zip(seconds, replicas)), sum(seconds), count, replicas


@settings(max_examples=40)
@given(operators=st.integers(1, 5), seed=st.integers(0, 10**6), devices=st.integers(1, 5))
def test_the_best_of_all_arrangements(operators, seed, devices):
    cost = random_costs(operators, seed)
    (plan,) = plans_for(operators, cost, [devices])
    everything = list(arrangements(operators, cost, devices))
    assert plan.best.throughput == pytest.approx(1 / min(slowest for slowest, *_ in everything))
    assert plan.best.devices <= devices
    pipelines = [slowest for slowest, _, _, replicas in everything if set(replicas) == {1}]
    assert plan.pipeline.throughput == pytest.approx(1 / min(pipelines))
    assert plan.copies.throughput == pytest.approx(devices / cost(0, operators, "any"))
    assert max(plan.best.utilisation) == pytest.approx(1.0)
    assert plan.best.latency == pytest.approx(sum(stage.seconds for stage in plan.best.stages))


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_more_devices_are_never_worse(seed):
    plans = plans_for(5, random_costs(5, seed), range(1, 7))
    rates = [plan.best.throughput for plan in plans]
    assert rates == sorted(rates)


def test_shapes():
    """Copies win when the model fits and transfers cost; a mixture when one slow part cannot be cut."""
    transfers = plans_for(4, lambda s, e, k: (e - s) + 2.0, [1, 4])
    assert [plan.best.shape for plan in transfers] == ["single", "copies"]
    spilling = plans_for(4, lambda s, e, k: (e - s) ** 3 * 1.0, [4])
    assert spilling[0].best.shape == "pipeline"
    slow = [1.0, 3.0, 1.0]
    mixed = plans_for(3, lambda s, e, k: sum(slow[s:e]) + 10.0 * (e - s - 1), [5])
    assert mixed[0].best.shape == "mixture"
    assert [stage.replicas for stage in mixed[0].best.stages] == [1, 3, 1]


def test_the_fewest_devices_for_a_rate():
    plans = plans_for(8, lambda s, e, k: (e - s) * 0.01, range(1, 9))
    found = fewest_for(plans, 45.0)
    assert found is not None and found.best.devices == 4
    assert fewest_for(plans, 1000.0) is None


def test_a_host_that_serves_all_stages_bounds_the_rate():
    """Then a single copy less may be as fast, and the arrangement with fewer stages wins."""
    plans = plans_for(4, lambda s, e, k: float(e - s), [4], max_rate=lambda stages: 1.0 / (0.5 * len(stages)))
    assert plans[0].best.throughput == pytest.approx(1.0)
    assert plans[0].best.shape == "copies"


def test_a_latency_that_cannot_be_met():
    with pytest.raises(PartitionError, match="cannot be met"):
        plans_for(4, lambda s, e, k: float(e - s), [2], goal=Goal(max_latency=1.0))
