"""One table of a result: columns that know what their values are, and rows of values as they are.

A table holds values, not text: :mod:`atoll.products.layout` lays it out for a terminal, and each module of
``atoll.reporting.formats`` writes it in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from atoll.products.units import size

Value = str | int | float | None
Kind = Literal["text", "name", "number", "bytes", "share", "change"]


@dataclass(frozen=True, slots=True)
class Column:
    """What one column holds, and what may happen to it where room is short.

    >>> Column("time", "number", unit="ms", digits=2).text(1.2345)
    '1.23'
    >>> Column("on-chip", "bytes").text(6_438_912)
    '6.14MiB'
    """

    name: str
    kind: Kind = "text"
    """``text``: words, folded between words where room is short. ``name``: of a tensor, an operator or a file,
    shortened in the middle. ``number``: with ``digits`` decimals. ``bytes``: a count of them. ``share``: 0 to 1, shown
    in %. ``change``: relative, 0.1 is shown as +10 %."""
    unit: str = ""
    """The unit of a number, shown in the heading: ms, MHz, ..."""
    digits: int = 0
    importance: int = 0
    """0: always shown. Where a table is too wide, the columns with the highest number are left out first."""

    @property
    def heading(self) -> str:
        """What people read above the column."""
        return f"{self.name} {self.unit}" if self.unit else self.name

    @property
    def key(self) -> str:
        """What programs read above it: ``mean_ms``, ``on_chip_bytes``."""
        unit = self.unit or ("bytes" if self.kind == "bytes" and "bytes" not in self.name else "")
        return "_".join(re.findall(r"\w+", f"{self.name} {unit}".replace("/", " per ").lower())) or "column"

    @property
    def is_number(self) -> bool:
        """Whether it is aligned to the right."""
        return self.kind not in ("text", "name")

    def text(self, value: Value) -> str:
        """A value as people read it; "" for None, and a string as it is."""
        if value is None or isinstance(value, str):
            return value or ""
        if self.kind == "bytes":
            return size(int(value))
        if self.kind in ("share", "change"):
            return f"{value:{'+' if self.kind == 'change' else ''}.{self.digits}%}"
        return f"{value:,.{self.digits}f}" if isinstance(value, float) or self.digits else f"{value:,}"


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; every row has a value for every column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    title: str = ""
    """What the table shows; needed where a result has several."""
    records: bool = False
    """Rows hold whole sentences: as text, each is a heading (its first value) with a line per further value."""

    @classmethod
    def of(
        cls, columns: Sequence[Column], rows: Sequence[Sequence[Value]], title: str = "", *, records: bool = False
    ) -> Table:
        """A table from any sequences. Programs get every column; people those that hold something in some row."""
        return cls(tuple(columns), tuple(map(tuple, rows)), title, records)

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns' :attr:`Column.key`, each once.

        >>> Table.of([Column("a"), Column("a")], []).keys
        ('a', 'a_2')
        """
        found: list[str] = []
        for column in self.columns:
            key, number = column.key, 1
            while key in found:
                number += 1
                key = f"{column.key}_{number}"
            found.append(key)
        return tuple(found)

    def without_empty_columns(self) -> Table:
        """What people are shown: columns that hold nothing in any row are left out."""
        kept = [n for n in range(len(self.columns)) if any(row[n] not in (None, "") for row in self.rows)]
        if not self.rows or len(kept) == len(self.columns):
            return self
        rows = tuple(tuple(row[n] for n in kept) for row in self.rows)
        return Table(tuple(self.columns[n] for n in kept), rows, self.title, self.records)
