"""Custom options of an ``edgetpu-custom-op`` → :class:`Package`, every offset checked, parameters as views."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from atoll.compiler.package_format import package_schema as schema
from atoll.compiler.package_format.flexmap import read_map
from atoll.compiler.package_format.package import (
    Address,
    Base,
    BoundaryLayer,
    Bytes,
    Direction,
    DmaHint,
    DmaHints,
    Executable,
    ExecutableKind,
    Fence,
    FieldOffset,
    Hint,
    Instructions,
    InstructionTransfer,
    Interrupt,
    LayerType,
    Numerics,
    OutputInfo,
    OutputLayout,
    OutputSlice,
    Package,
    Transfer,
    Word,
    as_bytes,
    input_size,
    output_size,
)
from atoll.errors import CorruptPackageError
from atoll.model.flatbuffer import read_root
from atoll.model.flatbuffer_reader import FlatError, Record

_PACKAGE_KEY = "4"
_MOST_EXECUTABLES = 64
"""Real packages have two."""
_E = TypeVar("_E", bound=enum.IntEnum)


def read_package(custom_options: Bytes | bytearray | npt.NDArray[np.uint8], where: str = "") -> Package:
    """Read the package of one operator; ``where`` is how messages name it (file, operator).

    Raises:
        CorruptPackageError: what is wrong, and in which part.
    """
    name = where or "the Edge TPU operator"
    with _part(name, "custom options"):
        options = read_map(np.frombuffer(custom_options, np.uint8).data)
        content = options.pop(_PACKAGE_KEY, None)
        if not isinstance(content, memoryview):
            raise FlatError(f"the entry '{_PACKAGE_KEY}' that holds the package is missing")
    with _part(name, "package"):
        record = read_root(schema.PACKAGE, content, schema.IDENTIFIER)
    with _part(name, "multi executable"):
        serialized = []
        if data := as_bytes(record["multi_executable"]):
            serialized = read_root(schema.MULTI_EXECUTABLE, memoryview(data), None)["executables"]
            _check_executables(serialized, data)
    executables = []
    for index, data in enumerate(serialized):
        with _part(name, f"executable {index}"):
            executables.append(_executable(read_root(schema.EXECUTABLE, data, None)))
    return Package(
        min_runtime_version=record["min_runtime_version"],
        executables=tuple(executables),
        compiler_version=record["compiler_version"],
        model_identifier=record["model_identifier"],
        signature=as_bytes(record["signature"]),
        keypair_version=record["keypair_version"],
        virtual_chip_id=record["virtual_chip_id"],
        multi_chip=tuple(as_bytes(item["package"]) for item in record["multi_chip"]),
        envelope=options,
    )


@contextmanager
def _part(name: str, part: str) -> Iterator[None]:
    try:
        yield
    except FlatError as error:
        raise CorruptPackageError(
            f"{name}: the {part} is damaged: {error}", "Compile the model again, or copy the file again."
        ) from error


def _check_executables(items: Sequence[memoryview], data: Bytes) -> None:
    if len(items) > _MOST_EXECUTABLES or sum(map(len, items)) > len(data):
        raise FlatError(f"its {len(items)} executables overlap or are too many")


def _executable(record: Record) -> Executable:
    kind = _member(ExecutableKind, record["kind"], "executable type")
    return Executable(
        kind=kind,
        name=record["name"],
        chip=record["chip"],
        token=record["token"],
        batch=record["batch"],
        parameters=as_bytes(record["parameters"]),
        instructions=tuple(
            Instructions(as_bytes(item["bitstream"]), tuple(map(_field_offset, item["field_offsets"])))
            for item in record["instructions"]
        ),
        dma_hints=_dma_hints(record["dma_hints"]),
        input_layers=tuple(map(_layer, record["input_layers"])),
        output_layers=tuple(map(_layer, record["output_layers"])),
        scratch_bytes=record["scratch_bytes"],
        narrow_bytes_per_tile=record["narrow_bytes_per_tile"],
        estimated_cycles=record["estimated_cycles"],
        estimated_cycles_32bit=record["estimated_cycles_32bit"],
        use_tpu_dram=record["use_tpu_dram"],
        serialized_model=as_bytes(record["serialized_model"]),
        version=record["version"],
    )


def _member(kind: type[_E], value: int, what: str) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise FlatError(f"{what} {value} is not known") from None


def _address(record: Record | None) -> Address | None:
    if record is None:
        return None
    return Address(
        _member(Base, record["base"], "base address"),
        record["name"],
        record["batch"],
        _member(Word, record["word"], "address half"),
    )


def _field_offset(record: Record) -> FieldOffset:
    return FieldOffset(record["bit"], _address(record["meta"]))


def _dma_hints(record: Record | None) -> DmaHints | None:
    if record is None:
        return None
    return DmaHints(tuple(map(_dma_hint, record["hints"])), record["fully_deterministic"])


def _dma_hint(record: Record) -> DmaHint:
    value, kind = record["hint"], record["kind"]
    if value is None:
        raise FlatError(f"a DMA hint of type {kind} is not known or has no content")
    hint: Hint
    if kind == 1:
        hint = Transfer(_address(value["meta"]), value["offset"], value["size"])
    elif kind == 2:
        hint = InstructionTransfer(value["chunk"])
    elif kind == 3:
        hint = Interrupt(value["interrupt"])
    else:
        hint = Fence()
    return DmaHint(_member(Direction, record["direction"], "DMA direction"), hint)


def _layer(record: Record) -> BoundaryLayer:
    numerics, is_output = record["numerics"], record["any_layer_type"] == 1
    layer = BoundaryLayer(
        name=record["name"],
        size_bytes=record["size_bytes"],
        y=record["y"],
        x=record["x"],
        z=record["z"],
        data_type=_member(LayerType, record["data_type"], "layer data type"),
        numerics=None if numerics is None else Numerics(numerics["zero_point"], numerics["scale"]),
        output=_output_info(record["any_layer"] or {}) if is_output else None,
        executions=record["executions"],
        cache_on_dram=record["cache_on_dram"],
        shape=None if record["shape"] is None else record["shape"]["dimension"],
    )
    _check_size(layer)
    return layer


def _check_size(layer: BoundaryLayer) -> None:
    """The runtime copies ``size_bytes``: less than the elements take would be read as a tensor that is not there."""
    size = input_size if layer.output is None else output_size
    least = size(layer.y, layer.x, layer.z, layer.data_type.itemsize)
    if min(layer.y, layer.x, layer.z, layer.executions) < 1 or layer.size_bytes * layer.executions < least:
        shape = f"{layer.y}×{layer.x}×{layer.z}"
        raise FlatError(f"layer '{layer.name}' of {shape} needs {least} bytes and claims {layer.size_bytes}")


def _output_info(record: Record) -> OutputInfo:
    if not record:
        return OutputInfo()
    layout, info = record["layout"], record["shape_info"]
    return OutputInfo(
        layout=None if layout is None else OutputLayout(**layout),
        data_type=_member(LayerType, record["data_type"], "output data type"),
        slices=None if info is None else tuple(map(_slice, info["slice_layout"])),
        slice_offsets=() if info is None else info["slice_offset"],
    )


def _slice(record: Record) -> OutputSlice:
    return OutputSlice(None if record["shape"] is None else record["shape"]["dimension"], record["stride"])
