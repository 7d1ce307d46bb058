"""The tables of a ``.tflite`` file, by field number.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs. The option tables of the operators are in :mod:`tables`; what
is not there is read and written with the generated code that ``ai-edge-litert`` ships, so that a new operator needs
nothing here.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import flatbuffers
import numpy as np

from atoll.model.flatbuffer import FieldKind, Ints, NumberVector, Scalar, Sub, TableSchema, TableVector, Text, Union
from atoll.model.flatbuffer_reader import Encoding, FlatError, Reader
from atoll.model.tflite import tables

IDENTIFIER = b"TFL3"


@functools.cache
def generated() -> ModuleType:
    """LiteRT's generated schema (imported late: it is large).

    Without the package around it, which opens LiteRT's library (8 MB) when it is imported.
    """
    package = importlib.util.find_spec("ai_edge_litert")
    folders = package.submodule_search_locations if package is not None else None
    if not folders:
        raise ModuleNotFoundError("ai-edge-litert is not installed")
    path = Path(folders[0], "schema_py_generated.py")
    spec = importlib.util.spec_from_file_location("atoll_litert_schema", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _numbered(enum: str, newest: bool = False) -> tuple[str, ...]:
    """The names of an enumeration or a union, by number; ``newest`` asks LiteRT's own code."""
    if not newest:
        return tuple(_words(tables.NUMBERED)[enum])
    members = {code: name for name, code in vars(getattr(generated(), enum)).items() if not name.startswith("_")}
    return tuple(members[code] for code in range(len(members)))


def member(enum: str, code: int) -> str | None:
    """The name of a member of ``BuiltinOperator``, ``BuiltinOptions`` or ``BuiltinOptions2``; None: LiteRT has none."""
    for newest in (False, True):
        if 0 <= code < len(names := _numbered(enum, newest)):
            return names[code]
    return None


@functools.cache
def number(enum: str, name: str) -> int | None:
    """Its number; None where the enumeration has no such member."""
    return next((n.index(name) for newest in (False, True) if name in (n := _numbered(enum, newest))), None)


@functools.cache
def _words(text: str) -> dict[str, list[str]]:
    """Lines, which may go on in indented ones: first word → the others."""
    lines = (line.split() for line in text.replace("\n ", " ").strip().split("\n"))
    return {first: others for first, *others in lines}


class GeneratedTable:
    """A table read and written by LiteRT's generated object code; its value is the generated object."""

    def __init__(self, name: str) -> None:
        self.name = name

    def decode(self, reader: Reader, position: int) -> Any:
        """The generated object. Raises :class:`FlatError`."""
        reader.vtable(position)
        try:
            return getattr(generated(), self.name + "T").InitFromBuf(reader.data, position)
        except (struct.error, IndexError, ValueError, TypeError, OverflowError, MemoryError) as error:
            raise FlatError(f"the {self.name} at {position} cannot be read: {error}") from error

    def encode(self, builder: flatbuffers.Builder, value: Any) -> int | Encoding:
        """Where the table of a generated object is."""
        return int(value.Pack(builder))


Options = tuple[str, Mapping[str, Any]]


class _Vector(NumberVector):
    """A short vector of numbers as a tuple; None when absent."""

    def read(self, reader: Reader, position: int) -> Any:
        return tuple(super().read(reader, position).tolist())


class _KnownOptions(TableSchema):
    """A table of :mod:`tables`."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(**dict(_field(slot, word) for slot, word in enumerate(words) if word != "-"))
        self.names = frozenset(word.partition(":")[0] for word in words)
        self.slots = len(words)


def _field(slot: int, word: str) -> tuple[str, tuple[int, FieldKind]]:
    name, _, rest = word.partition(":")
    code, _, default = rest.partition("=")
    if code[0] == "*":
        return name, (slot, _Vector(np.dtype(code[1:])))
    return name, (slot, Scalar(code, {"?": bool, "f": float}.get(code, int)(default or 0)))


@functools.cache
def _known_options(name: str) -> _KnownOptions | None:
    words = _words(tables.TABLES).get(name)
    return None if words is None else _KnownOptions(words)


class OptionsTable(GeneratedTable):
    """An operator's options as ``(table name, mapping of fields in snake case)``.

    LiteRT's generated code is asked for those alone that :mod:`tables` does not have, or not all fields of: its import
    takes as long as reading a network.
    """

    def decode(self, reader: Reader, position: int) -> Options:
        # Most operators of a network have the options of another one: tables of numbers alone that are equal byte
        # for byte are decoded once.
        """Table name and fields. Raises :class:`FlatError`."""
        offsets = reader.offsets(reader.vtable(position))
        key = self.name, offsets, reader.table_bytes(position)
        options = reader.memo.get(key)
        if options is None:
            known = _known_options(self.name)
            if known is not None and len(offsets) <= known.slots:
                fields = known.decode(reader, position)
            else:
                generated_object = super().decode(reader, position)
                fields = {snake(name): _frozen(value) for name, value in vars(generated_object).items()}
            options = self.name, MappingProxyType(fields)
            if all(isinstance(value, (int, float)) for value in fields.values()):
                reader.memo[key] = options
        return options

    def encode(self, builder: flatbuffers.Builder, value: Options) -> int | Encoding:
        """Where the table is. Raises :class:`ValueError` for a field that it has not."""
        known = _known_options(self.name)
        if known is not None and known.names.issuperset(value[1]):
            return known.encode(builder, value[1])
        options = getattr(generated(), self.name + "T")()
        attributes = {snake(name): name for name in vars(options)}
        for name, field in value[1].items():
            if name not in attributes:
                raise ValueError(f"{self.name} has no field '{name}'; it has {', '.join(attributes)}")
            setattr(options, attributes[name], field)
        return super().encode(builder, options)


@functools.cache
def snake(name: str) -> str:
    """``newShape`` → ``new_shape``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _frozen(value: Any) -> Any:
    return tuple(value.tolist()) if isinstance(value, np.ndarray) else value


