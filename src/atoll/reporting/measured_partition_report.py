"""What a search by measurements says: the cuts that are best as measured, how sure that is, and what it took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from atoll.products.result import Result
from atoll.products.table import Column, Table

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
    """Of them compiled and measured now, not remembered."""
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
class MeasuredCut:
    """Where two segments meet."""

    before_operator: int
    tensors: tuple[str, ...]
    """What crosses it."""


@dataclass(frozen=True, slots=True)
class MeasuredSegment:
    """One segment; times in ms per inference, with the host's work for a stage."""

    operators: tuple[int, int]
    """The first one, and the one behind the last."""
    measured_ms: float
    modelled_ms: float


@dataclass(frozen=True, slots=True, repr=False)
class MeasuredPartitionReport(Result):
    """What ``atoll partition --measure`` says."""

    schema: ClassVar[str] = "partition_measured/1"

    model: str
    target: str
    """The host profile that the search was guided by."""
    cuts: tuple[MeasuredCut, ...]
    segments: tuple[MeasuredSegment, ...]
    stage_ms: float
    """The host's work for a stage, which is in the times of the segments."""
    bottleneck_ms: float
    """The slowest segment."""
    lower_bound_ms: float
    """No way to cut is quicker, as far as the measurements tell; 0: they were too few."""
    proven: bool
    """Whether the cuts are proven to be within the tolerance of the best."""
    tolerance: float
    """A share: 0.02 is 2 %."""
    effort: MeasuringEffort
    tpus: int
    """How many were asked for."""
    places_to_cut: int
    budget_minutes: float | None
    minutes: float
    """That the search took."""
    file: str | None
    """Where the partition was written."""

    def to_dict(self) -> dict[str, Any]:
        """Every field, with those of the effort beside the others."""
        content = Result.to_dict(self)
        effort = content.pop("effort")
        return {**content, **effort}

    def answer(self) -> tuple[str, ...]:
        """The slowest segment, and how sure it is that no cuts are better."""
        more = "With more --budget it goes on from here"
        if self.proven:
            verdict = f"proven to be within {100 * self.tolerance:g} % of the best cuts in execution order"
        elif self.lower_bound_ms:
            verdict = f"not proven: the best may be as quick as {self.lower_bound_ms:.3f} ms. {more}"
        else:
            verdict = f"not proven: the measurements were too few for a bound. {more}"
        return (f"The slowest segment takes {self.bottleneck_ms:.3f} ms; {verdict}.", *self._limits())

    def _limits(self) -> Iterator[str]:
        """What keeps more devices, or a shorter search, from helping."""
        if self.tpus > self.places_to_cut + 1:
            places = self.places_to_cut
            yield f"The model has {places} places to cut, which make {places + 1} segments at most."
        if self.budget_minutes is not None and self.minutes > 1.1 * self.budget_minutes:
            yield (
                f"It took {self.minutes:.2g} minutes, not {self.budget_minutes:.2g}: one complete way to cut is "
                "measured in any case, and what is begun is completed."
            )
        host = self.stage_ms * len(self.segments)
        if host > self.bottleneck_ms:
            yield f"The host is slower: it serves all stages in {host:.3f} ms. Fewer segments may do as well."

    def tables(self) -> tuple[Table, ...]:
        """The segments: measured beside modelled, and what crosses the cut behind each."""
        columns = (
            Column("segment", "number"),
            Column("operators"),
            Column("measured", "number", unit="ms", digits=3),
            Column("modelled", "number", unit="ms", digits=3),
            Column("ratio", "number", digits=2),
            Column("cut behind it crosses", "name"),
        )
        crossing = [", ".join(cut.tensors) for cut in self.cuts]
        rows = [
            (
                number,
                _span(segment.operators),
                segment.measured_ms,
                segment.modelled_ms,
                segment.measured_ms / segment.modelled_ms if segment.modelled_ms else None,
                name,
            )
            for number, (segment, name) in enumerate(zip(self.segments, [*crossing, ""]))
        ]
        return (Table.of(columns, rows),)

    def basis(self) -> tuple[str, ...]:
        """What the times are times of, and what failed."""
        staging = f"Each includes {self.stage_ms:.3f} ms of the host's work for a stage (profile {self.target})."
        written = (f"Partition: {self.file}",) if self.file else ()
        return (*([staging] if self.stage_ms else []), *self.effort.sentences(), *written)


@dataclass(frozen=True, slots=True)
class ProfiledSegment:
    """One segment that was compiled, measured and written."""

    operators: tuple[int, int]
    """The first one, and the one behind the last."""
    ms: float
    """Per inference."""
    file: str
    """The compiled file, in the directory of the results."""


@dataclass(frozen=True, slots=True, repr=False)
class ProfiledPartitionReport(Result):
    """What ``partition_with_profiling`` says."""

    schema: ClassVar[str] = "partition_with_profiling/1"

    model: str
    segments: tuple[ProfiledSegment, ...]
    slowest_ms: float
    difference_ms: float
    """Between the slowest and the fastest segment."""
    start_slowest_ms: float | None
    """Of the segments with equal parameter bytes that the search began with; None: one of them failed."""
    effort: MeasuringEffort
    output: str
    """The directory of the files."""

    def to_dict(self) -> dict[str, Any]:
        """Every field, with those of the effort beside the others."""
        content = Result.to_dict(self)
        effort = content.pop("effort")
        return {**content, **effort}

    def answer(self) -> tuple[str, ...]:
        """The slowest segment, and what the search gained."""
        start = self.start_slowest_ms
        before = "a segment of the start failed" if start is None else f"it was {start:.3f} ms at the start"
        return (
            f"The slowest segment takes {self.slowest_ms:.3f} ms ({before}, with equal parameter bytes), "
            f"{self.difference_ms:.3f} ms more than the fastest.",
            f"The segments and their compiled files are in {self.output}.",
        )

    def tables(self) -> tuple[Table, ...]:
        """The segments and their files."""
        columns = (
            Column("segment", "number"),
            Column("operators"),
            Column("time", "number", unit="ms", digits=3),
            Column("file", "name"),
        )
        rows = [(n, _span(item.operators), item.ms, item.file) for n, item in enumerate(self.segments)]
        return (Table.of(columns, rows),)

    def basis(self) -> tuple[str, ...]:
        """What the times are times of, and what failed."""
        return (*self.effort.sentences(),)


def _span(operators: tuple[int, int]) -> str:
    start, end = operators
    return f"{start}-{end - 1}"
