""":class:`atoll.model.Model` → bytes of a ``.tflite`` file, each buffer written once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from atoll.errors import UnsupportedModelError
from atoll.files import write_file
from atoll.model import flatbuffer as flat
from atoll.model.flatbuffer_reader import Record
from atoll.model.graph import Buffer, Graph, Model, Operator, Quantization, Signature, Tensor
from atoll.model.tflite import schema
from atoll.model.verify import verify

_LIMIT = 2**31 - 2**20
"""FlatBuffer offsets are signed 32-bit numbers (https://flatbuffers.dev/internals/)."""


def write_model(model: Model, path: str | Path) -> None:
    """Write a ``.tflite`` file aside and rename it into place. Raises OutputError."""
    write_file(path, model_bytes(model))


def model_bytes(model: Model) -> memoryview:
    """The model as the bytes of a ``.tflite`` file, the same bytes for the same model.

    Raises:
        UnsupportedModelError: the constants exceed what one FlatBuffer can hold (2 GiB).
    """
    verify(model)
    writer = _Writer(model)
    record = writer.record()
    content = flat.write_root(schema.MODEL, record, schema.IDENTIFIER, writer.size())
    return content if model.appendix is None else memoryview(b"".join((content, model.appendix.data.data)))


class _Writer:
    """Numbers the buffers and operator codes that the tables refer to."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._buffers: dict[Buffer, int] = {}
        self._codes: dict[tuple[str, str, int], int] = {}

    def record(self) -> Record:
        """The model as the schema's tables have it."""
        model = self._model
        record: Record = {
            "version": model.version,
            "graphs": [self._graph(graph) for graph in model.graphs],
            "description": model.description,
            "metadata_buffer": [self._buffer(buffer) for buffer in model.unnamed_metadata],
            "metadata": [{"name": name, "buffer": self._buffer(buffer)} for name, buffer in model.metadata],
            "signatures": [self._signature(signature) for signature in model.signatures],
        }
        record["operator_codes"] = [self._code(*code) for code in self._codes]
        record["buffers"] = [{}] + [{"data": buffer.data} for buffer in self._buffers]
        return record

    def size(self) -> int:
        """An upper bound of the file's size in bytes, once there is a record."""
        constants = sum(len(buffer.data) + 64 for buffer in self._buffers)
        graphs = self._model.graphs
        options = sum(len(op.custom_options) for graph in graphs for op in graph.operators)
        if constants + options > _LIMIT:
            raise UnsupportedModelError(f"{constants + options} bytes of constants exceed the 2 GiB of a .tflite file")
        tensors = sum(
            400 + len(t.name) + (40 * len(t.quantization.scale) if t.quantization else 0)
            for g in graphs
            for t in g.tensors
        )
        return constants + options + tensors + sum(400 * len(graph.operators) for graph in graphs) + 65536

    def _buffer(self, buffer: Buffer | None) -> int:
        return 0 if buffer is None else self._buffers.setdefault(buffer, len(self._buffers) + 1)

    def _graph(self, graph: Graph) -> Record:
        return {
            "tensors": [self._tensor(tensor) for tensor in graph.tensors],
            "inputs": graph.inputs,
            "outputs": graph.outputs,
            "operators": [self._operator(operator) for operator in graph.operators],
            "name": graph.name,
        }

    def _tensor(self, tensor: Tensor) -> Record:
        return {
            "shape": tensor.shape,
            "type": tensor.dtype.code,
            "buffer": self._buffer(tensor.buffer),
            "name": tensor.name,
            "quantization": _quantization(tensor.quantization),
            "is_variable": tensor.is_variable,
            "sparsity": tensor.sparsity,
            "shape_signature": tensor.shape_signature,
            "has_rank": tensor.has_rank,
            "variant_tensors": tensor.variant_tensors,
        }

    def _operator(self, operator: Operator) -> Record:
        code = operator.kind, operator.custom_code, operator.version
        record: Record = {
            "opcode_index": self._codes.setdefault(code, len(self._codes)),
            "inputs": operator.inputs,
            "outputs": operator.outputs,
            "intermediates": operator.intermediates,
            "mutating_variable_inputs": operator.mutating_variable_inputs or None,
        }
        if len(operator.custom_options):
            record["custom_options"] = np.frombuffer(operator.custom_options, np.uint8)
        if operator.options_type:
            for field, union in (("options", "BuiltinOptions"), ("options_2", "BuiltinOptions2")):
                if number := schema.number(union, operator.options_type):
                    record[f"{field}_type"] = number
                    record[field] = (operator.options_type, operator.options)
                    break
            else:
                raise KeyError(operator.options_type)
        return record

    def _code(self, kind: str, custom_code: str, version: int) -> Record:
        code = schema.number("BuiltinOperator", kind)
        if code is None:
            raise KeyError(kind)
        return {
            "deprecated_builtin_code": min(code, 127),  # what readers before schema 3a look at
            "custom_code": custom_code,
            "version": version,
            "builtin_code": code,
        }

    def _signature(self, signature: Signature) -> Record:
        return {
            "inputs": [{"name": name, "tensor_index": i} for name, i in signature.inputs.items()],
            "outputs": [{"name": name, "tensor_index": i} for name, i in signature.outputs.items()],
            "key": signature.key,
            "graph": signature.graph,
        }


def _quantization(quantization: Quantization | None) -> Record | None:
    if quantization is None:
        return None
    details = quantization.details
    return {
        "minimum": quantization.minimum,
        "maximum": quantization.maximum,
        "scale": quantization.scale if len(quantization.scale) else None,
        "zero_point": quantization.zero_point if len(quantization.zero_point) else None,
        "details_type": schema.details_type(details),
        "details": details,
        "axis": quantization.axis,
    }
