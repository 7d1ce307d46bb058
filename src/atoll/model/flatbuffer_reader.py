"""The bytes of a FlatBuffer, read with every offset checked: files come from anywhere."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias

import flatbuffers

Record = dict[str, Any]


class TableField(Protocol):
    """A field whose value is a table."""

    def member(self, record: Record, /) -> TableLike | None:
        """The table that a record has there; None for one that is not known."""


class TableLike(Protocol):
    """Anything that reads one table at a position and writes one, returning its offset."""

    def decode(self, reader: Reader, position: int) -> Any:
        """The value of the table at ``position``. Raises :class:`FlatError`."""

    def encode(self, builder: flatbuffers.Builder, value: Any) -> int | Encoding:
        """Where the table is, or an :data:`Encoding` where others have to be written first."""


class FlatError(ValueError):
    """An offset or a length that leads out of the data, or data that repeats itself without end."""


_U32 = struct.Struct("<I").unpack_from
_I32 = struct.Struct("<i").unpack_from


class Reader:
    """The bytes of one FlatBuffer.

    Offsets are unsigned, so that ``unpack_from`` itself refuses what lies behind the end.
    ``work`` (bytes) and ``tables`` bound what offsets that share a target can make of a small file: well-formed files
    visit each byte about once, and no network has half a million tables.
    """

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.size = len(data)
        self.work = 16 * self.size + 4096
        self.tables = min(self.size // 8 + 64, 500_000)
        self._vtables: dict[int, tuple[int, ...]] = {}
        self.plans: dict[tuple[int, int], ReadPlan] = {}
        self.memo: dict[Any, Any] = {}
        """For kinds that want to remember what they decoded."""
        self.ahead: list[tuple[Any, Any, TableLike, int]] = []
        """Tables that wait to be read, and where they go: files may nest them deeper than calls should go."""

    def read_later(self, holder: Any, key: Any, table: TableLike, position: int) -> None:
        """Put the table at ``position`` into ``holder[key]`` when what is read now is read."""
        self.tables -= 1
        if self.tables < 0:
            raise FlatError("tables refer to the same bytes over and over")
        self.ahead.append((holder, key, table, position))

    def spend(self, amount: int) -> None:
        """Count bytes that are visited. Raises :class:`FlatError` when they are far more than there are."""
        self.work -= amount
        if self.work < 0:
            raise FlatError("tables refer to the same bytes over and over")

    def follow(self, position: int) -> int:
        """Where the offset stored at ``position`` points to."""
        return position + int(_U32(self.data, position)[0])

    def vector(self, position: int, width: int) -> tuple[int, int]:
        """First element and length of the vector that the offset at ``position`` points to."""
        start = position + int(_U32(self.data, position)[0]) + 4
        length = int(_U32(self.data, start - 4)[0])
        self.work -= length
        if start + length * width > self.size or self.work < 0:
            raise FlatError(f"a vector of {length} elements at {start} exceeds the {self.size} bytes")
        return start, length

    def vtable(self, position: int) -> int:
        """Where the vtable of the table at ``position`` starts, both checked to lie inside the data."""
        start = position - int(_I32(self.data, position)[0])
        offsets = self._vtables.get(start)
        if offsets is None:
            if start < 0:
                raise FlatError(f"the table at {position} has its vtable outside the data")
            length, size = struct.unpack_from("<HH", self.data, start)
            if length < 4 or length % 2:
                raise FlatError(f"the vtable at {start} is malformed")
            offsets = (size, *struct.unpack_from(f"<{length // 2 - 2}H", self.data, start + 4))
            if max(offsets[1:], default=0) >= max(size, 1):
                raise FlatError(f"the vtable at {start} places a field outside its table")
            self._vtables[start] = offsets
        if position + offsets[0] > self.size:
            raise FlatError(f"the table at {position} exceeds the {self.size} bytes")
        return start

    def table_bytes(self, position: int) -> bytes:
        """What the table at ``position`` itself holds, without what its offsets point to."""
        return bytes(self.data[position + 4 : position + self._vtables[self.vtable(position)][0]])

    def offsets(self, vtable: int) -> tuple[int, ...]:
        """Field offsets by slot, 0 for an absent field."""
        return self._vtables[vtable][1:]


ReadPlan = tuple["Record", list[tuple[str, Callable[[Reader, int], Any], int]], list[tuple[str, "TableField", int]]]
"""How to read tables that share a vtable: the defaults, the fields present with their offsets, the tables present."""

Encoding: TypeAlias = "Generator[tuple[TableLike, Any], int, Any]"
"""Writing that needs other tables written first: it yields each with its value, and is sent where it was written."""
