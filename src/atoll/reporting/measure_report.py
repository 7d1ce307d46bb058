"""Latencies of inferences on a device, and what was modelled → the two side by side."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Modelled:
    """What one inference should take, in ms; ``first`` also loads the parameters."""

    first_ms: float
    latency_ms: float
    target: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What inferences on one device took, operators of the CPU included; times in ms."""

    device: str
    bus: str
    virtual: bool
    inferences: int
    """Without the first."""
    first_ms: float
    """The first inference, which also loads the parameters."""
    median_ms: float
    p95_ms: float
    mean_ms: float
    modelled: Modelled | None
    how: str = ""
    """What the times are times of; and why nothing is modelled."""

    def fields(self) -> dict[str, Any]:
        """For JSON; ``difference`` is measured over modelled - 1 (``None``: nothing is modelled)."""
        pairs = {"first": self._difference(self.first_ms, "first_ms"), "median": self._difference(self.median_ms)}
        return {**asdict(self), "difference": pairs}

    def table(self) -> list[tuple[str, float, float | None, float | None]]:
        """Quantity, measured, modelled, difference: a row each."""
        modelled = self.modelled
        return [
            (
                "first inference",
                self.first_ms,
                modelled.first_ms if modelled else None,
                self._difference(self.first_ms, "first_ms"),
            ),
            (
                "median",
                self.median_ms,
                modelled.latency_ms if modelled else None,
                self._difference(self.median_ms),
            ),
            ("95th percentile", self.p95_ms, None, None),
        ]

    def _difference(self, measured: float, of: str = "latency_ms") -> float | None:
        modelled = getattr(self.modelled, of) if self.modelled else 0.0
        return measured / modelled - 1 if modelled else None


def summarized(
    latencies_ms: Sequence[float], device: str, bus: str, virtual: bool, modelled: Modelled | None
) -> Measured:
    """Latencies in order, the first inference first; at least two."""
    first, *others = latencies_ms
    return Measured(
        device=device,
        bus=bus,
        virtual=virtual,
        inferences=len(others),
        first_ms=first,
        median_ms=statistics.median(others),
        p95_ms=float(np.percentile(others, 95)),
        mean_ms=statistics.fmean(others),
        modelled=modelled,
    )


COLUMNS = ("on the device", ">measured ms", ">modelled ms", ">difference")


def rows(measured: Measured) -> list[tuple[str, ...]]:
    """In the order of :data:`COLUMNS`."""
    return [
        (
            quantity,
            f"{ms:.3f}",
            "" if modelled is None else f"{modelled:.3f}",
            "" if difference is None else f"{difference:+.1%}",
        )
        for quantity, ms, modelled, difference in measured.table()
    ]


def measured_csv(measured: Measured) -> str:
    """One row per quantity, with a header; numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("quantity", "measured_ms", "modelled_ms", "difference"))
    writer.writerows(measured.table())
    return text.getvalue()
