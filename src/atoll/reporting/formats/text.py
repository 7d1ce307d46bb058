"""A result → text for a terminal: the answer first, then the tables, then what they rest on."""

from __future__ import annotations

from atoll.products.layout import sentence_lines, table_lines
from atoll.products.result import Result


def render(result: Result, cells: int) -> str:
    """Blocks with an empty line between; no line is wider than ``cells``, but for words that are longer."""
    blocks = [[line for text in result.answer() for line in sentence_lines(text, cells)]]
    for table in result.tables():
        lines, left_out = table_lines(table, cells)
        blocks.append([*(sentence_lines(table.title, cells) if table.title else []), *lines])
        if left_out:
            blocks[-1] += sentence_lines(f"Not shown in {cells} columns: {', '.join(left_out)}.", cells)
    blocks.append([line for text in result.basis() for line in sentence_lines(text, cells)])
    return "\n\n".join("\n".join(block) for block in blocks if block)
