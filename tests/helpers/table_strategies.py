"""Any tables, for property tests: names of converters, sentences, numbers, and what no file should hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from hypothesis import strategies as st

from atoll.products.result import Result
from atoll.products.table import Column, Table

LETTERS = st.characters(codec="utf-8") | st.sampled_from("abcxyz/;_ 網é́|\n\r\t\x1b\x07\x00\u202e,\"'`*<\\")
TEXTS = st.text(LETTERS, max_size=40)
WORDS = st.lists(st.text("abcdefgé網", min_size=1, max_size=9), max_size=12).map(" ".join)
NAMES = st.text("abc/;_0123網", min_size=1, max_size=120)
NUMBERS = st.none() | st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.none() | WORDS | TEXTS,
    "name": st.none() | NAMES | TEXTS,
    "number": NUMBERS,
    "bytes": st.none() | st.integers(0, 10**12),
    "share": st.none() | st.floats(0, 1),
    "change": st.none() | st.floats(-1, 10),
}
COLUMNS = st.builds(
    Column,
    st.text("abc -/", max_size=30) | WORDS,
    st.sampled_from([*VALUES]),
    unit=st.sampled_from(["", "ms", "MHz"]),
    digits=st.integers(0, 3),
    importance=st.integers(0, 3),
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    columns = draw(st.lists(COLUMNS, min_size=0, max_size=7, unique_by=lambda c: c.heading))
    rows = draw(st.lists(st.tuples(*(VALUES[column.kind] for column in columns)), max_size=5))
    return Table.of(columns, rows, draw(TEXTS), records=draw(st.booleans()))


@dataclass(frozen=True, slots=True, repr=False)
class Anything(Result):
    """A result of given tables and sentences."""

    schema: ClassVar[str] = "anything/1"
    shown: tuple[Table, ...]
    said: str = ""

    def answer(self) -> tuple[str, ...]:
        return (self.said,)

    def tables(self) -> tuple[Table, ...]:
        return self.shown

    def basis(self) -> tuple[str, ...]:
        return (self.said,)
