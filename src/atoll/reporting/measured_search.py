"""What a search that compiles and measures segments found out, how sure it is, and what it took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SHOWN_FAILURES = 5


@dataclass(frozen=True, slots=True)
class FailedSegment:
    """A segment that could not be compiled or run."""

    operators: tuple[int, int]
    """The first one, and the one behind the last."""
    reason: str


@dataclass(frozen=True, slots=True)
class MeasuringEffort:
    """What finding the cuts took."""

    times: str
    """What the times are times of."""
    asked: int
    """Segments whose time the search wanted to know."""
    measured: int
    """How many of them were compiled and measured now, not remembered."""
    compiler: str
    """Compiler, version and options."""
    failures: tuple[FailedSegment, ...]

    def sentences(self) -> Iterator[str]:
        """The same for people."""
        remembered = self.asked - self.measured
        known = f", {remembered} were known from before" if remembered else ""
        yield f"{self.measured} segments were compiled and measured{known}. Times: {self.times}."
        for failure in self.failures[:_SHOWN_FAILURES]:
            start, end = failure.operators
            yield f"Operators {start}-{end - 1} failed: {failure.reason}"
        if len(self.failures) > _SHOWN_FAILURES:
            yield f"{len(self.failures) - _SHOWN_FAILURES} more segments failed: --json has them all."


@dataclass(frozen=True, slots=True)
class SegmentTimes:
    """One segment; ms per inference, with the host's work for a stage."""

    measured_ms: float
    modelled_ms: float


@dataclass(frozen=True, slots=True)
class MeasuredSearch:
    """A search for the cuts whose slowest segment is the quickest, as measured."""

    segments: tuple[SegmentTimes, ...]
    stage_ms: float
    """The host's work for a stage, which is in the times of the segments; 0 for a single one."""
    bottleneck_ms: float
    """The slowest segment."""
    lower_bound_ms: float
    """No way to cut is quicker, as far as the measurements tell; 0: they were too few."""
    proven: bool
    """Whether the cuts are proven to be within the tolerance of the best."""
    tolerance: float
    """A share: 0.02 is 2 %."""
    budget_minutes: float | None
    minutes: float
    """That the search took."""
    effort: MeasuringEffort

    def sentences(self) -> Iterator[str]:
        """The slowest segment, how sure it is that no cuts are better, and what keeps the search from more."""
        more = "With more --budget it goes on from here"
        if self.proven:
            verdict = f"proven to be within {100 * self.tolerance:g} % of the best cuts in execution order"
        elif self.lower_bound_ms:
            verdict = f"not proven: the best may be as quick as {self.lower_bound_ms:.3f} ms. {more}"
        else:
            verdict = f"not proven: the measurements were too few for a bound. {more}"
        yield f"The slowest segment takes {self.bottleneck_ms:.3f} ms; {verdict}."
        if self.budget_minutes is not None and self.minutes > 1.1 * self.budget_minutes:
            yield (
                f"It took {self.minutes:.2g} minutes, not {self.budget_minutes:.2g}: one complete way to cut is "
                "measured in any case, and what is begun is completed."
            )
        host = self.stage_ms * len(self.segments)
        if host > self.bottleneck_ms:
            yield f"The host is slower: it serves all stages in {host:.3f} ms. Fewer segments may do as well."
