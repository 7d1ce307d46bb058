""":class:`Package` → custom options of an ``edgetpu-custom-op``, laid out as compiler 16 lays them out."""

from __future__ import annotations

from typing import Any

import numpy as np

from atoll.compiler.package_format import package_schema as schema
from atoll.compiler.package_format.flexmap import write_map
from atoll.compiler.package_format.package import (
    Address,
    BoundaryLayer,
    Bytes,
    DmaHint,
    DmaHints,
    Executable,
    InstructionTransfer,
    Interrupt,
    OutputInfo,
    Package,
    Range,
    Transfer,
)
from atoll.model.flatbuffer import write_root
from atoll.model.flatbuffer_reader import Record


def write_package(package: Package) -> bytes:
    """The ``custom_options`` that carry a package; :func:`atoll.compiler.package_format.read_package` gives it back.

    Parameters are copied twice: into the package, and with it into the options.
    """
    content = write_root(schema.PACKAGE, _package(package), schema.IDENTIFIER, _size_hint(package))
    return write_map({**package.envelope, "4": content})


def _size_hint(package: Package) -> int:
    """An upper bound for usual packages (the builder grows by copying)."""
    size = 4 * schema.PAGE
    for item in package.executables:
        chunks = sum(len(chunk.bitstream) + 128 * len(chunk.field_offsets) for chunk in item.instructions)
        size += len(item.parameters) + chunks + len(item.serialized_model) + 8 * schema.PAGE
    return size


def _package(package: Package) -> Record:
    executables = [_executable(item) for item in package.executables]
    return {
        "min_runtime_version": package.min_runtime_version,
        "multi_executable": {"executables": executables} if executables else None,
        "signature": _vector(package.signature),
        "keypair_version": package.keypair_version,
        "compiler_version": package.compiler_version,
        "virtual_chip_id": package.virtual_chip_id,
        "multi_chip": [{"package": _vector(item)} for item in package.multi_chip],
        "model_identifier": package.model_identifier,
    }


def _vector(data: Bytes) -> Any:
    return np.frombuffer(data, np.uint8) if len(data) else None


def _executable(item: Executable) -> Record:
    return {
        "version": item.version,
        "name": item.name,
        "serialized_model": _vector(item.serialized_model),
        "batch": item.batch,
        "scratch_bytes": item.scratch_bytes,
        "instructions": [
            {
                "bitstream": _vector(chunk.bitstream),
                "field_offsets": [{"meta": _address(field.address), "bit": field.bit} for field in chunk.field_offsets],
            }
            for chunk in item.instructions
        ],
        "parameters": _vector(item.parameters),
        "dma_hints": _dma_hints(item.dma_hints),
        "input_layers": [_layer(layer) for layer in item.input_layers],
        "output_layers": [_layer(layer) for layer in item.output_layers],
        "chip": item.chip,
        "estimated_cycles_32bit": item.estimated_cycles_32bit,
        "narrow_bytes_per_tile": item.narrow_bytes_per_tile,
        "kind": int(item.kind),
        "token": item.token,
        "use_tpu_dram": item.use_tpu_dram,
        "estimated_cycles": item.estimated_cycles,
    }


def _address(address: Address | None) -> Record | None:
    if address is None:
        return None
    return {
        "base": int(address.base), "batch": address.batch, "name": address.name, "word": int(address.word)
    }  # fmt: skip


def _dma_hints(hints: DmaHints | None) -> Record | None:
    if hints is None:
        return None
    return {
        "hints": [_dma_hint(item) for item in hints.hints],
        "fully_deterministic": hints.fully_deterministic,
    }


def _dma_hint(item: DmaHint) -> Record:
    hint = item.hint
    if isinstance(hint, Transfer):
        kind, value = 1, {"meta": _address(hint.address), "offset": hint.offset, "size": hint.size}
    elif isinstance(hint, InstructionTransfer):
        kind, value = 2, {"chunk": hint.chunk}
    elif isinstance(hint, Interrupt):
        kind, value = 3, {"interrupt": hint.number}
    else:
        kind, value = 4, {}
    return {"kind": kind, "hint": value, "direction": int(item.direction)}


def _layer(layer: BoundaryLayer) -> Record:
    numerics = layer.numerics
    return {
        "name": layer.name,
        "size_bytes": layer.size_bytes,
        "y": layer.y,
        "x": layer.x,
        "z": layer.z,
        "numerics": numerics and {"zero_point": numerics.zero_point, "scale": numerics.scale},
        "data_type": int(layer.data_type),
        "any_layer_type": 2 if layer.output is None else 1,
        "any_layer": {} if layer.output is None else _output_info(layer.output),
        "executions": layer.executions,
        "cache_on_dram": layer.cache_on_dram,
        "shape": _shape(layer.shape),
    }


def _shape(ranges: tuple[Range, ...] | None) -> Record | None:
    return None if ranges is None else {"dimension": ranges}


def _output_info(output: OutputInfo) -> Record:
    layout = output.layout
    slices = output.slices
    info: Record | None = None
    if slices is not None:
        layouts = [{"shape": _shape(item.shape), "stride": item.stride} for item in slices]
        info = {"slice_layout": layouts, "slice_offset": output.slice_offsets}
    return {"layout": layout and layout._asdict(), "data_type": int(output.data_type), "shape_info": info}
