"""FlatBuffers by declaration: one table description reads (every offset checked) and writes it.

Two formats are declared with it: TensorFlow Lite models and the Edge TPU's ``DWN1`` packages. The generated code of
the ``flatbuffers`` package follows offsets unchecked, which is fine for trusted files only.
Format: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from types import GeneratorType
from typing import Any, Protocol

import flatbuffers
import numpy as np
import numpy.typing as npt

from atoll.model.flatbuffer_reader import Encoding, FlatError, Reader, ReadPlan, Record, TableField, TableLike


class FieldKind(Protocol):
    """How one field is read from its position in a table and written into a builder."""

    def read(self, reader: Reader, position: int) -> Any:
        """The value at ``position``; raises :class:`FlatError`, or :class:`struct.error` behind the end."""

    def default(self) -> Any:
        """The value of a field that is absent."""

    def prepare(self, builder: flatbuffers.Builder, value: Any) -> Any:
        """Write what stands outside the table (FlatBuffers are built inside out); None to leave the field out.

        What has to write tables returns an :data:`Encoding`, which returns this.
        """

    def place(self, builder: flatbuffers.Builder, slot: int, prepared: Any) -> None:
        """Store in the table that is being written what :meth:`prepare` gave."""


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
        """The number."""
        return self._unpack(reader.data, position)[0]

    def default(self) -> Any:
        """The number that the schema gives for an absent field."""
        return self._default

    def prepare(self, builder: flatbuffers.Builder, value: Any) -> Any:  # noqa: ARG002
        """The number itself, None for the default."""
        return None if value == self._default else value

    def place(self, builder: flatbuffers.Builder, slot: int, prepared: Any) -> None:
        """Store the number."""
        getattr(builder, self._method)(slot, prepared, self._default)


class _Offset:
    """A field that holds an offset to something written before its table."""

    def place(self, builder: flatbuffers.Builder, slot: int, prepared: Any) -> None:
        """Store the offset."""
        builder.PrependUOffsetTRelativeSlot(slot, prepared, 0)

    def default(self) -> Any:
        """None."""
        return None


class Text(_Offset):
    """A string; bytes that are not UTF-8 survive as surrogates."""

    def read(self, reader: Reader, position: int) -> str:
        """The text."""
        start, length = reader.vector(position, 1)
        return bytes(reader.data[start : start + length]).decode("utf-8", "surrogateescape")

    def default(self) -> str:
        """No text."""
        return ""

    def prepare(self, builder: flatbuffers.Builder, value: str) -> Any:
        """Where the string is, None without text."""
        return builder.CreateString(value.encode("utf-8", "surrogateescape")) if value else None


class NumberVector(_Offset):
    """A vector of scalars as a numpy view; None when absent. ``align`` is the schema's ``force_align`` in bytes."""

    def __init__(self, dtype: npt.DTypeLike, align: int = 0) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.align = align or self.dtype.itemsize

    def read(self, reader: Reader, position: int) -> npt.NDArray[Any]:
        """A one-dimensional view of ``dtype`` into the data."""
        start, length = reader.vector(position, self.dtype.itemsize)
        return np.frombuffer(reader.data, self.dtype, length, start)

    def prepare(self, builder: flatbuffers.Builder, value: Any) -> Any:
        """Where the vector of an array of any shape is, None without one."""
        if value is None:
            return None
        data = np.ascontiguousarray(value, dtype=self.dtype).reshape(-1)
        builder.StartVector(self.dtype.itemsize, len(data), self.align)
        builder.head -= data.nbytes  # StartVector has made the room; this saves CreateNumpyVector's copy
        np.frombuffer(builder.Bytes, np.uint8, data.nbytes, builder.head)[:] = data.view(np.uint8)
        return builder.EndVector()


