"""The declarative codec: what is written is read back, and damaged bytes are refused, never followed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model import flatbuffer as flat
from atoll.model.flatbuffer import Ints, NumberVector, Scalar, Strings, Sub, TableSchema, TableVector, Text, Union
from atoll.model.flatbuffer_reader import FlatError

LEAF = TableSchema(number=(0, Scalar("q")), name=(1, Text()))
OTHER = TableSchema(flag=(0, Scalar("?", False)))
ROOT = TableSchema(
    small=(0, Scalar("b")),
    big=(2, Scalar("Q", 7)),
    real=(3, Scalar("d")),
    text=(4, Text()),
    data=(5, NumberVector("u1", align=16)),
    shape=(6, Ints()),
    leaf=(7, Sub(LEAF)),
    leaves=(8, TableVector(LEAF)),
    strings=(9, Strings()),
    kind=(10, Scalar("B")),
    choice=(11, Union("kind", {1: LEAF, 2: OTHER}.get)),
)

leaves = st.fixed_dictionaries({"number": st.integers(-(2**63), 2**63 - 1), "name": st.text(max_size=20)})
records = st.fixed_dictionaries(
    {
        "small": st.integers(-128, 127),
        "big": st.integers(0, 2**64 - 1),
        "real": st.floats(allow_nan=False),
        "text": st.text(max_size=50),
        "data": st.binary(min_size=1, max_size=100),
        "shape": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6).map(tuple),
        "leaf": st.none() | leaves,
        "leaves": st.lists(leaves, max_size=5),
        "strings": st.lists(st.binary(max_size=20), max_size=4),
    }
)
choices = st.just((0, None)) | st.tuples(st.just(1), leaves) | st.tuples(st.just(2), st.just({"flag": True}))


def written(record: dict[str, object], choice: tuple[int, object]) -> bytes:
    value = {**record, "kind": choice[0], "choice": choice[1], "data": np.frombuffer(record["data"], np.uint8)}
    return bytes(flat.write_root(ROOT, value, b"TEST", 64))


@given(records, choices)
def test_reading_gives_back_what_was_written(record: dict[str, object], choice: tuple[int, object]) -> None:
    read = flat.read_root(ROOT, memoryview(written(record, choice)), b"TEST")
    assert bytes(read.pop("data")) == record.pop("data")
    assert [bytes(item) for item in read.pop("strings")] == record.pop("strings")
    assert (read.pop("kind"), read.pop("choice")) == choice
    assert read == record


def test_vectors_with_an_alignment_are_aligned_in_the_file() -> None:
    content = written({"text": "x", "data": b"0123456789"}, (0, None))
    assert content.index(b"0123456789") % 16 == 0


def test_absent_fields_read_as_their_defaults() -> None:
    read = flat.read_root(ROOT, flat.write_root(ROOT, {}, None, 16), None)
    assert read["big"] == 7 and read["text"] == "" and read["data"] is None and read["leaves"] == []


@given(records, choices, st.data())
def test_damage_is_refused_or_read_but_never_escapes(record: object, choice: object, data: st.DataObject) -> None:
    content = bytearray(written(record, choice))  # type: ignore[arg-type]
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        read = flat.read_root(ROOT, memoryview(bytes(content)), None)
    except FlatError:
        return
    assert set(read) == {name for name, _, _ in (*ROOT._kinds, *ROOT._unions)}


def limited(tables: int) -> type[flat.Reader]:
    class Limited(flat.Reader):
        def __init__(self, data: memoryview) -> None:
            super().__init__(data)
            self.tables = tables

    return Limited


@pytest.mark.parametrize("share", [True, False])
def test_tables_that_repeat_themselves_do_not_multiply(share: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes whose vectors all point at one table must not become many records."""
    row = TableSchema(items=(0, TableVector(LEAF)))
    rows = TableSchema(rows=(0, TableVector(row)))
    content = bytearray(flat.write_root(rows, {"rows": [{"items": [{"number": 1}] * 30}] * 30}, None, 1 << 16))
    if share:
        reader = flat.Reader(memoryview(content))
        root = reader.follow(0)
        start, length = reader.vector(root + reader.offsets(reader.vtable(root))[0], 4)
        target = reader.follow(start)
        for i in range(length):
            content[start + 4 * i : start + 4 * i + 4] = (target - start - 4 * i).to_bytes(4, "little")
        # What is left of the file without the 29 rows that nothing points to any more.
        limit = len(content) // 30 // 8 + 64
        monkeypatch.setattr(flat, "Reader", limited(limit))
        with pytest.raises(FlatError, match="over and over"):
            flat.read_root(rows, memoryview(content), None)
    else:
        assert len(flat.read_root(rows, memoryview(content), None)["rows"]) == 30
