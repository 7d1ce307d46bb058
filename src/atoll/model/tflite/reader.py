"""Bytes of a ``.tflite`` file → :class:`atoll.model.Model`, constants as views into the bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from atoll.errors import CorruptModelError, InvalidModelError, NotTfliteError
from atoll.files import map_file
from atoll.model import flatbuffer as flat
from atoll.model.flatbuffer_reader import FlatError, Record
from atoll.model.graph import EMPTY, Buffer, DType, Graph, Model, Operator, Quantization, Signature, Tensor
from atoll.model.tflite import schema
from atoll.model.tflite.archive import archive_start
from atoll.model.verify import InconsistentModelError, verify

_DTYPES = {dtype.code: dtype for dtype in DType}


def read_model(path: str | Path) -> Model:
    """Map a ``.tflite`` file and read it; constants stay on disk until they are touched.

    Raises:
        FileAccessError: it cannot be opened (missing, a directory, no permission).
        EmptyFileError, NotTfliteError, CorruptModelError: it is not a whole TensorFlow Lite model.
    """
    return parse_model(map_file(path), str(path))


def parse_model(data: bytes | bytearray | memoryview, path: str = "") -> Model:
    """Read a model from bytes; ``path`` is how messages name it. Raises as :func:`read_model`."""
    view = memoryview(data).cast("B") if not isinstance(data, memoryview) else data
    name = path or "the model"
    if bytes(view[4:8]) != schema.IDENTIFIER:
        raise NotTfliteError(
            f"{name} is not a TensorFlow Lite model: its bytes 4 to 7 are {bytes(view[4:8])!r}, not b'TFL3'",
            "Convert the network with the TensorFlow Lite or LiteRT converter first.",
        )
    try:
        model = _model(flat.read_root(schema.MODEL, view, schema.IDENTIFIER), view, path)
        verify(model)
    except (FlatError, InconsistentModelError) as error:
        raise CorruptModelError(
            f"{name} is truncated or damaged: {error}",
            f"It has {len(view)} bytes; download or convert it again.",
        ) from error
    return model


def _model(record: Record, data: memoryview, path: str) -> Model:
    buffers = [_buffer(item, data) for item in record["buffers"]]

    def buffer(index: int) -> Buffer | None:
        if not 0 <= index < max(1, len(buffers)):
            raise FlatError(f"buffer {index} does not exist; there are {len(buffers)}")
        return buffers[index] if index else None

    codes = [_operator_code(code) for code in record["operator_codes"]]
    empty = Buffer(np.empty(0, np.uint8))
    return Model(
        graphs=tuple(_graph(graph, codes, buffer, data) for graph in record["graphs"]),
        description=record["description"],
        version=record["version"],
        signatures=tuple(_signature(item) for item in record["signatures"]),
        metadata=tuple((item["name"], buffer(item["buffer"]) or empty) for item in record["metadata"]),
        unnamed_metadata=tuple(buffer(i) or empty for i in record["metadata_buffer"]),
        appendix=_appendix(data),
        path=path,
    )


def _appendix(data: memoryview) -> Buffer | None:
    """The archive behind the FlatBuffer."""
    start = archive_start(data)
    return None if start is None else Buffer(np.frombuffer(data, np.uint8, len(data) - start, start))


def _buffer(record: Record, data: memoryview) -> Buffer | None:
    # Offsets 0 and 1 are placeholders: the data is inside the FlatBuffer, or absent.
    if record["offset"] > 1:
        return Buffer(_outside(data, record["offset"], record["size"], "a buffer"))
    content = record["data"]
    return Buffer(content) if content is not None and len(content) else None


def _outside(data: memoryview, offset: int, size: int, what: str) -> npt.NDArray[np.uint8]:
    """Bytes stored behind the FlatBuffer itself, where files over 2 GB keep them."""
    if offset + size > len(data):
        raise FlatError(f"{what} of {size} bytes at offset {offset} exceeds the file")
    return np.frombuffer(data, np.uint8, size, offset)


def _operator_code(record: Record) -> tuple[str, str, int]:
    # Codes below 127 were stored in the first field, which later became too small (schema.fbs, version 3a).
    code = max(record["deprecated_builtin_code"], record["builtin_code"])
    kind = schema.member("BuiltinOperator", code)
    if kind is None:
        raise InvalidModelError(
            f"operator code {code} is not known",
            "The model is newer than the installed ai-edge-litert: upgrade it.",
        )
    return kind, record["custom_code"], record["version"]


def _graph(
    record: Record,
    codes: list[tuple[str, str, int]],
    buffer: Callable[[int], Buffer | None],
    data: memoryview,
) -> Graph:
    return Graph(
        tensors=tuple(_tensor(tensor, buffer) for tensor in record["tensors"]),
        operators=tuple(_operator(operator, codes, data) for operator in record["operators"]),
        inputs=record["inputs"],
        outputs=record["outputs"],
        name=record["name"],
    )


def _tensor(record: Record, buffer: Callable[[int], Buffer | None]) -> Tensor:
    if record["type"] not in _DTYPES:
        raise FlatError(f"tensor '{record['name']}' has the unknown element type {record['type']}")
    if record["external_buffer"]:
        raise FlatError(f"tensor '{record['name']}' lies in an external file, which atoll does not read")
    return Tensor(
        name=record["name"],
        shape=record["shape"],
        dtype=_DTYPES[record["type"]],
        quantization=_quantization(record["quantization"]),
        buffer=buffer(record["buffer"]),
        is_variable=record["is_variable"],
        shape_signature=record["shape_signature"],
        has_rank=record["has_rank"],
        sparsity=record["sparsity"],
        variant_tensors=tuple(record["variant_tensors"]),
    )


def _quantization(record: Record | None) -> Quantization | None:
    if record is None:
        return None
    fields = [record[name] for name in ("scale", "minimum", "maximum", "details")]
    if all(field is None or (isinstance(field, np.ndarray) and not len(field)) for field in fields):
        return None
    scale = record["scale"] if record["scale"] is not None else np.empty(0, np.float32)
    zero_point = record["zero_point"]
    if zero_point is None or not len(zero_point):
        zero_point = np.zeros(len(scale), np.int64)
    return Quantization(scale, zero_point, record["axis"], record["minimum"], record["maximum"], record["details"])


def _operator(record: Record, codes: list[tuple[str, str, int]], data: memoryview) -> Operator:
    if record["opcode_index"] >= len(codes):
        raise FlatError(f"operator code {record['opcode_index']} does not exist; there are {len(codes)}")
    kind, custom_code, version = codes[record["opcode_index"]]
    options_type, options = record["options"] or record["options_2"] or ("", EMPTY)
    custom_options = record["custom_options"]
    if record["large_custom_options_offset"] > 1:
        place = record["large_custom_options_offset"], record["large_custom_options_size"]
        custom_options = _outside(data, *place, f"the custom options of {custom_code}")
    mutating = record["mutating_variable_inputs"]
    return Operator(
        kind=kind,
        inputs=record["inputs"],
        outputs=record["outputs"],
        options=options,
        options_type=options_type,
        version=version,
        custom_code=custom_code if kind == "CUSTOM" else "",
        custom_options=b"" if custom_options is None else custom_options.data,
        intermediates=record["intermediates"],
        mutating_variable_inputs=() if mutating is None else tuple(bool(x) for x in mutating),
    )


def _signature(record: Record) -> Signature:
    def names(field: str) -> dict[str, int]:
        return {item["name"]: item["tensor_index"] for item in record[field]}

    return Signature(record["key"], names("inputs"), names("outputs"), record["graph"])
