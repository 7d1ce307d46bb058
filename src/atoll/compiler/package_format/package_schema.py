"""The tables of a ``DWN1`` package, by field number.

Source: ../shared/facts/package.md and the public schema of the Edge TPU runtime
(google-coral/libedgetpu, executable/executable.fbs).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from atoll.model.flatbuffer import (
    Ints,
    NumberVector,
    Scalar,
    Strings,
    Sub,
    TableSchema,
    TableVector,
    Text,
    Union,
)
from atoll.model.flatbuffer_reader import Encoding, Reader, TableLike

IDENTIFIER = b"DWN1"

PAGE = 4096
"""The runtime maps parameters and whole executables page by page, so the vendor aligns both to a page."""


def _few(table: TableLike) -> TableVector:
    """A vector of small tables whose number is bounded by the size of the data, so that damage cannot fill memory.

    A decoded table costs about 1 KB of Python objects. Real ones take 30 bytes and more; the reader's budget is 16
    units per byte, so that 256 units each stop at one table per 16 bytes.
    """
    return TableVector(table, limit=1 << 20, units=256)


class Ranges(NumberVector):
    """A vector of ``Range`` structs (inclusive start and end) as a tuple of pairs."""

    def __init__(self) -> None:
        super().__init__(np.dtype([("start", "i4"), ("end", "i4")]), align=4)

    def read(self, reader: Reader, position: int) -> Any:
        """(start, end) pairs of ints, both inclusive."""
        return tuple((int(start), int(end)) for start, end in super().read(reader, position))

    def default(self) -> Any:
        """No pairs."""
        return ()

    def prepare(self, builder: Any, value: Any) -> Any:
        """Where the vector is; None without pairs."""
        return super().prepare(builder, [tuple(pair) for pair in value]) if value else None


class Nested(NumberVector):
    """A whole FlatBuffer as a byte vector that starts on a page: read as bytes, written in place from its record."""

    def __init__(self, table: TableLike) -> None:
        super().__init__("u1", PAGE)
        self.table = table

    def prepare(self, builder: Any, value: Any) -> Encoding:
        """Where the bytes are, None without any."""
        return (yield from _nested(builder, self.table, value)) if value is not None else None


class NestedStrings(Strings):
    """A vector of whole FlatBuffers stored as strings, likewise."""

    def __init__(self, table: TableLike) -> None:
        self.table = table

    def prepare(self, builder: Any, value: Any) -> Encoding:
        """Where the vector of the strings is."""
        offsets = []
        for item in value:
            # A string ends with a zero byte; a whole page of them keeps what comes before it on a page.
            builder.Prep(PAGE, PAGE)
            builder.Pad(PAGE)
            offsets.append((yield from _nested(builder, self.table, item)))
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()


def _nested(builder: Any, table: TableLike, record: Any) -> Encoding:
    """FlatBuffers hold relative offsets only, so that one can be built inside another without a copy.

    It must share no vtable with its surroundings, and begin and end on a page for its own alignment to hold.
    """
    builder.Prep(PAGE, 0)
    end = builder.Offset()
    shared, builder.vtables = builder.vtables, {}
    root = yield table, record
    builder.Prep(PAGE, 4)
    builder.PrependUOffsetTRelative(root)
    builder.vtables = shared
    builder.PrependUint32(builder.Offset() - end)
    return int(builder.Offset())


def _bytes(align: int = 0) -> NumberVector:
    return NumberVector("u1", align)


META = TableSchema(base=(0, Scalar("h")), batch=(1, Scalar("i")), name=(2, Text()), word=(3, Scalar("h")))
FIELD_OFFSET = TableSchema(meta=(0, Sub(META)), bit=(1, Scalar("i")))
BITSTREAM = TableSchema(bitstream=(0, _bytes(16)), field_offsets=(1, _few(FIELD_OFFSET)))

DESCRIPTOR_HINT = TableSchema(meta=(0, Sub(META)), offset=(1, Scalar("i")), size=(2, Scalar("i")))
INSTRUCTION_HINT = TableSchema(chunk=(0, Scalar("i")))
INTERRUPT_HINT = TableSchema(interrupt=(0, Scalar("h")))
FENCE_HINT = TableSchema(unused=(0, Scalar("b")))
HINTS = {1: DESCRIPTOR_HINT, 2: INSTRUCTION_HINT, 3: INTERRUPT_HINT, 4: FENCE_HINT}
HINT = TableSchema(kind=(0, Scalar("B")), hint=(1, Union("kind", HINTS.get)), direction=(2, Scalar("h")))
DMA_HINTS = TableSchema(hints=(0, _few(HINT)), fully_deterministic=(1, Scalar("?", False)))

OUTPUT_LAYOUT = TableSchema(
    y_to_tile=(0, Ints()),
    x_to_tile=(1, Ints()),
    tile_byte_offset=(2, Ints()),
    x_to_local_byte=(3, Ints()),
    y_to_local_row=(4, Ints()),
    x_to_local_row_size=(5, Ints()),
)
SHAPE = TableSchema(dimension=(0, Ranges()))
TENSOR_LAYOUT = TableSchema(shape=(0, Sub(SHAPE)), stride=(1, Ints()))
SHAPE_INFO = TableSchema(slice_layout=(0, _few(TENSOR_LAYOUT)), slice_offset=(1, Ints()))
OUTPUT_LAYER = TableSchema(layout=(0, Sub(OUTPUT_LAYOUT)), data_type=(1, Scalar("h")), shape_info=(2, Sub(SHAPE_INFO)))
INPUT_LAYER = TableSchema(unused=(0, Scalar("b")))
ANY_LAYER = {1: OUTPUT_LAYER, 2: INPUT_LAYER}

NUMERICS = TableSchema(zero_point=(0, Scalar("i")), scale=(1, Scalar("f", 0.0)))
LAYER = TableSchema(
    name=(0, Text()),
    size_bytes=(1, Scalar("i")),
    y=(2, Scalar("i")),
    x=(3, Scalar("i")),
    z=(4, Scalar("i")),
    numerics=(5, Sub(NUMERICS)),
    data_type=(6, Scalar("h")),
    any_layer_type=(7, Scalar("B")),
    any_layer=(8, Union("any_layer_type", ANY_LAYER.get)),
    executions=(9, Scalar("i", 1)),
    cache_on_dram=(10, Scalar("?", False)),
    shape=(11, Sub(SHAPE)),
)

EXECUTABLE = TableSchema(
    version=(0, Scalar("i")),
    name=(1, Text()),
    serialized_model=(2, _bytes()),
    batch=(3, Scalar("i")),
    scratch_bytes=(4, Scalar("i")),
    instructions=(5, _few(BITSTREAM)),
    parameters=(6, _bytes(PAGE)),
    dma_hints=(7, Sub(DMA_HINTS)),
    input_layers=(8, _few(LAYER)),
    output_layers=(9, _few(LAYER)),
    chip=(10, Text()),
    estimated_cycles_32bit=(11, Scalar("i")),
    narrow_bytes_per_tile=(12, Scalar("i")),
    kind=(13, Scalar("h")),
    token=(14, Scalar("Q")),
    use_tpu_dram=(15, Scalar("?", False)),
    estimated_cycles=(16, Scalar("q")),
)
MULTI_EXECUTABLE = TableSchema(executables=(0, NestedStrings(EXECUTABLE)))
SERIALIZED_PACKAGE = TableSchema(package=(0, _bytes()))
PACKAGE = TableSchema(
    min_runtime_version=(0, Scalar("i")),
    multi_executable=(1, Nested(MULTI_EXECUTABLE)),
    signature=(2, _bytes()),
    keypair_version=(3, Scalar("i")),
    compiler_version=(4, Text()),
    virtual_chip_id=(5, Scalar("i")),
    multi_chip=(6, _few(SERIALIZED_PACKAGE)),
    model_identifier=(7, Text()),
)
