"""Which models share Edge TPUs, for each number of them → a table, an answer in words, fields for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from atoll.reporting.plan_report import PlannedUse


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What one model gets. Rates in inferences per second."""

    model: str
    wanted: float | None
    throughput: float
    off_chip_bytes: int
    """Parameters that cross the bus with every inference, as laid out for the chip."""


@dataclass(frozen=True, slots=True)
class ServedGroup:
    """Models on devices of their own; several are co-compiled and take turns on each of the devices."""

    devices: int
    models: tuple[ServedModel, ...]
    use: PlannedUse | None
    """How a model that is alone uses its devices."""

    def describe(self) -> str:
        if self.use is not None:
            return f"own: {self.use.describe()}"
        return "shared, co-compiled" + (f", {self.devices} copies" if self.devices > 1 else "")


@dataclass(frozen=True, slots=True)
class SharedRow:
    """A number of devices, and the best way to share them that was found among all."""

    devices: int
    groups: tuple[ServedGroup, ...]
    satisfaction: float
    """The smallest rate / wanted rate of all models; where none is wanted, the smallest rate."""

    @property
    def used(self) -> int:
        return sum(group.devices for group in self.groups)


@dataclass(frozen=True, slots=True)
class SharedReport:
    """Rows by number of devices."""

    models: tuple[str, ...]
    target: str
    rows: tuple[SharedRow, ...]
    fps: tuple[float, ...]
    how: tuple[str, ...]

    @property
    def fewest(self) -> int | None:
        """The fewest devices among the rows that reach every wanted rate."""
        reaching = [row.used for row in self.rows if self.fps and row.satisfaction >= 1 - 1e-9]
        return min(reaching, default=None)

    def answer(self) -> list[str]:
        """Sentences: what the wanted rates take."""
        if not self.fps:
            return ["No --fps is given: the model served worst gets as many inferences/s as can be."]
        if self.fewest is not None:
            return [f"The wanted rates take at least {self.fewest} Edge TPU{'s' * (self.fewest != 1)}."]
        top = max(self.rows, key=lambda row: row.satisfaction)
        return [
            f"The wanted rates are out of reach with up to {self.rows[-1].devices} Edge TPUs: {top.used} of them reach "
            f"{top.satisfaction:.0%} of each."
        ]

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "fewest": self.fewest, "answer": self.answer()}


COLUMNS = (">Edge TPUs", ">for", "model", ">inferences/s", ">wanted", "on", ">off-chip bytes")


def rows(report: SharedReport) -> Iterator[tuple[str, ...]]:
    """In the order of :data:`COLUMNS`: a row for each model; what is said of a number or a group is said once."""
    for row in report.rows:
        total = str(row.devices)
        for group in row.groups:
            count, words = str(group.devices), group.describe()
            for model in group.models:
                wanted = "" if model.wanted is None else f"{model.wanted:g}"
                rate = f"{model.throughput:.1f}"
                yield total, count, model.model, rate, wanted, words, f"{model.off_chip_bytes:,}"
                total, count, words = "", "", '"'
