"""What the vendor's compiler says of each file, and what we predicted → a table."""

from __future__ import annotations

from collections.abc import Iterable

from atoll.compiler.external.agreement import Agreement, Figures
from atoll.products.table import Column, Table, Value


def agreement_table(agreements: Iterable[Agreement]) -> Table:
    """Two rows per file: the vendor's answer and our prediction."""
    columns = (
        Column("file", "name"),
        Column("by"),
        Column("operators", "number", importance=2),
        Column("on TPU", "number"),
        Column("on-chip", "bytes"),
        Column("remaining", "bytes", importance=1),
        Column("off-chip", "bytes"),
        Column("runtime", "number", importance=3),
    )
    rows: list[tuple[Value, ...]] = []
    for item in agreements:
        rows.append((item.file, "vendor", *_values(item.vendor)))
        rows.append(("", "predicted", *_values(item.predicted)))
    return Table.of(columns, rows, "The vendor's compiler and our prediction")


def _values(figures: Figures) -> tuple[Value, ...]:
    return (
        figures.operators,
        figures.mapped_operators,
        figures.on_chip_bytes,
        figures.remaining_bytes,
        figures.off_chip_bytes,
        figures.runtime,
    )
