"""A result → its tables as comma-separated values, numbers in full."""

from __future__ import annotations

import csv
import io

from atoll.products.result import Result


def render(result: Result, _cells: int) -> str:
    """A header and a line per row; of several tables one after the other, with an empty line between."""
    blocks = []
    for table in result.tables():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.key for column in table.columns])
        writer.writerows(table.rows)
        blocks.append(text.getvalue())
    return "\n".join(blocks).rstrip("\n")
