"""FlatBuffers by declaration: one table description reads (every offset checked) and writes it.

Two formats are declared with it: TensorFlow Lite models and the Edge TPU's ``DWN1`` packages. The generated code of
the ``flatbuffers`` package follows offsets unchecked, which is fine for trusted files only.
Format: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Mapping, Sequence
from types import GeneratorType
from typing import Any, Protocol, TypeAlias

import flatbuffers
import numpy as np
import numpy.typing as npt

Record = dict[str, Any]


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
        self.plans: dict[tuple[int, int], Plan] = {}
        self.memo: dict[Any, Any] = {}
        """For kinds that want to remember what they decoded."""
        self._ahead: list[tuple[Any, Any, TableLike, int]] = []

    def read(self, table: TableLike, position: int) -> Any:
        """The table at ``position`` with all that it refers to.

        Tables that others refer to wait in a list: files may nest them deeper than calls should go.
        """
        root: list[Any] = [None]
        self.read_later(root, 0, table, position)
        while self._ahead:
            holder, key, inner, where = self._ahead.pop()
            holder[key] = inner.decode(self, where)
        return root[0]

    def read_later(self, holder: Any, key: Any, table: TableLike, position: int) -> None:
        """Put the table at ``position`` into ``holder[key]`` when what is read now is read."""
        self.tables -= 1
        if self.tables < 0:
            raise FlatError("tables refer to the same bytes over and over")
        self._ahead.append((holder, key, table, position))

    def spend(self, amount: int) -> None:
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


Plan = tuple["Record", list[tuple[str, Callable[[Reader, int], Any], int]], list[tuple[str, "Sub | Union", int]]]
"""How to read tables that share a vtable: the defaults, the fields present with their offsets, the tables present."""

Encoding: TypeAlias = "Generator[tuple[TableLike, Any], int, Any]"
"""Writing that needs other tables written first: it yields each with its value, and is sent where it was written."""


class Kind(Protocol):
    """How one field is read from its position in a table and written into a builder."""

    def read(self, reader: Reader, position: int) -> Any: ...
    def default(self) -> Any: ...
    def prepare(self, builder: flatbuffers.Builder, value: Any) -> Any:
        """Write what stands outside the table (FlatBuffers are built inside out); None to leave the field out.

        What has to write tables returns an :data:`Encoding`, which returns this.
        """

    def place(self, builder: flatbuffers.Builder, slot: int, prepared: Any) -> None: ...


class Scalar:
    """A number stored in the table itself; ``code`` as in :mod:`struct` (``b B h H i I q Q f d ?``)."""

    _PREPEND: Mapping[str, str] = {
        "?": "PrependBoolSlot", "b": "PrependInt8Slot", "B": "PrependUint8Slot", "h": "PrependInt16Slot",
        "H": "PrependUint16Slot", "i": "PrependInt32Slot", "I": "PrependUint32Slot", "q": "PrependInt64Slot",
        "Q": "PrependUint64Slot", "f": "PrependFloat32Slot", "d": "PrependFloat64Slot",
    }  # fmt: skip

    def __init__(self, code: str, default: int | float | bool = 0) -> None:
        self._unpack: Callable[..., tuple[Any, ...]] = struct.Struct("<" + code).unpack_from
        self._default = default
        self._method = self._PREPEND[code]

    def read(self, reader: Reader, position: int) -> Any:
        return self._unpack(reader.data, position)[0]

    def default(self) -> Any:
        return self._default

    def prepare(self, builder: flatbuffers.Builder, value: Any) -> Any:  # noqa: ARG002
        return None if value == self._default else value

    def place(self, builder: flatbuffers.Builder, slot: int, prepared: Any) -> None:
        getattr(builder, self._method)(slot, prepared, self._default)


class _Offset:
    """A field that holds an offset to something written before its table."""

    def place(self, builder: flatbuffers.Builder, slot: int, prepared: Any) -> None:
        builder.PrependUOffsetTRelativeSlot(slot, prepared, 0)

    def default(self) -> Any:
        return None


class Text(_Offset):
    """A string; bytes that are not UTF-8 survive as surrogates."""

    def read(self, reader: Reader, position: int) -> str:
        start, length = reader.vector(position, 1)
        return bytes(reader.data[start : start + length]).decode("utf-8", "surrogateescape")

    def default(self) -> str:
        return ""

    def prepare(self, builder: flatbuffers.Builder, value: str) -> Any:
        return builder.CreateString(value.encode("utf-8", "surrogateescape")) if value else None


class Numbers(_Offset):
    """A vector of scalars as a numpy view; None when absent. ``align`` is the schema's ``force_align`` in bytes."""

    def __init__(self, dtype: npt.DTypeLike, align: int = 0) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.align = align or self.dtype.itemsize

    def read(self, reader: Reader, position: int) -> npt.NDArray[Any]:
        start, length = reader.vector(position, self.dtype.itemsize)
        return np.frombuffer(reader.data, self.dtype, length, start)

    def prepare(self, builder: flatbuffers.Builder, value: Any) -> Any:
        if value is None:
            return None
        data = np.ascontiguousarray(value, dtype=self.dtype).reshape(-1)
        builder.StartVector(self.dtype.itemsize, len(data), self.align)
        builder.head -= data.nbytes  # StartVector has made the room; this saves CreateNumpyVector's copy
        np.frombuffer(builder.Bytes, np.uint8, data.nbytes, builder.head)[:] = data.view(np.uint8)
        return builder.EndVector()


