"""What ``atoll measure`` says: how long inferences took on a device, with what was modelled beside it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from atoll.products.result import Result
from atoll.products.table import Column, Table


@dataclass(frozen=True, slots=True)
class ModelledLatency:
    """What one inference should take, in ms; the first one also loads the parameters."""

    first_ms: float
    latency_ms: float
    target: str
    """The host profile that it is modelled with."""


@dataclass(frozen=True, slots=True, repr=False)
class MeasureReport(Result):
    """What inferences on one device took, operators of the CPU included; times in ms."""

    schema: ClassVar[str] = "measure/1"

    model: str
    device: str
    bus: str
    virtual: bool
    inferences: int
    """Without the first."""
    first_ms: float
    """The first inference, which also loads the parameters."""
    median_ms: float
    p95_ms: float
    """95th percentile."""
    mean_ms: float
    modelled: ModelledLatency | None
    """None: the file does not tell what its operators are."""
    how: str
    """What the times are times of; and why nothing is modelled."""

    @classmethod
    def of_latencies(
        cls,
        latencies_ms: Sequence[float],
        *,
        model: str,
        device: str,
        bus: str,
        virtual: bool,
        modelled: ModelledLatency | None,
        how: str,
    ) -> MeasureReport:
        """The summary of at least two latencies, the first inference first."""
        first, *others = latencies_ms
        return cls(
            model=model,
            device=device,
            bus=bus,
            virtual=virtual,
            inferences=len(others),
            first_ms=first,
            median_ms=statistics.median(others),
            p95_ms=float(np.percentile(others, 95)),
            mean_ms=statistics.fmean(others),
            modelled=modelled,
            how=how,
        )

    @property
    def difference(self) -> dict[str, float | None]:
        """Measured over modelled - 1, of the first inference and of the median; None: nothing is modelled."""
        if self.modelled is None:
            return {"first": None, "median": None}
        return {
            "first": _relative(self.first_ms, self.modelled.first_ms),
            "median": _relative(self.median_ms, self.modelled.latency_ms),
        }

    def to_dict(self) -> dict[str, Any]:
        """Every field, with the differences between measured and modelled."""
        return {**Result.to_dict(self), "difference": self.difference}

    def answer(self) -> tuple[str, ...]:
        """The median, and how far the model is from it."""
        change = self.difference["median"]
        beside = f", {abs(change):.1%} {'more' if change > 0 else 'less'} than modelled" if change is not None else ""
        return (
            f"{self.median_ms:.3f} ms per inference measured on {self.device}{beside}: the median of {self.inferences} "
            "inferences after the first.",
        )

    def tables(self) -> tuple[Table, ...]:
        """Measured and modelled side by side."""
        modelled, difference = self.modelled, self.difference
        columns = (
            Column("quantity"),
            Column("measured", "number", unit="ms", digits=3),
            Column("modelled", "number", unit="ms", digits=3),
            Column("difference", "change", digits=1),
        )
        rows = (
            ("first inference", self.first_ms, modelled.first_ms if modelled else None, difference["first"]),
            ("median", self.median_ms, modelled.latency_ms if modelled else None, difference["median"]),
            ("95th percentile", self.p95_ms, None, None),
        )
        return (Table(columns, rows, f"Measured on {self.device}"),)

    def basis(self) -> tuple[str, ...]:
        """What the times are times of."""
        return (self.how,)


def _relative(measured: float, modelled: float) -> float | None:
    return measured / modelled - 1 if modelled else None