class Ints(NumberVector):
    """A short vector of 32-bit integers as a tuple, empty when absent."""

    def __init__(self) -> None:
        super().__init__("i4")

    def read(self, reader: Reader, position: int) -> Any:
        """The integers."""
        start, length = reader.vector(position, 4)
        return struct.unpack_from(f"<{length}i", reader.data, start)

    def default(self) -> Any:
        """No integers."""
        return ()

    def prepare(self, builder: flatbuffers.Builder, value: Any) -> Any:
        """Where the vector is, None without integers."""
        return super().prepare(builder, value) if len(value) else None


class Strings(_Offset):
    """A vector of strings, each as raw bytes (a view)."""

    def read(self, reader: Reader, position: int) -> list[memoryview]:
        """A view of the bytes of each."""
        start, length = reader.vector(position, 4)
        items = []
        for i in range(length):
            reader.spend(8)
            first, size = reader.vector(start + 4 * i, 1)
            items.append(reader.data[first : first + size])
        return items

    def default(self) -> list[memoryview]:
        """No strings."""
        return []

    def prepare(self, builder: flatbuffers.Builder, value: Sequence[Any]) -> Any:
        """Where the vector of the strings is, None without any."""
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


class TableVector(_Offset):
    """A vector of tables: at most ``limit``, for each of which ``units`` of the reader's budget are spent."""

    def __init__(self, table: TableLike, limit: int = 1 << 32, units: int = 0) -> None:
        self.table = table
        self.limit = limit
        self.units = units

    def read(self, reader: Reader, position: int) -> list[Any]:
        """A list that is filled when what is read now is read. Raises :class:`FlatError` for more than make sense."""
        start, length = reader.vector(position, 4)
        if length > self.limit:
            raise FlatError(f"a vector of {length} tables where at most {self.limit} make sense")
        reader.spend(self.units * length)
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


class TableSchema:
    """A table by its fields: ``TableSchema(shape=(0, NumberVector("i4")), name=(3, Text()), ...)``, each with
    its slot number.

    A record is a dict with every field; absent ones hold their default. A union is two fields: the type is a
    ``Scalar("B")``, the value is declared with :class:`Union` and names the field that holds its type.
    """

    def __init__(self, **fields: tuple[int, FieldKind | Union]) -> None:
        self._kinds = [(name, slot, kind) for name, (slot, kind) in fields.items() if not isinstance(kind, Union)]
        self._unions = [(name, slot, kind) for name, (slot, kind) in fields.items() if isinstance(kind, Union)]
        self._slots = 1 + max((slot for slot, _ in fields.values()), default=-1)

    def decode(self, reader: Reader, position: int) -> Record:
        """The record of the table at ``position``; the tables it refers to are read later."""
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

    def _plan(self, offsets: tuple[int, ...]) -> ReadPlan:
        absent = (0,) * (self._slots - len(offsets))
        at = (*offsets, *absent)
        defaults = {name: kind.default() for name, _, kind in self._kinds}
        defaults.update({name: None for name, _, _ in self._unions})
        fields: list[tuple[str, Callable[[Reader, int], Any], int]]
        fields = [(name, kind.read, at[slot]) for name, slot, kind in self._kinds if at[slot] and type(kind) is not Sub]
        tables: list[tuple[str, TableField, int]]
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
    """Decode the root table of a whole FlatBuffer, with all that it refers to. Raises :class:`FlatError`."""
    if len(data) < 8:
        raise FlatError(f"{len(data)} bytes are too few")
    if identifier is not None and bytes(data[4:8]) != identifier:
        raise FlatError(f"the file identifier is {bytes(data[4:8])!r}, not {identifier!r}")
    reader = Reader(data)
    root: list[Any] = [None]
    try:
        reader.read_later(root, 0, table, reader.follow(0))
        while reader.ahead:
            holder, key, inner, position = reader.ahead.pop()
            holder[key] = inner.decode(reader, position)
    except struct.error as error:
        raise FlatError(f"an offset points behind the {len(data)} bytes") from error
    return root[0]


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
