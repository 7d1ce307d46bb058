"""Measured refinement ends near the measured optimum, measures nothing twice, and far less than the vendor's search."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import PartitionError
from atoll.partitioning.measured.bisection import profiled_cuts
from atoll.partitioning.measured.gaussian_process import SegmentPosterior
from atoll.partitioning.measured.refine import refined_cuts
from atoll.partitioning.measured.store import Failure
from atoll.partitioning.search.fleet import Goal


@dataclass
class Network:
    """A chain whose true costs differ from the model's by a factor of up to 2 for each operator."""

    operators: int
    seed: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.compute = rng.lognormal(0, 1, self.operators)
        self.compute *= 40e-3 / self.compute.sum()
        self.weights = rng.lognormal(0, 1, self.operators)
        self.weights *= 24e6 / self.weights.sum()
        self.transfer = rng.lognormal(0, 0.5, self.operators + 1) * 1e-3
        self.factors = np.exp(rng.uniform(-math.log(2), math.log(2), self.operators))
        self.measured: Counter[tuple[int, int]] = Counter()

    def _cost(self, start: int, end: int, factors: np.ndarray) -> float:
        seconds = 1e-4 + self.transfer[start] + self.transfer[end] + float((self.compute * factors)[start:end].sum())
        space = 7.5e6
        for n in start + np.argsort(-self.weights[start:end]):
            if self.weights[n] <= space:
                space -= self.weights[n]
            else:
                seconds += self.weights[n] / 380e6 * factors[n]
        return float(seconds)

    def model(self, start: int, end: int) -> float:
        return self._cost(start, end, np.ones(self.operators))

    def truth(self, start: int, end: int) -> float:
        self.measured[start, end] += 1
        return self._cost(start, end, self.factors)

    def optimum(self, segments: int) -> float:
        ends = range(self.operators + 1)
        table = [[self._cost(s, e, self.factors) if e > s else math.inf for e in ends] for s in ends]
        best = table[0]
        for _ in range(segments - 1):
            best = [min(best[e], min((max(best[s], table[s][e]) for s in range(e)), default=math.inf)) for e in ends]
        return best[-1]


def equal_parameters(network: Network, segments: int) -> list[int]:
    share = np.cumsum(network.weights) / network.weights.sum()
    return sorted({int(np.searchsorted(share, k / segments)) + 1 for k in range(1, segments)})


@pytest.mark.parametrize("segments", [2, 3, 4, 6, 8])
def test_it_ends_near_the_true_optimum_and_measures_each_segment_once(segments):
    for seed in range(2):
        network = Network(40, seed)
        found = refined_cuts(range(41), network.model, network.compute, network.truth, segments)
        assert max(network.measured.values()) == 1
        assert found.measurements == len(network.measured)
        assert found.proven and found.bottleneck <= found.lower_bound * 1.02
        assert found.bottleneck <= network.optimum(segments) * 1.02


def test_it_needs_a_third_of_the_measurements_of_the_vendors_search():
    ours = vendors = 0
    for segments in (2, 4, 8):
        network = Network(60, segments)
        start = equal_parameters(network, segments)
        vendors += profiled_cuts(range(61), network.truth, start).measurements
        ours += refined_cuts(range(61), network.model, network.compute, network.truth, segments).measurements
    assert ours <= vendors / 3


def test_a_perfect_model_needs_no_more_than_one_measurement_for_each_segment():
    """The measurements confirm the model, and with it that nothing else is better."""
    seconds = [1.0] * 16
    found = refined_cuts(range(17), lambda s, e: float(e - s), seconds, lambda s, e: float(e - s), 4)
    assert found.cuts == (4, 8, 12)
    assert found.measurements == 4


def test_failed_segments_are_searched_around_and_reported():
    def measure(start, end):  # operators 3 and 4 do not compile together, but that is where the model would put them
        return Failure("out of memory") if start <= 3 < 4 < end else float(end - start)

    found = refined_cuts(range(10), lambda s, e: float(e - s), [1.0] * 9, measure, 3)
    assert 4 in found.cuts
    assert found.bottleneck == 4.0
    assert set(found.failures.values()) == {Failure("out of memory")}


