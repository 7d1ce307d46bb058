"""Whatever a table holds: every line fits, no word is cut, no number shortened, no name without its head and tail."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.products.layout import brief, one_line, printable, sentence_lines, shortened, table_lines, width
from atoll.products.table import Column, Table
from table_strategies import NAMES, TEXTS, WORDS, tables

CELLS = st.integers(40, 160)


def words(text: str) -> list[str]:
    return text.split()


@given(tables(), CELLS)
def test_every_line_fits_but_for_longer_words(table: Table, cells: int) -> None:
    for line in table_lines(table, cells)[0]:
        # Beside an indentation of at most half the width, a word may be longer than what is left of it.
        assert width(line) <= cells or max(map(width, words(line))) > cells // 2 - 4


@given(tables(), CELLS)
def test_nothing_in_a_table_is_acted_on(table: Table, cells: int) -> None:
    lines, left_out = table_lines(table, cells)
    assert all(line.isprintable() for line in lines) and len(left_out) < max(1, len(table.columns))


@given(tables(), CELLS)
def test_numbers_are_whole_and_words_are_not_cut(table: Table, cells: int) -> None:
    lines, left_out = table_lines(table, cells)
    shown = {word for line in lines for word in words(line)}
    shown |= {word.strip("'") for word in shown}
    if not table.without_empty_columns().columns:
        return
    for n, column in enumerate(table.columns):
        if column.heading in left_out:
            assert column.importance
            continue
        for row in table.rows:
            if column.is_number and row[n] is not None:
                assert set(words(column.text(row[n]))) <= shown
            elif column.kind == "text" and "'" not in (text := printable(column.text(row[n]))):
                assert set(words(text)) <= shown


@given(st.lists(st.tuples(NAMES, st.integers(0, 10**9), WORDS), min_size=1, max_size=4), CELLS, st.booleans())
def test_names_keep_head_and_tail(rows: list[tuple[str, int, str]], cells: int, records: bool) -> None:
    columns = (Column("tensor", "name"), Column("size", "bytes", importance=1), Column("why"))
    text = "\n".join(table_lines(Table.of(columns, rows, records=records), cells)[0])
    for name, *_ in rows:
        assert name[:3] in text and name[-3:] in text
        if width(name) > cells:
            assert "…" in text and name not in text


@given(tables())
def test_the_least_important_columns_go_first(table: Table) -> None:
    left_out = table_lines(table, 40)[1]
    gone = [column.importance for column in table.columns if column.heading in left_out]
    kept = [c.importance for c in table.without_empty_columns().columns if c.heading not in left_out]
    assert not gone or (min(gone) >= 1 and min(gone) >= max(kept, default=0))
    assert table_lines(table, 10_000)[1] == []


@given(TEXTS | WORDS, CELLS, st.sampled_from(["", "  ", "    "]))
def test_sentences_fit(text: str, cells: int, indent: str) -> None:
    lines = sentence_lines(text, cells, indent)
    assert words(" ".join(lines)) == words(brief(text, min(60, cells - len(indent) - 4)))
    for line in lines:
        assert line.isprintable() and line == line.rstrip()
        assert width(line) <= cells or len(words(line)) == 1 or line.startswith("    ")


@given(st.text(), st.integers(1, 80))
def test_shortened_names_fit(name: str, cells: int) -> None:
    short = shortened(name, cells)
    assert width(short) <= cells
    if short != name:
        head, tail = short.rsplit("…", 1) if name.count("…") == 0 else (short[:1], short[-1:])
        assert name.startswith(head) or name.count("…")
        assert name.endswith(tail) or name.count("…")


@given(st.text())
def test_escaping(text: str) -> None:
    assert one_line(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert printable(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "cells"), [("abc", 3), ("網路", 4), ("e\u0301", 1), ("❤\ufe0f", 1), ("", 0), ("a網", 3)]
)
def test_width_in_cells(text: str, cells: int) -> None:
    assert width(text) == cells


DEVICES = Table.of(
    (
        Column("device", "name"),
        Column("mean", "number", unit="ms", digits=2),
        Column("on-chip", "bytes", importance=1),
        Column("share of the memory", "share", importance=2),
        Column("what it does"),
        Column("nothing"),
    ),
    [
        ("pcie:0", 1.2345, 6_438_912, 0.5, "segment 0\nsegment 1", None),
        ("model/block_1/conv;model/block_1/relu;model/block_2/add", 1234.5, None, 1.0, "網 waits for input", ""),
    ],
)

WIDE = """\
device                                                    mean ms  on-chip  share of the memory  what it does
───────────────────────────────────────────────────────────────────────────────────────────────────────────────────
pcie:0                                                       1.23  6.14MiB                  50%  segment 0
                                                                                                 segment 1
model/block_1/conv;model/block_1/relu;model/block_2/add  1,234.50                          100%  網 waits for input"""

IN_80_CELLS = """\
device                         mean ms  on-chip     share of  what it does
                                                  the memory
────────────────────────────────────────────────────────────────────────────────
pcie:0                            1.23  6.14MiB          50%  segment 0
                                                              segment 1
model/block_1…el/block_2/add  1,234.50                  100%  網 waits for input"""

IN_60_CELLS = """\
device                           mean ms  what it does
────────────────────────────────────────────────────────────
pcie:0                              1.23  segment 0
                                          segment 1
model/block_1/…del/block_2/add  1,234.50  網 waits for input"""

IN_20_CELLS = """\
pcie:0
  mean ms
    1.23
  on-chip
    6.14MiB
  share of the memory
    50%
  what it does
    segment 0
    segment 1
model/blo…lock_2/add
  mean ms
    1,234.50
  share of the memory
    100%
  what it does
    網 waits for input"""


def test_as_wide_as_it_wants() -> None:
    lines, left_out = table_lines(DEVICES, 200)
    assert not left_out and "\n".join(lines) == WIDE


@pytest.mark.parametrize(
    ("cells", "expected", "gone"),
    [(80, IN_80_CELLS, []), (60, IN_60_CELLS, ["on-chip", "share of the memory"]), (20, IN_20_CELLS, [])],
)
def test_narrower(cells: int, expected: str, gone: list[str]) -> None:
    lines, left_out = table_lines(DEVICES, cells)
    assert "\n".join(lines) == expected and left_out == gone


def test_nothing_to_show() -> None:
    assert table_lines(Table.of([Column("a")], []), 80) == (["(none)"], [])
    assert table_lines(Table.of([], [()]), 80) == (["(none)"], [])
    assert table_lines(Table.of([Column("a")], [(None,)], records=True), 80) == (["(none)"], [])


def test_a_column_is_left_even_if_none_is_important() -> None:
    table = Table.of([Column(name, importance=1) for name in "ab"], [("x" * 50, "y" * 50)])
    assert table_lines(table, 40) == (["x" * 50, "  b  " + "y" * 50], [])


def test_a_record_says_what_its_number_is() -> None:
    table = Table.of([Column("devices", "number"), Column("why")], [(2, "because " * 12)], records=True)
    lines = table_lines(table, 60)[0]
    assert lines[0] == "devices 2" and lines[1].startswith("  why  because") and lines[2].startswith("       because")
    assert re.sub(r"\s+", " ", " ".join(lines)).count("because") == 12
