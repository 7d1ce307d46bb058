"""The FlexBuffer map in an Edge TPU operator's custom options: bytes ⇄ names and values, every offset checked.

The ``flatbuffers`` package has a FlexBuffer reader, but it follows offsets unchecked and decodes strings as UTF-8,
which the package inside (stored as a string) is not. The map has one level: keys to numbers, strings and vectors of
numbers. Format: https://flatbuffers.dev/internals/#flexbuffers
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from atoll.model.flatbuffer_reader import FlatError

Number: TypeAlias = "int | float | bool | None"
Value: TypeAlias = "Number | bytes | memoryview | tuple[Number, ...]"
"""A string is raw bytes (a view when read); a vector is a tuple."""

_NULL, _INT, _UINT, _FLOAT, _KEY, _STRING = range(6)
_MAP, _VECTOR, _VECTOR_INT, _VECTOR_UINT = 9, 10, 11, 12
_BLOB, _BOOL = 25, 26

_WIDTHS = (1, 2, 4, 8)
_SIGNED = {1: "<b", 2: "<h", 4: "<i", 8: "<q"}
_UNSIGNED = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
_FLOATING = {2: "<e", 4: "<f", 8: "<d"}
_MOST_VALUES = 4096
_INLINE = {_NULL, _INT, _UINT, _FLOAT, _BOOL}
"""Stored where others have an offset."""


def read_map(data: memoryview) -> dict[str, Value]:
    """The values of a map by key; strings and blobs are views into ``data``. Raises :class:`FlatError`."""
    if len(data) < 3:
        raise FlatError(f"{len(data)} bytes are too few for a FlexBuffer")
    packed, width = data[-2], data[-1]
    if width not in _WIDTHS or packed >> 2 != _MAP:
        raise FlatError("the custom options are not a FlexBuffer map")
    reader = _Reader(data)
    try:
        place, width = reader.follow(len(data) - 2 - width, width), 1 << (packed & 3)
        keys, key_width = (
            reader.follow(place - 3 * width, width),
            int(reader.number(_UNSIGNED, place - 2 * width, width)),
        )
        types = reader.types(place, width, reader.length(place, width, width + 1))
        if key_width not in _WIDTHS or reader.length(keys, key_width, key_width) != len(types):
            raise FlatError("the keys of the FlexBuffer map do not match its values")
        return {
            reader.key(reader.follow(keys + i * key_width, key_width)): reader.value(place + i * width, width, packed)
            for i, packed in enumerate(types)
        }
    except struct.error as error:
        raise FlatError(f"a FlexBuffer value lies outside the {len(data)} bytes") from error


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.budget = _MOST_VALUES

    def number(self, formats: Mapping[int, str], position: int, width: int) -> Any:
        if position < 0 or width not in formats:
            raise FlatError(f"a FlexBuffer number of {width} bytes at {position} is malformed")
        return struct.unpack_from(formats[width], self.data, position)[0]

    def follow(self, position: int, width: int) -> int:
        """FlexBuffer offsets point backwards."""
        target = position - int(self.number(_UNSIGNED, position, width))
        if target < 0:
            raise FlatError(f"the FlexBuffer offset at {position} points before the data")
        return target

    def length(self, position: int, width: int, element: int) -> int:
        """The length stored before ``position``, checked to fit behind it."""
        length = int(self.number(_UNSIGNED, position - width, width))
        if position + length * element > len(self.data):
            raise FlatError(f"{length} FlexBuffer elements at {position} exceed the {len(self.data)} bytes")
        return length

    def spend(self, values: int) -> None:
        self.budget -= values
        if self.budget < 0:
            raise FlatError(f"the FlexBuffer has more than {_MOST_VALUES} values")

    def key(self, position: int) -> str:
        text = bytes(self.data[position : position + 256])
        if b"\0" not in text:
            raise FlatError(f"the FlexBuffer key at {position} has no end")
        return text[: text.index(b"\0")].decode("utf-8", "surrogateescape")

    def types(self, position: int, width: int, length: int) -> memoryview:
        """Of the elements of a vector, a byte each, which stand behind them."""
        self.spend(length)
        return self.data[position + length * width : position + length * (width + 1)]

    def value(self, position: int, parent: int, packed: int) -> Value:
        """An element of the map."""
        kind, width = packed >> 2, 1 << (packed & 3)
        if kind in _INLINE:
            return self.inline(position, parent, packed)
        target = self.follow(position, parent)
        if kind in (_STRING, _BLOB):
            return self.data[target : target + self.length(target, width, 1)]
        if kind == _VECTOR:
            types = self.types(target, width, self.length(target, width, width + 1))
            return tuple(self.inline(target + i * width, width, item) for i, item in enumerate(types))
        if kind in (_VECTOR_INT, _VECTOR_UINT):
            length = self.length(target, width, width)
            self.spend(length)
            formats = _SIGNED if kind == _VECTOR_INT else _UNSIGNED
            return tuple(int(self.number(formats, target + i * width, width)) for i in range(length))
        raise FlatError(f"FlexBuffer type {kind} does not occur in Edge TPU operators")

    def inline(self, position: int, parent: int, packed: int) -> Number:
        """What needs no offset."""
        kind = packed >> 2
        if kind == _NULL:
            return None
        if kind == _INT:
            return int(self.number(_SIGNED, position, parent))
        if kind == _FLOAT:
            return float(self.number(_FLOATING, position, parent))
        if kind in (_UINT, _BOOL):
            value = int(self.number(_UNSIGNED, position, parent))
            return bool(value) if kind == _BOOL else value
        raise FlatError(f"a FlexBuffer vector in a map holds numbers only, nothing nested of type {kind}")


def write_map(values: Mapping[str, Value]) -> bytes:
    """A FlexBuffer map; bytes become strings, tuples untyped vectors. Inverse of :func:`read_map`."""
    out = _Output()
    keys, elements = [], []
    for key in sorted(values):
        keys.append(_Element(_KEY, len(out), 1))
        out += key.encode("utf-8", "surrogateescape") + b"\0"
        elements.append(_write(out, values[key]))
    key_width = _width(len(out), [None, *keys])
    key_vector = _vector(out, keys, key_width)
    # A map is a vector with two more words in front: where its keys are, and how wide their offsets are.
    prefix = [_Element(_VECTOR, key_vector, key_width), _Element(_UINT, key_width, 1), None]
    width = _width(len(out), [*prefix, *elements])
    _align(out, width)
    for item in prefix[:2]:
        _place(out, item, width)
    place = _vector(out, elements, width)
    out += bytes(_packed(element, width) for element in elements)
    root = _Element(_MAP, place, width)
    root_width = _width(len(out), [root])
    _align(out, root_width)
    _place(out, root, root_width)
    out += bytes([_packed(root, root_width), root_width])
    return b"".join(out.parts)


class _Output:
    """Pieces of what will be the buffer, joined once at the end: the package in the map may be large."""

    def __init__(self) -> None:
        self.parts: list[bytes | memoryview] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iadd__(self, part: bytes | memoryview) -> _Output:
        self.parts.append(part)
        self._size += len(part)
        return self


class _Element:
    """One value of a vector: a number, or the place of something written before."""

    def __init__(self, kind: int, value: Any, width: int) -> None:
        self.kind = kind
        self.value = value
        self.width = width

    @property
    def is_inline(self) -> bool:
        return self.kind in _INLINE


def _write(out: _Output, value: Value) -> _Element:
    if isinstance(value, tuple):
        elements = [_number(item) for item in value]
        width = _width(len(out), [None, *elements], count=len(elements))
        place = _vector(out, elements, width)
        out += bytes(_packed(element, width) for element in elements)
        return _Element(_VECTOR, place, width)
    if not isinstance(value, bytes | memoryview):
        return _number(value)
    width = _uint_width(len(value))
    _align(out, width)
    out += len(value).to_bytes(width, "little")
    place = len(out)
    out += value
    out += b"\0"
    return _Element(_STRING, place, width)


def _number(value: Number) -> _Element:
    if value is None or isinstance(value, bool):
        return _Element(_NULL if value is None else _BOOL, int(value or 0), 1)
    if isinstance(value, int):
        return _Element(_INT, value, _int_width(value))
    return _Element(_FLOAT, value, 8)


def _vector(out: _Output, elements: Sequence[_Element], width: int) -> int:
    _align(out, width)
    out += len(elements).to_bytes(width, "little")
    place = len(out)
    for element in elements:
        _place(out, element, width)
    return place


def _place(out: _Output, element: _Element | None, width: int) -> None:
    assert element is not None
    if element.kind == _FLOAT:
        out += struct.pack("<d", element.value)
    elif element.is_inline:
        out += int(element.value).to_bytes(width, "little", signed=element.kind == _INT)
    else:
        out += (len(out) - element.value).to_bytes(width, "little")


def _packed(element: _Element, parent: int) -> int:
    width = max(element.width, parent) if element.is_inline else element.width
    return element.kind << 2 | _WIDTHS.index(width)


def _width(end: int, elements: Sequence[_Element | None], count: int = 0) -> int:
    """The least width in which every element of a vector that starts at ``end`` can be stored (None: its length)."""
    for width in _WIDTHS:
        start = end + -end % width
        fits = all(
            (element.width <= width if element.is_inline else _uint_width(start + i * width - element.value) <= width)
            for i, element in enumerate(elements)
            if element is not None
        )
        if fits and _uint_width(max(count, len(elements))) <= width:
            return width
    raise AssertionError("a FlexBuffer value of more than 64 bits")


def _int_width(value: int) -> int:
    return next(width for width in _WIDTHS if -(1 << 8 * width - 1) <= value < 1 << 8 * width - 1)


def _uint_width(value: int) -> int:
    return next(width for width in _WIDTHS if value < 1 << 8 * width)


def _align(out: _Output, width: int) -> None:
    out += bytes(-len(out) % width)
