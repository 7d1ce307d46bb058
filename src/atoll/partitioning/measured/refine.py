"""Modelled costs and a function that measures one segment → cuts that are best as measured, after few measurements.

Each round looks at two solutions: the one expected to be best, with measured costs where there are some and corrected
ones elsewhere, and the best under optimistic costs. The first is measured until it is known whether it is as good as
expected; then measurements go to the second, until even optimism promises nothing better than the tolerance.

What "proven" means: no way to cut is better by more than the tolerance unless some segment costs less than its
optimistic cost, which is ``CONFIDENCE`` standard deviations below what ``gaussian_process`` expects of it, and at
least the model's cost divided by the spread; or unless a segment works that contains one that failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from atoll.errors import PartitionError
from atoll.partitioning.measured.gaussian_process import SegmentPosterior
from atoll.partitioning.measured.store import Failure, Measure, Recorder
from atoll.partitioning.search.bounded_search import Path, best_path
from atoll.partitioning.search.edges import Floats
from atoll.partitioning.search.fleet import Fleet, Goal

SPREAD = 2.0
"""The factor by which the model may be wrong about an operator, either way. A model that is wrong about the first
segment by more than that is scaled first; where it turns out to be wrong by more all the same, that is what counts."""
_GOAL = Goal(tolerance=0.02)
CONFIDENCE = 1.5
"""A better path needs all its segments to cost that much less than expected at once, not only one of them."""


@dataclass(frozen=True, slots=True)
class Refined:
    """The best cuts all of whose segments were measured."""

    cuts: tuple[int, ...]
    seconds: tuple[float, ...]
    lower_bound: float
    """No bottleneck below this is possible under the optimistic costs (seconds)."""
    proven: bool
    """Whether the result is within the tolerance of the bound; if not, the effort was limited."""
    measurements: int
    failures: dict[tuple[int, int], Failure]

    @property
    def bottleneck(self) -> float:
        """Seconds of the slowest segment."""
        return max(self.seconds)


def refined_cuts(
    positions: Sequence[int],
    model: Callable[[int, int], float],
    operators: Sequence[float],
    measure: Measure,
    segments: int,
    goal: Goal = _GOAL,
    is_over: Callable[[int], bool] = lambda _measurements: False,
) -> Refined:
    """The cuts into at most ``segments`` pieces that make the slowest one as quick as possible, as measured.

    Args:
        positions: 0, the places where cutting is allowed, and the number of operators, ascending.
        model: ``model(start, end)``: modelled seconds of a segment, inf when it is impossible.
        operators: modelled seconds of each operator by itself.
        measure: compiles and runs one segment; called once at most for each.
        goal: ``at_least`` is the least number of segments, ``tolerance`` the share of the bound within which the
            result has to be; nothing else of it counts.
        is_over: asked with the number of measurements before each but the first ``segments``; true
            ends the search once one way to cut is measured completely.

    Raises:
        PartitionError: there are fewer places, or every way to cut has a segment that fails.
        AtollError: whatever ``measure`` raises; what it measured is in its store.
    """
    tolerance = goal.tolerance
    if not 1 <= goal.at_least <= segments or segments > len(positions) - 1:
        raise PartitionError(
            f"the model cannot be cut into {segments} segments: it has {len(positions) - 2} places to cut",
            f"Ask for 1 to {len(positions) - 1} segments.",
        )
    search = _prepared(positions, model, operators, measure, segments, goal.at_least)
    while True:
        expected = search.best(0.0)
        if expected is None:
            if not search.measure.presumes_failures or not search.measure.failures:
                break
            search.measure.presumes_failures = False
            continue
        missing = search.unmeasured(expected)
        known = search.incumbent()
        lower = 0.0
        if known is not None and known.bottleneck <= expected.bottleneck * (1 + tolerance):
            optimistic = search.best(CONFIDENCE)
            lower = min(known.bottleneck, optimistic.bottleneck if optimistic else math.inf)
            if known.bottleneck <= lower * (1 + tolerance) or optimistic is None:
                return search.result(known, lower, proven=True)
            missing = search.unmeasured(optimistic)
        if search.measure.calls >= segments and is_over(search.measure.calls):
            return search.cut_short(expected, lower)
        search.look_up(missing)
    raise PartitionError(
        f"no way was found to cut the model into at most {segments} segments that can all be compiled and measured",
        search.measure.last_failure() or "The model rules all out.",
    )


def _prepared(
    positions: Sequence[int],
    model: Callable[[int, int], float],
    operators: Sequence[float],
    measure: Measure,
    segments: int,
    at_least: int,
) -> _Refinement:
    """A search with nothing measured, or one segment; the model is scaled if it is wrong as a whole."""
    posterior = SegmentPosterior(positions, model, operators, SPREAD)
    search = _Refinement(positions, posterior, Recorder(measure, positions), segments, at_least)
    factor = search.first_error()
    if 1 / SPREAD <= factor <= SPREAD:
        return search
    scaled = SegmentPosterior(
        positions, lambda s, e: factor * model(s, e), [factor * cost for cost in operators], SPREAD
    )
    return _Refinement(positions, scaled, search.measure, segments, at_least)


class _Refinement:
    """Measured costs by node numbers, and searches over them."""

    def __init__(
        self,
        positions: Sequence[int],
        posterior: SegmentPosterior,
        measure: Recorder,
        segments: int,
        at_least: int,
    ) -> None:
        self.positions, self.posterior, self.measure = positions, posterior, measure
        self._fleet, self._goal = Fleet.of(segments), Goal(at_least=at_least)
        self._measured: dict[tuple[int, int], float] = {}
        nodes = len(positions)
        self._modelled = np.full((nodes, nodes), math.inf)
        for tail in range(nodes - 1):
            for head in range(tail + 1, nodes):
                self._modelled[tail, head] = posterior.modelled(tail, head)

    def first_error(self) -> float:
        """By what factor the model is wrong about the segment that it expects to be the slowest of the best cuts.

        It is the first to be measured anyway; 1 when it fails, or there is none.
        """
        expected = self.best(0.0)
        if expected is None:
            return 1.0
        slowest = max(expected.edges, key=lambda edge: edge.seconds)
        seconds = self.measure(self.positions[slowest.tail], self.positions[slowest.head])
        return seconds / slowest.seconds if 0 < seconds < math.inf and slowest.seconds > 0 else 1.0

    def best(self, deviations: float) -> Path | None:
        """The best path when what is not measured costs ``deviations`` standard deviations less than expected."""
        return self._search(self._with_measured(self._values(deviations)))

    def _search(self, values: Floats) -> Path | None:
        return best_path(
            len(self.positions),
            lambda tail, _kind: values[tail, tail + 1 :],
            lambda tail, head, _kind: float(values[tail, head]),
            self._fleet,
            self._goal,
            len(self._fleet.devices),
        )

    def _with_measured(self, values: Floats) -> Floats:
        if self.measure.presumes_failures:
            for (tail, head), seconds in self._measured.items():
                if math.isinf(seconds):  # so will those that contain it
                    values[: tail + 1, head:] = math.inf
        for segment, seconds in self._measured.items():
            values[segment] = seconds
        return values

    def _values(self, deviations: float) -> Floats:
        values = np.full_like(self._modelled, math.inf)
        for tail in range(len(self.positions) - 1):
            row = self._modelled[tail]
            heads = np.flatnonzero(np.isfinite(row))
            if len(heads):
                expected, deviation = self.posterior.predict(tail, heads, row[heads])
                values[tail, heads] = np.maximum(expected - deviations * deviation, row[heads] / self.posterior.spread)
        return values

    def unmeasured(self, path: Path) -> list[tuple[int, int, float]]:
        """(tail, head, expected seconds) of the segments that are not measured."""
        return [(e.tail, e.head, e.seconds) for e in path.edges if (e.tail, e.head) not in self._measured]

    def look_up(self, missing: list[tuple[int, int, float]]) -> float:
        """Measure the one segment that is expected to take longest: it is the likeliest to refute its path."""
        tail, head, _ = max(missing, key=lambda segment: segment[2])
        seconds = self.measure(self.positions[tail], self.positions[head])
        self._measured[tail, head] = seconds
        if math.isfinite(seconds):
            self.posterior.learn(tail, head, seconds)
        return seconds

    def incumbent(self) -> Path | None:
        """The best path of measured segments only."""
        return self._search(self._with_measured(np.full_like(self._modelled, math.inf)))

    def cut_short(self, expected: Path, lower: float) -> Refined:
        """What there is when the effort is spent; if it is nothing, what is left of the expected path is measured.

        Raises:
            PartitionError: one of its segments failed.
        """
        missing, known = self.unmeasured(expected), self.incumbent()
        while known is None and math.isfinite(self.look_up(missing)):
            missing, known = self.unmeasured(expected), self.incumbent()
        if known is None:
            raise PartitionError(
                f"the effort allowed was spent on {self.measure.calls} measurements, before there was a result",
                "Measurements are remembered: allow more and run it again, and it goes on from there. "
                + self.measure.last_failure(),
            )
        return self.result(known, lower, proven=False)

    def result(self, path: Path, lower: float, proven: bool) -> Refined:
        cuts = tuple(self.positions[edge.tail] for edge in path.edges[1:])
        seconds = tuple(edge.seconds for edge in path.edges)
        return Refined(cuts, seconds, lower, proven, self.measure.calls, self.measure.failures)
