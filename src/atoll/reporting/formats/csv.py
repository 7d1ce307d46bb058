"""A result → its tables as comma-separated values, numbers in full."""

from __future__ import annotations

import csv
import io

from atoll.products.result import Result
from atoll.products.table import Table


def render(result: Result, _cells: int) -> str:
    """A header and a line per row; of several tables one after the other, with an empty line between."""
    return "\n".join(table_csv(table) for table in result.tables()).rstrip("\n")


def table_csv(table: Table) -> str:
    """One table: a header and a line per row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    writer.writerows(table.rows)
    return text.getvalue()
