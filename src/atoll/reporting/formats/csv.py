"""A result → its tables as comma-separated values, numbers in full."""

from __future__ import annotations

import csv
import io

from atoll.products.layout import printable
from atoll.products.result import Result
from atoll.products.table import Table


def render(result: Result, _cells: int) -> str:
    """A header and a line per row; of several tables one after the other, with an empty line between.

    Columns are always the same, whether they hold something or not.
    """
    return "\n".join(map(table_csv, result.tables())).rstrip("\n")


def table_csv(table: Table) -> str:
    """A header and a line per row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.keys)
    writer.writerows([printable(v) if isinstance(v, str) else v for v in row] for row in table.rows)
    return text.getvalue()
