"""What ``partition_with_profiling`` says: segments of about the same measured latency, and what finding them took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from atoll.products.result import Result
from atoll.products.table import Column, Table
from atoll.reporting.measured_search import MeasuringEffort


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
    """The slowest of the segments with equal parameter bytes that the search began with; None: one failed."""
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
        rows = [
            (n, f"{item.operators[0]}-{item.operators[1] - 1}", item.ms, item.file)
            for n, item in enumerate(self.segments)
        ]
        return (Table.of(columns, rows),)

    def basis(self) -> tuple[str, ...]:
        """What the times are times of, and what failed."""
        return (*self.effort.sentences(),)