@functools.cache
def _options(union: str, code: int) -> OptionsTable | None:
    if code == 0:
        return None
    name = member(union, code)
    if name is None:
        raise FlatError(f"{union} {code} is newer than the installed ai-edge-litert knows; upgrade it")
    return OptionsTable(name)


_QUANTIZATION_DETAILS = {1: "CustomQuantization", 2: "BlockwiseQuantization"}


def _quantization_details(code: int) -> GeneratedTable | None:
    return GeneratedTable(_QUANTIZATION_DETAILS[code]) if code in _QUANTIZATION_DETAILS else None


def details_type(details: Any) -> int:
    """The union number of a tensor's quantisation details (a generated object), 0 for none."""
    names = {f"{name}T": code for code, name in _QUANTIZATION_DETAILS.items()}
    return 0 if details is None else names[type(details).__name__]


QUANTIZATION = TableSchema(
    minimum=(0, NumberVector("f4")),
    maximum=(1, NumberVector("f4")),
    scale=(2, NumberVector("f4")),
    zero_point=(3, NumberVector("i8")),
    details_type=(4, Scalar("B")),
    details=(5, Union("details_type", _quantization_details)),
    axis=(6, Scalar("i")),
)
TENSOR = TableSchema(
    shape=(0, Ints()),
    type=(1, Scalar("b")),
    buffer=(2, Scalar("I")),
    name=(3, Text()),
    quantization=(4, Sub(QUANTIZATION)),
    is_variable=(5, Scalar("?", False)),
    sparsity=(6, Sub(GeneratedTable("SparsityParameters"))),
    shape_signature=(7, Ints()),
    has_rank=(8, Scalar("?", False)),
    variant_tensors=(9, TableVector(GeneratedTable("VariantSubType"))),
    external_buffer=(10, Scalar("I")),
)
OPERATOR = TableSchema(
    opcode_index=(0, Scalar("I")),
    inputs=(1, Ints()),
    outputs=(2, Ints()),
    options_type=(3, Scalar("B")),
    options=(4, Union("options_type", functools.partial(_options, "BuiltinOptions"))),
    custom_options=(5, NumberVector("u1", align=16)),
    mutating_variable_inputs=(7, NumberVector("?")),
    intermediates=(8, Ints()),
    large_custom_options_offset=(9, Scalar("Q")),
    large_custom_options_size=(10, Scalar("Q")),
    options_2_type=(11, Scalar("B")),
    options_2=(12, Union("options_2_type", functools.partial(_options, "BuiltinOptions2"))),
)
OPERATOR_CODE = TableSchema(
    deprecated_builtin_code=(0, Scalar("b")),
    custom_code=(1, Text()),
    version=(2, Scalar("i", 1)),
    builtin_code=(3, Scalar("i")),
)
SUBGRAPH = TableSchema(
    tensors=(0, TableVector(TENSOR)),
    inputs=(1, Ints()),
    outputs=(2, Ints()),
    operators=(3, TableVector(OPERATOR)),
    name=(4, Text()),
)
BUFFER = TableSchema(
    data=(0, NumberVector("u1", align=16)),
    offset=(1, Scalar("Q")),
    size=(2, Scalar("Q")),
)
METADATA = TableSchema(name=(0, Text()), buffer=(1, Scalar("I")))
TENSOR_MAP = TableSchema(name=(0, Text()), tensor_index=(1, Scalar("I")))
SIGNATURE = TableSchema(
    inputs=(0, TableVector(TENSOR_MAP)),
    outputs=(1, TableVector(TENSOR_MAP)),
    key=(2, Text()),
    graph=(4, Scalar("I")),
)
MODEL = TableSchema(
    version=(0, Scalar("I")),
    operator_codes=(1, TableVector(OPERATOR_CODE)),
    graphs=(2, TableVector(SUBGRAPH)),
    description=(3, Text()),
    buffers=(4, TableVector(BUFFER)),
    metadata_buffer=(5, Ints()),
    metadata=(6, TableVector(METADATA)),
    signatures=(7, TableVector(SIGNATURE)),
)
