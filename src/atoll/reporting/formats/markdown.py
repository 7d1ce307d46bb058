"""A result → Markdown, to be pasted into an issue or a document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from atoll.products.layout import printable
from atoll.products.result import Result
from atoll.products.table import Table


def render(result: Result, _cells: int) -> str:
    """The answer, the tables, what they rest on."""
    blocks = [*map(_escaped, result.answer())]
    for table in result.tables():
        blocks += [f"**{_escaped(table.title)}**"] if table.title else []
        blocks.append("\n".join(_lines(table)))
    blocks += [f"- {_escaped(text)}" for text in result.basis()]
    return "\n\n".join(blocks)


def _lines(table: Table) -> Iterator[str]:
    table = table.without_empty_columns()
    yield _row([_escaped(column.heading) for column in table.columns])
    yield _row(["---:" if column.is_number else "---" for column in table.columns])
    for row in table.rows:
        yield _row([_escaped(column.text(value)) for column, value in zip(table.columns, row)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """The text as it is, on one line: nothing in it is markup."""
    return re.sub(r"([\\|`*_<>\[\]~&])", r"\\\1", printable(text)).replace("\n", " ")