class Ints(Numbers):
    """A short vector of 32-bit integers as a tuple, empty when absent."""

    def __init__(self) -> None:
        super().__init__("i4")

    def read(self, reader: Reader, position: int) -> Any:
        start, length = reader.vector(position, 4)
        return struct.unpack_from(f"<{length}i", reader.data, start)

    def default(self) -> Any:
        return ()

    def prepare(self, builder: flatbuffers.Builder, value: Any) -> Any:
        return super().prepare(builder, value) if len(value) else None


class Strings(_Offset):
    """A vector of strings, each as raw bytes (a view)."""

    def read(self, reader: Reader, position: int) -> list[memoryview]:
        start, length = reader.vector(position, 4)
        items = []
        for i in range(length):
            reader.spend(8)
            first, size = reader.vector(start + 4 * i, 1)
            items.append(reader.data[first : first + size])
        return items

    def default(self) -> list[memoryview]:
        return []

    def prepare(self, builder: flatbuffers.Builder, value: Sequence[Any]) -> Any:
        return _offsets(builder, [builder.CreateString(bytes(item)) for item in value]) if value else None


class Sub(_Offset):
    """A table of its own; ``None`` when absent."""

    def __init__(self, table: TableLike) -> None:
        self.table = table

    def read(self, reader: Reader, position: int) -> Any:
        """Not used: a table reads its tables later (:meth:`Reader.read_later`)."""
        raise NotImplementedError

    def member(self, _record: Record) -> TableLike:
        """The table that is there."""
        return self.table

    def prepare(self, _builder: flatbuffers.Builder, value: Any) -> Encoding:
        """Where the table is, None without one."""
        return (yield self.table, value) if value is not None else None


class Tables(_Offset):
    """A vector of tables."""

    def __init__(self, table: TableLike) -> None:
        self.table = table

    def read(self, reader: Reader, position: int) -> list[Any]:
        """A list that is filled when what is read now is read."""
        start, length = reader.vector(position, 4)
        items: list[Any] = []
        for i in range(length):
            items.append(None)
            reader.read_later(items, i, self.table, reader.follow(start + 4 * i))
        return items

    def default(self) -> list[Any]:
        """No tables."""
        return []

    def prepare(self, builder: flatbuffers.Builder, value: Sequence[Any] | None) -> Encoding:
        """Where the vector of the tables is, None without any."""
        if not value:
            return None
        places = []
        for item in value:
            places.append((yield self.table, item))
        return _offsets(builder, places)


class TableLike(Protocol):
    """Anything that reads one table at a position and writes one, returning its offset."""

    def decode(self, reader: Reader, position: int) -> Any: ...
    def encode(self, builder: flatbuffers.Builder, value: Any) -> int | Encoding: ...


