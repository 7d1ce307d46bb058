"""A function that measures one segment → cuts by the vendor's profiling partitioner, its faults mended.

Bisection on a target latency between two bounds. For each target all segments but the last are made as long as
possible under it, starting from the lengths of the try before and moving one step at a time; the last takes the rest.
Measurements are remembered by (first operator, last operator), failures too. Mended (``../shared/facts/pipeline.md``):
every segment is checked, any number of segments works, a start that is balanced already is the result, and nothing
aborts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.errors import PartitionError
from atoll.partitioning.measured.store import Failure, Measure, Recorder


@dataclass(frozen=True, slots=True)
class Profiled:
    """Cuts, the measured seconds of their segments, and the effort."""

    cuts: tuple[int, ...]
    seconds: tuple[float, ...]
    start: tuple[float, ...]
    """Seconds of the segments that the search began with; inf for one that failed."""
    measurements: int
    """Segments compiled and measured, each counted once."""
    failures: dict[tuple[int, int], Failure]

    @property
    def bottleneck(self) -> float:
        """Seconds of the slowest segment."""
        return max(self.seconds)


def profiled_cuts(
    positions: Sequence[int],
    measure: Measure,
    initial: Sequence[int],
    *,
    lower: float | None = None,
    upper: float | None = None,
    threshold: float = 1e-3,
    step: int = 1,
) -> Profiled:
    """Cuts for ``len(initial) + 1`` segments of about the same latency.

    Args:
        positions: 0, the places where cutting is allowed, and the number of operators, ascending.
        initial: the cuts to start from (the vendor's: equal parameters); they give the bounds that are not given.
        lower, upper: bounds of the target in seconds.
        threshold: seconds between the bounds at which the search stops.
        step: places by which a segment grows or shrinks at a time.

    Raises:
        PartitionError: no cuts were found all of whose segments can be compiled and measured.
    """
    search = _Profiling(positions, Recorder(measure, positions), initial, step)
    lengths = tuple(search.lengths)
    start = search.seconds(lengths)
    best = search.bisect(lengths, lower, upper, threshold)
    if best is None and search.measure.failures:
        search.measure.presumes_failures, search.lengths = False, [len(positions)] * len(start)  # the longest first
        best = search.bisect(lengths, lower, upper, threshold)
    if best is None:
        raise PartitionError(
            f"no way was found to cut the model into {len(start)} segments that can all be compiled and measured",
            search.measure.last_failure() or "Raise the upper bound.",
        )
    return Profiled(search.cuts(best), search.seconds(best), start, search.measure.calls, search.measure.failures)


class _Profiling:
    """Lengths are counted in places to cut; ``lengths`` are those of the latest try."""

    def __init__(self, positions: Sequence[int], measure: Recorder, initial: Sequence[int], step: int) -> None:
        self.positions, self.measure, self.step = positions, measure, step
        index = {position: number for number, position in enumerate(positions)}
        bounds = [0, *(index[cut] for cut in initial), len(positions) - 1]
        self.lengths = [b - a for a, b in itertools.pairwise(bounds)]
        self._dead: set[tuple[int, int]] = set()

    def seconds(self, lengths: Sequence[int]) -> tuple[float, ...]:
        bounds = list(itertools.accumulate(lengths, initial=0))
        return tuple(self._cost(a, b) for a, b in itertools.pairwise(bounds))

    def cuts(self, lengths: Sequence[int]) -> tuple[int, ...]:
        return tuple(self.positions[i] for i in itertools.accumulate(lengths[:-1]))

    def _cost(self, start: int, end: int) -> float:
        return self.measure(self.positions[start], self.positions[end])

    def bisect(
        self, initial: Sequence[int], lower: float | None, upper: float | None, threshold: float
    ) -> Sequence[int] | None:
        """The best lengths that the search comes across, ``initial`` included; None when there are none."""
        seconds = self.seconds(initial)
        best = initial if math.isfinite(max(seconds)) else None
        possible = [value for value in seconds if math.isfinite(value)]
        low = min(possible, default=0.0) if lower is None else lower
        high = max(possible, default=0.0) if upper is None else upper
        if best is None and upper is None:  # the start does not say what can be reached
            best = self._first(high)
            if best is None:
                return None
            high = max(self.seconds(best))
        while high - low > threshold:
            target = (low + high) / 2
            if not low < target < high:  # neighbouring numbers
                break
            lengths = self.under(target)
            if lengths is None:
                low = target
                continue
            high = min(target, max(self.seconds(lengths)))
            if best is None or max(self.seconds(lengths)) < max(self.seconds(best)):
                best = lengths
        return best

    def _first(self, target: float) -> Sequence[int] | None:
        """Lengths that work at all, found by doubling the target; None when there are none."""
        while True:
            lengths = self.under(target)
            if lengths is not None or target >= self.measure.slowest:
                return lengths  # no segment was too slow: what is left to try fails
            target = max(2 * target, self.measure.slowest / 1024)

    def under(self, target: float) -> tuple[int, ...] | None:
        """Lengths with which every segment takes at most ``target`` seconds, or None."""
        self._dead = set()
        found, _ = self._fill(0, 0, target)
        return None if found is None else tuple(found)

    def _fill(self, segment: int, start: int, target: float) -> tuple[list[int] | None, bool]:
        """The lengths from ``segment`` on, and, if there are none, whether a shorter segment before might help.

        That is so where a segment failed: a part that is too slow only becomes slower by taking more operators.
        """
        if (segment, start) in self._dead:
            return None, True
        remaining = len(self.lengths) - 1 - segment
        if remaining == 0:
            seconds = self._cost(start, len(self.positions) - 1)
            return ([len(self.positions) - 1 - start] if seconds <= target else None), math.isinf(seconds)
        end = self._longest(segment, start, len(self.positions) - 1 - remaining, target)
        retry = end == start and math.isinf(self._cost(start, start + 1))
        while end > start:
            if self._cost(start, end) <= target:
                self.lengths[segment] = end - start
                rest, retry = self._fill(segment + 1, end, target)
                if rest is not None:
                    return [end - start, *rest], False
                if not retry:
                    return None, False
            end -= self.step
        self._dead.add((segment, start))
        return None, retry

    def _longest(self, segment: int, start: int, most: int, target: float) -> int:
        """The end of the longest segment within the target, found by walking from the length of the try before."""
        end = min(start + max(1, self.lengths[segment]), most)
        if self._cost(start, end) <= target:
            while end < most and self._cost(start, min(end + self.step, most)) <= target:
                end = min(end + self.step, most)
            return end
        while end > start and self._cost(start, end) > target:
            end -= self.step
        return max(end, start)
