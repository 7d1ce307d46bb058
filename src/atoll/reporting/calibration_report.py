"""What ``atoll profile --calibrate`` says: the target that was fitted to runs, and how well it explains them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atoll.products.result import Result
from atoll.products.table import Column, Table


@dataclass(frozen=True, slots=True)
class CalibratedRun:
    """One measured run beside what the old and the new target model for it; times in ms per inference."""

    model: str
    ms: float
    """As measured."""
    before_ms: float
    """As the target models it that the fit started from."""
    after_ms: float
    """As the fitted target models it. Its error is not a held-out error: the fit knew the run."""


@dataclass(frozen=True, slots=True, repr=False)
class CalibrationReport(Result):
    """A target that was fitted to measured runs."""

    schema: ClassVar[str] = "calibration/1"

    target: str
    """The file of the fitted target."""
    start: str
    """The host profile that the fit started from."""
    runs: tuple[CalibratedRun, ...]

    def answer(self) -> tuple[str, ...]:
        """Where the target is, and how far off it is at most."""
        worst = max(abs(run.after_ms / run.ms - 1) for run in self.runs)
        return (f"{self.target} explains these {len(self.runs)} runs with errors of at most {worst:.1%}.",)

    def tables(self) -> tuple[Table, ...]:
        """The runs: measured, modelled before, modelled now."""
        columns = (
            Column("model", "name"),
            Column("measured", "number", unit="ms", digits=3),
            Column(self.start, "number", unit="ms", digits=3, importance=1),
            Column("fitted", "number", unit="ms", digits=3),
            Column("error", "change", digits=1),
        )
        rows = [(run.model, run.ms, run.before_ms, run.after_ms, run.after_ms / run.ms - 1) for run in self.runs]
        return (Table.of(columns, rows),)

    def basis(self) -> tuple[str, ...]:
        """What the errors are errors of."""
        return (f"{self.target} was fitted to these runs: keep some back to learn its error on others.",)
