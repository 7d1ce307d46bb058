"""The statistics of a pipeline that runs → what people see of it meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atoll.pipeline.monitoring.bottleneck import bottleneck
from atoll.products.result import Result
from atoll.products.stage_stats import StageStats
from atoll.products.table import Column, Table


@dataclass(frozen=True, slots=True, repr=False)
class PipelineSnapshot(Result):
    """A pipeline at one moment."""

    schema: ClassVar[str] = "pipeline/1"

    done: int
    """Results that have come out."""
    total: int
    """How many shall come."""
    seconds: float
    """Since the first input."""
    stages: tuple[StageStats, ...]

    @property
    def rate(self) -> float:
        """Results per second so far."""
        return self.done / max(self.seconds, 1e-9)

    def answer(self) -> tuple[str, ...]:
        """The rate, and what limits it."""
        limit = bottleneck(self.stages)
        return (
            f"{self.done} results of {self.total}, {self.rate:.1f}/s",
            *([f"{limit.message}. {limit.help}"] if limit else []),
        )

    def tables(self) -> tuple[Table, ...]:
        """A row per device."""
        columns = (
            Column("segment", "number"),
            Column("device", "name", importance=1),
            Column("items", "number"),
            Column("mean", "number", unit="ms", digits=2),
            Column("p95", "number", unit="ms", digits=2, importance=2),
            Column("busy", "share"),
            Column("input", "share"),
            Column("room", "share"),
            Column("queue", "number", importance=3),
        )
        rows = [
            (
                stage.segment,
                stage.device or "-",
                stage.count,
                stage.mean_s * 1e3,
                stage.p95_s * 1e3,
                stage.busy_share,
                stage.wait_input_share,
                stage.wait_output_share,
                stage.queued,
            )
            for stage in self.stages
        ]
        return (Table.of(columns, rows),)

    def basis(self) -> tuple[str, ...]:
        """What the shares are shares of."""
        return ("busy, and waiting for input and for room behind it: shares of the time",)
