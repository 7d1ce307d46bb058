"""The FlexBuffer map agrees with the flatbuffers package on sound data and refuses damage."""

from __future__ import annotations

import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from atoll.compiler.package_format.flexmap import read_map, write_map
from atoll.model.flatbuffer_reader import FlatError

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ASCII = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20)  # the reference's limit
NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
VALUES = NUMBERS | st.binary(max_size=400) | st.lists(NUMBERS, max_size=6).map(tuple)
MAPS = st.dictionaries(KEYS, VALUES, max_size=8)


def plain(value: object) -> object:
    """Views as bytes, so that values compare by content."""
    if isinstance(value, memoryview):
        return bytes(value)
    return value


@given(MAPS)
def test_what_is_written_is_read_back(values):
    read = read_map(memoryview(write_map(values)))
    assert {key: plain(value) for key, value in read.items()} == values


@given(
    st.dictionaries(
        ASCII,
        st.one_of(st.integers(-(2**63), 2**63 - 1), st.lists(st.integers(-999, 999), max_size=300).map(tuple)),
        max_size=8,
    )
)
def test_the_reference_implementation_reads_what_is_written(values):
    reference = flexbuffers.Loads(write_map(values))
    assert {key: tuple(v) if isinstance(v, list) else v for key, v in reference.items()} == values


@given(st.dictionaries(ASCII, st.integers(-(2**63), 2**63 - 1) | st.lists(st.integers(0, 99)), max_size=8))
def test_what_the_reference_implementation_writes_is_read(values):
    read = read_map(memoryview(bytes(flexbuffers.Dumps(values))))
    assert read == {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def test_strings_are_views_not_copies():
    data = write_map({"4": bytes(range(256)) * 300})
    text = read_map(memoryview(data))["4"]
    assert isinstance(text, memoryview)
    assert text.obj is data


@given(MAPS, st.data())
def test_damage_is_refused_or_read_never_a_crash(values, data):
    damaged = bytearray(write_map(values))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)))
    for candidate in (damaged, damaged[end:], damaged[:end]):
        try:
            read_map(memoryview(bytes(candidate)))
        except FlatError:
            continue


def test_vectors_nested_in_themselves_are_refused():
    # A vector of one element whose offset leads back to the vector itself (offset 0 bytes further on).
    data = bytearray(write_map({"a": (1,)}))
    vector = data.index(b"a\0") + 3  # key, length byte, then the element
    data[vector : vector + 2] = bytes([0, 10 << 2])
    with pytest.raises(FlatError, match="nested"):
        read_map(memoryview(bytes(data)))
