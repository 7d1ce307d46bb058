"""What every function of the library returns: a frozen result that people, programs and notebooks can read."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, ClassVar

from atoll.products.layout import LONGEST_NAME, brief, one_line, printable, sentence_lines, shortened, table_lines
from atoll.products.table import Column, Table, Value

_LINES = 10
"""Lines of a ``repr`` at most."""
_CELLS = 100


class Result:
    """The base of every result: ``@dataclass(frozen=True, slots=True, repr=False)`` classes derive from it.

    A new number in a result is one field of its class and one column in its :meth:`tables`: every format shows it then.
    """

    __slots__ = ()
    schema: ClassVar[str]
    """Kind and version of :meth:`to_dict`, such as ``check/2``: the version moves when a field moves."""

    def answer(self) -> tuple[str, ...]:
        """The answer, in sentences that a person can act on."""
        return ()

    def tables(self) -> tuple[Table, ...]:
        """The result as tables, the most important one first."""
        return ()

    def basis(self) -> tuple[str, ...]:
        """What the answer rests on: how it was obtained, how far off it may be, what was not looked at."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Every field, as JSON has values: dicts, lists, strings, numbers, booleans, None."""
        return {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def to_json(self, indent: int | None = 2) -> str:
        """:meth:`to_dict` as JSON, with the schema in front. Infinite and undefined numbers are null."""
        import json  # late, as html below: most calls print text

        return json.dumps(plain({"schema": f"atoll.{self.schema}", **self.to_dict()}), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        lines = [line for text in self.answer() for line in sentence_lines(text, _CELLS)]
        for table in self.tables()[:1]:
            lines += table_lines(dataclasses.replace(table, rows=table.rows[:_LINES]), _CELLS)[0]
        if len(lines) > _LINES - 1:
            lines = [*lines[: _LINES - 2], "…"]
        return "\n".join([f"<{type(self).__name__}>", *lines])

    def _repr_html_(self) -> str:
        """For notebooks."""
        parts = [f"<p>{_escaped(text)}</p>" for text in self.answer()]
        parts += map(_html_table, self.tables())
        parts += [f"<p><small>{_escaped(text)}</small></p>" for text in self.basis()]
        return "\n".join(parts)


def plain(value: Any) -> Any:
    """A value of dataclasses, tuples, mappings, enums and paths, as JSON has values."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Result):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=repr)
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return plain(value.tolist())
    return str(value) if isinstance(value, PurePath) else value


def _escaped(text: str) -> str:
    import html

    return html.escape(printable(text))


def _html_table(table: Table) -> str:
    table = table.without_empty_columns()

    def cells(tag: str, texts: list[str]) -> str:
        aligned = (' style="text-align: right"' if c.is_number else "" for c in table.columns)
        return "".join(f"<{tag}{how}>{_escaped(text)}</{tag}>" for how, text in zip(aligned, texts))

    def text(column: Column, value: Value) -> str:
        if column.kind == "name":
            return shortened(one_line(column.text(value)), LONGEST_NAME)
        return brief(column.text(value))

    head = cells("th", [column.heading for column in table.columns])
    rows = [cells("td", [text(c, value) for c, value in zip(table.columns, row)]) for row in table.rows]
    title = f"<caption>{_escaped(table.title)}</caption>" if table.title else ""
    return f"<table>{title}<tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
