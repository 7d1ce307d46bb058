"""Sentences and tables → lines of text that fit a width in terminal cells.

Words are never cut, numbers never shortened. Where a table is too wide, names are shortened in their middle and
headings and long texts go to further lines, then the least important columns are left out, then words stand alone on
their lines; what does not fit even so is laid out as records, a line per value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from atoll.products.table import Column, Table

LONGEST_NAME = 60
"""Characters of a quoted name that people are shown: converters make names of hundreds by joining those of all layers
that they fused."""
_NAME = _TEXT = 28
"""Cells that names and texts in a table keep as long as a column can be left out instead ..."""
_SHORT_NAME = 12
"""... and names when none can; texts then fold down to their longest word."""
_NARROWEST = 20
"""Cells of the narrowest terminal that is cared for."""
_GAP = 2
_QUOTED = re.compile(r"'([^'\s]+)'")


def printable(text: str) -> str:
    """The text with what a terminal would act on escaped: names come from files that anyone may have made."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """The same for what is one thing, such as a name: line breaks are escaped, too."""
    return printable(text).replace("\n", "\\n")


def brief(text: str, longest: int = LONGEST_NAME) -> str:
    """A message fit for a terminal: quoted names of more than ``longest`` characters without their middle, and no
    control characters."""
    return _QUOTED.sub(lambda found: f"'{shortened(found[1], longest)}'", printable(text))


def shortened(name: str, cells: int) -> str:
    """A name of at most so many cells: its middle is left out, since converters' names differ at both ends."""
    if width(name) <= cells:
        return name
    head = _fitting(name, (cells - 1) // 2)
    tail = _fitting(name[::-1], cells - 1 - (cells - 1) // 2)
    return f"{name[:head]}…{name[len(name) - tail :]}"


def _fitting(text: str, cells: int) -> int:
    """How many of the first letters fit."""
    count = 0
    for letter in text:
        cells -= width(letter)
        if cells < 0:
            break
        count += 1
    return count


def width(text: str) -> int:
    """How many cells a terminal takes for it: East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(letter) in ("Mn", "Me") else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def sentence_lines(text: str, cells: int, indent: str = "") -> list[str]:
    """A text in lines of at most so many cells; a single word that is longer stays whole."""
    cells = max(cells - len(indent), _NARROWEST)
    lines = []
    for line in brief(text, max(min(LONGEST_NAME, cells - 4), _SHORT_NAME)).split("\n"):
        lead = line[: len(line) - len(line.lstrip())]
        lines += [indent + lead + part if part else "" for part in _folded(line, cells - len(lead))]
    return lines


def _folded(text: str, cells: int) -> list[str]:
    """Words in lines of at most so many cells; at least one line."""
    lines = [""]
    room = 0
    for word in text.split():
        own = width(word)
        if lines[-1] and own + 1 <= room:
            lines[-1] += f" {word}"
            room -= own + 1
        else:
            lines.append(word)
            room = cells - own
    return lines[1:] or lines


def table_lines(table: Table, cells: int) -> tuple[list[str], list[str]]:
    """The lines of a table (heading, rule, rows), and the headings of the columns that had to be left out."""
    table, cells = table.without_empty_columns(), max(cells, _NARROWEST)
    if not table.rows or not table.columns:
        return ["(none)"], []
    if table.records:
        return _records(table, cells), []
    texts = [[_cell(column, row[n]) for row in table.rows] for n, column in enumerate(table.columns)]
    columns = list(range(len(table.columns)))
    left_out: list[int] = []

    def widths(name: int, text: int) -> list[int]:
        return _widths([table.columns[n] for n in columns], [texts[n] for n in columns], cells, name, text)

    own = widths(_NAME, _TEXT)
    while _total(own) > cells and len(columns) > 1 and any(table.columns[n].importance for n in columns):
        least = max(columns, key=lambda n: (table.columns[n].importance, n))
        columns.remove(least)
        left_out.append(least)
        own = widths(_NAME, _TEXT)
    if _total(own) > cells:
        own = widths(_SHORT_NAME, 0)
    if _total(own) > cells:
        return _records(table, cells), []
    shown = [table.columns[n] for n in columns]
    lines = [*_row([_folded(c.heading, w) for c, w in zip(shown, own)], shown, own), "─" * _total(own)]
    for number in range(len(table.rows)):
        parts = [_lines_of_cell(table.columns[n], texts[n][number], w) for n, w in zip(columns, own)]
        lines += _row(parts, shown, own)
    return lines, [table.columns[n].heading for n in sorted(left_out)]


def _cell(column: Column, value: str | int | float | None) -> str:
    text = column.text(value)
    return one_line(text) if column.kind == "name" else brief(text)


def _lines_of_cell(column: Column, text: str, cells: int) -> list[str]:
    if column.kind == "name":
        return [shortened(text, cells)]
    if column.is_number:
        return [text]
    return [line for part in text.split("\n") for line in ([part] if width(part) <= cells else _folded(part, cells))]


def _records(table: Table, cells: int) -> list[str]:
    """Each row as a heading and an indented line per further value, which words wrap into more."""
    titles = max((width(column.heading) for column in table.columns[1:]), default=0)
    beside = titles + 2 * _GAP <= cells // 2  # or else a heading stands above its value
    lines = []
    for row in table.rows:
        lines += _record_value(table.columns[0], row[0], cells, named=table.columns[0].is_number)
        for column, value in zip(table.columns[1:], row[1:]):
            if value is None or value == "":
                continue
            if beside:
                title = "  " + column.heading + " " * (titles - width(column.heading) + _GAP)
                blank = " " * width(title)
            else:
                lines += sentence_lines(column.heading, cells, "  ")
                title = blank = "    "
            first, *others = _record_value(column, value, cells - width(title))
            lines += [title + first, *(blank + line if line else "" for line in others)]
    return lines


def _record_value(column: Column, value: str | int | float | None, cells: int, named: bool = False) -> list[str]:
    text = column.text(value) or "-"
    if named:
        text = f"{column.heading} {text}"
    if column.kind == "name":  # may be a sentence with a name in it
        return _folded(" ".join(shortened(word, cells) for word in brief(one_line(text)).split()), cells)
    return sentence_lines(text, cells)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _widths(columns: Sequence[Column], texts: Sequence[Sequence[str]], cells: int, name: int, text: int) -> list[int]:
    """Per column what it takes, after the widest gave way: names down to ``name`` cells, headings and texts down to
    their longest word or ``text`` cells."""
    full, least = [], []
    for column, own in zip(columns, texts):
        words = max(map(width, column.heading.split()), default=0)
        widest = max(width(line) for cell in own for line in cell.split("\n"))
        full.append(max(width(column.heading), widest))
        if column.kind == "name":
            widest = min(widest, name)
        elif column.kind == "text":
            longest = max((width(word) for cell in own for word in cell.split()), default=0)
            widest = min(widest, max(longest, text))
        least.append(max(words, widest))
    while _total(full) > cells and (able := [n for n in range(len(full)) if full[n] > least[n]]):
        full[max(able, key=lambda n: full[n])] -= 1
    return full


def _row(parts: Sequence[Sequence[str]], columns: Sequence[Column], widths: Sequence[int]) -> Iterator[str]:
    """One row, in as many lines as its longest text needs."""
    for line in range(max(map(len, parts), default=0)):
        cells = []
        for part, column, own in zip(parts, columns, widths):
            text = part[line] if line < len(part) else ""
            blank = " " * (own - width(text))
            cells.append(blank + text if column.is_number else text + blank)
        yield (" " * _GAP).join(cells).rstrip()