def test_what_contains_a_failure_is_not_tried_while_there_is_another_way():
    """Hundreds of segments contain a pair of operators that do not compile together."""
    network = Network(60, 3)

    def measure(start, end):
        return Failure("internal error") if start <= 30 < 31 < end else network.truth(start, end)

    found = refined_cuts(range(61), network.model, network.compute, measure, 4)
    assert found.proven and 31 in found.cuts
    assert len(found.failures) <= 31 and found.measurements <= 45


def test_a_failure_inside_what_works_does_not_hide_it():
    """The first operators fail by themselves, and work with more."""

    def measure(start, end):
        return Failure("nothing to map") if start == 0 and end < 6 else float(end - start)

    found = refined_cuts(range(9), lambda s, e: float(e - s), [1.0] * 8, measure, 2, Goal(at_least=2, tolerance=0.02))
    assert found.bottleneck == 6.0 and found.cuts == (6,)


@pytest.mark.parametrize("factor", [0.05, 1.0, 40.0])
def test_a_model_that_is_wrong_as_a_whole_costs_nothing(factor):
    network = Network(40, 5)
    usual = refined_cuts(range(41), network.model, network.compute, network.truth, 4)
    found = refined_cuts(range(41), network.model, network.compute, lambda s, e: factor * network.truth(s, e), 4)
    assert found.bottleneck <= factor * network.optimum(4) * 1.02
    assert found.measurements <= 2 * usual.measurements


@pytest.mark.parametrize("segments", [12, 24, 40])
def test_many_more_segments_than_are_useful_need_few_more_measurements(segments):
    """From about 8 segments on, one operator is the bottleneck."""
    network = Network(60, 7)
    found = refined_cuts(
        range(61), network.model, network.compute, network.truth, segments, Goal(at_least=segments, tolerance=0.02)
    )
    assert found.proven and len(found.seconds) == segments
    assert found.measurements <= 3 * segments


def test_nothing_can_be_measured():
    with pytest.raises(PartitionError, match="no way was found") as caught:
        refined_cuts(range(5), lambda s, e: float(e - s), [1.0] * 4, lambda s, e: Failure("no licence"), 2)
    assert "no licence" in caught.value.hint


def test_effort_can_be_limited():
    network = Network(60, 1)
    found = refined_cuts(
        range(61), network.model, network.compute, network.truth, 8, Goal(tolerance=1e-4), lambda count: count >= 12
    )
    assert not found.proven
    assert found.measurements <= 12 + 8
    assert found.bottleneck == max(found.seconds)
    with pytest.raises(PartitionError, match="before there was a result"):
        refined_cuts(range(5), lambda s, e: 1.0, [1.0] * 4, lambda s, e: Failure("no"), 3, is_over=lambda _count: True)


def test_more_segments_than_places():
    with pytest.raises(PartitionError, match="cannot be cut into 9 segments: it has 3 places"):
        refined_cuts(range(5), lambda s, e: 1.0, [1.0] * 4, lambda s, e: 1.0, 9)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), segments=st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4)), min_size=1))
def test_a_posterior_moves_towards_what_it_is_told_and_is_never_less_sure_than_before(seed, segments):
    network = Network(12, seed)
    posterior = SegmentPosterior(range(13), network.model, network.compute, 2.0)
    heads = np.arange(1, 13)
    modelled = np.array([network.model(0, int(h)) for h in heads])
    _, before = posterior.predict(0, heads, modelled)
    for tail, length in set(segments):
        seconds = network.truth(tail, tail + length)
        asked = tail, np.array([tail + length]), np.array([posterior.modelled(tail, tail + length)])
        guess, _ = posterior.predict(*asked)
        posterior.learn(tail, tail + length, seconds)
        expected, deviation = posterior.predict(*asked)
        assert abs(expected[0] - seconds) <= abs(guess[0] - seconds) * (1 + 1e-6) + 1e-12, "away from the measurement"
        assert deviation[0] <= 0.05 * posterior.modelled(tail, tail + length)
        _, after = posterior.predict(0, heads, modelled)
        assert (after <= before * (1 + 1e-6)).all()
        before = after
