"""Sentences and tables → lines of text that fit a width in terminal cells.

Words are never cut. Where a table is too wide, names are shortened in their middle, then the least important columns
are left out, then words go to further lines; what does not fit even so is laid out as records, a line per value.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

from atoll.products.table import Column, Table

LONGEST_NAME = 60
"""Characters of a quoted name that people are shown: converters make names of hundreds by joining those of all layers
that they fused."""
_NAME = 28
"""Characters that a name in a table keeps as long as a column can be left out instead ..."""
_SHORT_NAME = 12
"""... and when none can."""
_GAP = 2
_QUOTED = re.compile(r"'([^'\s]+)'")


def printable(text: str) -> str:
    """The text with what a terminal would act on escaped: names come from files that anyone may have made."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def brief(text: str, longest: int = LONGEST_NAME) -> str:
    """A message fit for a terminal: quoted names of more than ``longest`` characters without their middle, and no
    control characters."""
    return _QUOTED.sub(lambda found: f"'{shortened(found[1], longest)}'", printable(text))


def shortened(name: str, cells: int) -> str:
    """A name of at most so many cells: its middle is left out, since converters' names differ at both ends."""
    if width(name) <= cells:
        return name
    head, tail = (cells - 1) // 2, cells - 1 - (cells - 1) // 2
    while width(name[:head]) + width(name[-tail:]) + 1 > cells and tail > 1:  # wide characters take two cells
        head, tail = max(head - 1, 0), tail - 1
    return f"{name[:head]}…{name[-tail:]}"


def width(text: str) -> int:
    """How many cells a terminal takes for it: East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )


def sentence_lines(text: str, cells: int, indent: str = "") -> list[str]:
    """A sentence in lines of at most so many cells; a single word that is longer stays whole."""
    lines = []
    for line in brief(text, max(min(LONGEST_NAME, cells - 4), _SHORT_NAME)).splitlines() or [""]:
        lead = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line,
            max(cells, 20),
            initial_indent=indent,
            subsequent_indent=indent + lead,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        ) or [""]
    return lines


def table_lines(table: Table, cells: int) -> tuple[list[str], list[str]]:
    """The lines of a table (heading, rule, rows), and the headings of the columns that had to be left out."""
    if table.records:
        return _records(table, cells), []
    columns = list(range(len(table.columns)))
    texts = [[brief(column.text(row[n])) for row in table.rows] for n, column in enumerate(table.columns)]
    left_out: list[int] = []
    while True:
        widths = _widths([table.columns[n] for n in columns], [texts[n] for n in columns], cells, _NAME)
        droppable = [n for n in columns if table.columns[n].importance]
        if _total(widths) <= cells or not droppable:
            break
        least = max(droppable, key=lambda n: (table.columns[n].importance, n))
        columns.remove(least)
        left_out.append(least)
    shown = [table.columns[n] for n in columns]
    if _total(widths) > cells:
        widths = _widths(shown, [texts[n] for n in columns], cells, _SHORT_NAME)
    if _total(widths) > cells:
        return _records(table, cells), []
    lines = [*_row([column.heading for column in shown], shown, widths), "─" * _total(widths)]
    for number in range(len(table.rows)):
        lines += _row([texts[n][number] for n in columns], shown, widths)
    return lines, [table.columns[n].heading for n in sorted(left_out)]


def _records(table: Table, cells: int) -> list[str]:
    """Each row as a heading and an indented line per further value, which words wrap into more."""
    lines = []
    titles = max((width(column.heading) for column in table.columns[1:]), default=0)
    for row in table.rows:
        lines += sentence_lines(table.columns[0].text(row[0]), cells)
        for column, value in zip(table.columns[1:], row[1:]):
            if text := column.text(value):
                title = f"  {column.heading:<{titles}}  "
                first, *others = sentence_lines(text, cells - len(title))
                lines += [title + first, *(" " * len(title) + line for line in others)]
    return lines


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _widths(columns: Sequence[Column], texts: Sequence[Sequence[str]], cells: int, name: int) -> list[int]:
    """Per column what it takes, after names gave way down to ``name`` cells and then words down to their longest."""
    widths = [max([width(c.heading), *map(width, own)]) for c, own in zip(columns, texts)]
    least = [
        min(full, max(name, width(c.heading)))
        if c.kind == "name"
        else min(full, max(width(word) for text in [c.heading, *own] for word in text.split() or [""]))
        if c.kind == "text"
        else full
        for c, own, full in zip(columns, texts, widths)
    ]
    for kind in ("name", "text"):
        while _total(widths) > cells:
            able = [n for n, c in enumerate(columns) if c.kind == kind and widths[n] > least[n]]
            if not able:
                break
            widest = max(able, key=lambda n: widths[n])
            widths[widest] -= min(widths[widest] - least[widest], _total(widths) - cells)
    return widths


def _row(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> Iterator[str]:
    """One row, in as many lines as its longest text needs."""
    parts = [_folded(text, column, own) for text, column, own in zip(texts, columns, widths)]
    for line in range(max(map(len, parts), default=0)):
        cells = []
        for part, column, own in zip(parts, columns, widths):
            text = part[line] if line < len(part) else ""
            blank = " " * (own - width(text))
            cells.append(blank + text if column.is_number else text + blank)
        yield (" " * _GAP).join(cells).rstrip()


def _folded(text: str, column: Column, cells: int) -> list[str]:
    if width(text) <= cells:
        return [text]
    if column.kind == "name":
        return [shortened(text, cells)]
    return textwrap.wrap(text, cells, break_long_words=False, break_on_hyphens=False)