class Table:
    """A table by its fields: ``Table(shape=(0, Numbers("i4")), name=(3, Text()), ...)``, each with its slot number.

    A record is a dict with every field; absent ones hold their default. A union is two fields: the type is a
    ``Scalar("B")``, the value is declared with :class:`Union` and names the field that holds its type.
    """

    def __init__(self, **fields: tuple[int, Kind | Union]) -> None:
        self._kinds = [(name, slot, kind) for name, (slot, kind) in fields.items() if not isinstance(kind, Union)]
        self._unions = [(name, slot, kind) for name, (slot, kind) in fields.items() if isinstance(kind, Union)]
        self._slots = 1 + max(slot for slot, _ in fields.values())

    def decode(self, reader: Reader, position: int) -> Record:
        vtable = reader.vtable(position)
        plan = reader.plans.get((id(self), vtable))
        if plan is None:
            plan = reader.plans[id(self), vtable] = self._plan(reader.offsets(vtable))
        defaults, fields, tables = plan
        record = defaults.copy()
        for name, read, offset in fields:
            record[name] = read(reader, position + offset)
        for name, kind, offset in tables:
            if member := kind.member(record):
                reader.read_later(record, name, member, reader.follow(position + offset))
        return record

    def _plan(self, offsets: tuple[int, ...]) -> Plan:
        absent = (0,) * (self._slots - len(offsets))
        at = (*offsets, *absent)
        defaults = {name: kind.default() for name, _, kind in self._kinds}
        defaults.update({name: None for name, _, _ in self._unions})
        fields: list[tuple[str, Callable[[Reader, int], Any], int]]
        fields = [(name, kind.read, at[slot]) for name, slot, kind in self._kinds if at[slot] and type(kind) is not Sub]
        tables: list[tuple[str, Sub | Union, int]]
        tables = [(name, kind, at[slot]) for name, slot, kind in self._kinds if at[slot] and type(kind) is Sub]
        tables += [(name, union, at[slot]) for name, slot, union in self._unions if at[slot]]
        return defaults, fields, tables

    def encode(self, builder: flatbuffers.Builder, value: Mapping[str, Any]) -> Encoding:
        """Write the table; what it refers to comes first."""
        prepared: list[tuple[int, Any, Any]] = []
        for name, slot, kind in self._kinds:
            if name not in value:
                continue
            ready = kind.prepare(builder, value[name])
            if isinstance(ready, GeneratorType):
                ready = yield from ready
            if ready is not None:
                prepared.append((slot, kind, ready))
        for name, slot, union in self._unions:
            if value.get(name) is not None and (member := union.member(value)):
                prepared.append((slot, _OFFSET, (yield member, value[name])))
        builder.StartObject(self._slots)
        for slot, kind, ready in prepared:
            kind.place(builder, slot, ready)
        return int(builder.EndObject())


class Union:
    """The value of a union: the table that the number in ``type_field`` selects; unknown members read as None."""

    def __init__(self, type_field: str, members: Callable[[int], TableLike | None]) -> None:
        self.type_field = type_field
        self._members = members

    def member(self, record: Mapping[str, Any]) -> TableLike | None:
        """The table that a record selects."""
        return self._members(record[self.type_field])


_OFFSET = _Offset()


def read_root(table: TableLike, data: memoryview, identifier: bytes | None) -> Any:
    """Decode the root table of a whole FlatBuffer. Raises :class:`FlatError`."""
    if len(data) < 8:
        raise FlatError(f"{len(data)} bytes are too few")
    if identifier is not None and bytes(data[4:8]) != identifier:
        raise FlatError(f"the file identifier is {bytes(data[4:8])!r}, not {identifier!r}")
    reader = Reader(data)
    try:
        return reader.read(table, reader.follow(0))
    except struct.error as error:
        raise FlatError(f"an offset points behind the {len(data)} bytes") from error


def write_root(table: TableLike, value: Any, identifier: bytes | None, size_hint: int) -> memoryview:
    """Encode a whole FlatBuffer; ``size_hint`` (bytes, an upper bound) spares the builder from growing."""
    builder = flatbuffers.Builder(size_hint)
    root = write_table(builder, table, value)
    builder.Finish(root, file_identifier=identifier)
    return memoryview(builder.Bytes)[builder.Head() :]


def write_table(builder: flatbuffers.Builder, table: TableLike, value: Any) -> int:
    """Where a table is, written after everything that it refers to.

    Those that wait for others are on a stack of our own: files may nest tables deeper than calls should go.
    """
    waiting: list[Encoding] = []
    made = table.encode(builder, value)
    while True:
        if isinstance(made, int):
            if not waiting:
                return made
            place = made
        else:
            waiting.append(made)
            place = None
        try:
            table, value = waiting[-1].send(place)  # type: ignore[arg-type]  # None starts it
            made = table.encode(builder, value)
        except StopIteration as done:
            waiting.pop()
            made = done.value


def _offsets(builder: flatbuffers.Builder, offsets: Sequence[int]) -> Any:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
