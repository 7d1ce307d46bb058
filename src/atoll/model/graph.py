"""A model in memory: frozen tensors and operators, constants as views into the file they came from."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

EMPTY: Mapping[str, Any] = MappingProxyType({})


class DType(enum.Enum):
    """Element type of a tensor: its code in the TFLite schema, its numpy type, and its width in bits."""

    FLOAT32 = (0, "float32", 32)
    FLOAT16 = (1, "float16", 16)
    INT32 = (2, "int32", 32)
    UINT8 = (3, "uint8", 8)
    INT64 = (4, "int64", 64)
    STRING = (5, None, 0)
    BOOL = (6, "bool", 8)
    INT16 = (7, "int16", 16)
    COMPLEX64 = (8, "complex64", 64)
    INT8 = (9, "int8", 8)
    FLOAT64 = (10, "float64", 64)
    COMPLEX128 = (11, "complex128", 128)
    UINT64 = (12, "uint64", 64)
    RESOURCE = (13, None, 0)
    VARIANT = (14, None, 0)
    UINT32 = (15, "uint32", 32)
    UINT16 = (16, "uint16", 16)
    INT4 = (17, None, 4)
    BFLOAT16 = (18, None, 16)
    INT2 = (19, None, 2)
    UINT4 = (20, None, 4)
    FLOAT8_E4M3FN = (21, None, 8)
    FLOAT8_E5M2 = (22, None, 8)

    def __init__(self, code: int, numpy_name: str | None, bits: int) -> None:
        self.code = code
        self.numpy_name = numpy_name
        self.bits = bits

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype; raises ``TypeError`` for types numpy does not have (strings, 4-bit, ...)."""
        if self.numpy_name is None:
            raise TypeError(f"{self.name} has no numpy type")
        return np.dtype(self.numpy_name)

    @property
    def is_float(self) -> bool:
        """Whether values are floating-point numbers."""
        return self in (
            DType.FLOAT32,
            DType.FLOAT16,
            DType.FLOAT64,
            DType.BFLOAT16,
            DType.FLOAT8_E4M3FN,
            DType.FLOAT8_E5M2,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Constant bytes (``data``: uint8, 1-D, usually a view into the mapped file).

    Compared by identity: tensors that hold the same object share one copy in the file.
    """

    data: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Quantization:
    """``real = scale · (stored - zero_point)``, one pair per tensor or one per index of ``axis``."""

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int = 0
    minimum: npt.NDArray[np.float32] | None = None
    maximum: npt.NDArray[np.float32] | None = None
    details: Any = None

    @property
    def per_channel(self) -> bool:
        """Whether each index of ``axis`` has a scale of its own."""
        return len(self.scale) > 1


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value of the graph; a constant when ``buffer`` is set."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    quantization: Quantization | None = None
    buffer: Buffer | None = None
    is_variable: bool = False
    shape_signature: tuple[int, ...] = ()
    has_rank: bool = False
    sparsity: Any = None
    variant_tensors: Any = None

    @property
    def is_constant(self) -> bool:
        """Whether its value is stored in the model."""
        return self.buffer is not None

    @property
    def elements(self) -> int:
        """Number of elements (1 for a scalar)."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of one value; sub-byte types are packed and rounded up."""
        return (self.elements * self.dtype.bits + 7) // 8

    @property
    def array(self) -> npt.NDArray[Any]:
        """The constant as an array of ``shape`` and ``dtype`` (a view).

        Raises ``ValueError`` if there is none, or numpy has no such type.
        """
        if self.buffer is None or self.dtype.numpy_name is None:
            raise ValueError(f"tensor '{self.name}' is no constant that numpy can hold")
        return self.buffer.data.view(self.dtype.numpy_name).reshape(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One node. ``inputs`` and ``outputs`` are indices into the graph's tensors, -1 for an input left out.

    ``options`` are the fields of the schema table ``options_type`` in snake case (``stride_h``), enums as ints.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    options_type: str = ""
    version: int = 1
    custom_code: str = ""
    custom_options: bytes | memoryview | npt.NDArray[np.uint8] = b""
    intermediates: tuple[int, ...] = ()
    mutating_variable_inputs: tuple[bool, ...] = ()

    @property
    def name(self) -> str:
        """The operator's name as reports print it: a custom operator's own code, else the builtin's."""
        return self.custom_code or self.kind


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """One subgraph; operators stand in execution order."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = ""

    def tensor_of(self, operator: Operator, position: int) -> Tensor | None:
        """The operator's input at ``position``, or None when it is left out or the operator has fewer."""
        if position >= len(operator.inputs) or operator.inputs[position] < 0:
            return None
        return self.tensors[operator.inputs[position]]

    def inputs_of(self, operator: Operator) -> Iterator[Tensor]:
        """The operator's inputs that are present."""
        return (self.tensors[i] for i in operator.inputs if i >= 0)

    def outputs_of(self, operator: Operator) -> Iterator[Tensor]:
        """The operator's outputs."""
        return (self.tensors[i] for i in operator.outputs)

    def constant_bytes(self, operator: Operator) -> int:
        """Bytes of constants that the operator reads, as they are stored in the ``.tflite`` file."""
        return sum(tensor.nbytes for tensor in self.inputs_of(operator) if tensor.is_constant)

    def where(self, index: int) -> str:
        """How messages name operator ``index``: ``#12 CONV_2D 'block_3/conv'`` (after its first output)."""
        operator = self.operators[index]
        output = f" '{self.tensors[operator.outputs[0]].name}'" if operator.outputs else ""
        return f"#{index} {operator.name}{output}"


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """A named entry point: argument name -> tensor index in graph ``graph``."""

    key: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    graph: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A whole ``.tflite`` file; graph 0 is the one that runs by default."""

    graphs: tuple[Graph, ...]
    description: str = ""
    version: int = 3
    signatures: tuple[Signature, ...] = ()
    metadata: tuple[tuple[str, Buffer], ...] = ()
    unnamed_metadata: tuple[Buffer, ...] = ()
    """The schema's older ``metadata_buffer`` list."""
    appendix: Buffer | None = None
    """What stands behind the FlatBuffer: the ZIP archive of associated files (labels) of TFLite metadata."""
    path: str = ""
    """The file it was read from (for messages), empty for a model made in memory."""

    @property
    def main(self) -> Graph:
        """Graph 0, the one that runs."""
        return self.graphs[0]
