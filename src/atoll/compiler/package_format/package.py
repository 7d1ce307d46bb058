"""The products of this format: a package, its executables, and everything the runtime needs to start them.

Most records are named tuples: such a class is made in 0.05 ms, a frozen dataclass in 0.4, and every command that makes
or reads compiled files waits for them. Dataclasses are those that would be equal to a record of another kind.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from atoll.compiler.package_format.flexmap import Value

Bytes: TypeAlias = "bytes | memoryview"
"""Raw bytes; what is read is a view into the file."""

VIRTUAL_CHIP = "atoll-virtual"
"""Chip name of the packages made here. The runtime compares it with ``beagle`` and refuses anything else."""


class ExecutableKind(enum.IntEnum):
    """What an executable is for. The runtime takes the last two as a pair with one token."""

    STAND_ALONE = 0
    PARAMETER_CACHING = 1
    EXECUTION_ONLY = 2


class Base(enum.IntEnum):
    """Whose address the driver writes into an instruction stream."""

    OUTPUT = 0
    INPUT = 1
    PARAMETER = 2
    SCRATCH = 3


class Word(enum.IntEnum):
    """Which half of a 64-bit address."""

    LOW = 0
    HIGH = 1


class Direction(enum.IntEnum):
    """Seen from the device."""

    IN = 0
    OUT = 1


class LayerType(enum.IntEnum):
    """Element type of an input or output layer."""

    FIXED_POINT8 = 0
    FIXED_POINT16 = 1
    SIGNED_FIXED_POINT32 = 2
    BFLOAT = 3
    HALF = 4
    SINGLE = 5
    SIGNED_FIXED_POINT8 = 8
    SIGNED_FIXED_POINT16 = 9

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return _ITEM_SIZES[self]


_ITEM_SIZES = {
    LayerType.FIXED_POINT8: 1,
    LayerType.FIXED_POINT16: 2,
    LayerType.SIGNED_FIXED_POINT32: 4,
    LayerType.BFLOAT: 2,
    LayerType.HALF: 2,
    LayerType.SINGLE: 4,
    LayerType.SIGNED_FIXED_POINT8: 1,
    LayerType.SIGNED_FIXED_POINT16: 2,
}


class Address(NamedTuple):
    """An address that is known only when the program is loaded: ``name`` of the layer, which batch, which half."""

    base: Base
    name: str = ""
    batch: int = 0
    word: Word = Word.LOW


class FieldOffset(NamedTuple):
    """Where (in bits from the start of the chunk) the driver has to write ``address``."""

    bit: int
    address: Address | None = None


class Instructions(NamedTuple):
    """One chunk of the instruction stream."""

    bitstream: Bytes
    field_offsets: tuple[FieldOffset, ...] = ()


class Transfer(NamedTuple):
    """DMA of ``size`` bytes at ``offset`` bytes from an address."""

    address: Address | None
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class InstructionTransfer:
    """DMA of a whole chunk of the instruction stream."""

    chunk: int


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Scalar core interrupt ``number``."""

    number: int


@dataclass(frozen=True, slots=True)
class Fence:
    """All hints before it are done before any behind it starts."""


Hint: TypeAlias = "Transfer | InstructionTransfer | Interrupt | Fence"


class DmaHint(NamedTuple):
    """One expected DMA."""

    direction: Direction
    hint: Hint


class DmaHints(NamedTuple):
    """The DMAs of one execution in order; ``fully_deterministic`` when there are no others."""

    hints: tuple[DmaHint, ...] = ()
    fully_deterministic: bool = False


Range: TypeAlias = "tuple[int, int]"
"""First and last index, inclusive."""


class OutputLayout(NamedTuple):
    """How the tiles' pieces of an output lie in the bytes that arrive on the host (six index tables)."""

    y_to_tile: tuple[int, ...] = ()
    x_to_tile: tuple[int, ...] = ()
    tile_byte_offset: tuple[int, ...] = ()
    x_to_local_byte: tuple[int, ...] = ()
    y_to_local_row: tuple[int, ...] = ()
    x_to_local_row_size: tuple[int, ...] = ()


class OutputSlice(NamedTuple):
    """A part of an output: its index ranges (None when not given), element strides and byte offset."""

    shape: tuple[Range, ...] | None
    stride: tuple[int, ...]


class OutputInfo(NamedTuple):
    """What only output layers have."""

    layout: OutputLayout | None = None
    data_type: LayerType = LayerType.FIXED_POINT8
    slices: tuple[OutputSlice, ...] | None = None
    slice_offsets: tuple[int, ...] = ()


class Numerics(NamedTuple):
    """``real = scale · (stored - zero_point)``."""

    zero_point: int = 0
    scale: float = 0.0


class BoundaryLayer(NamedTuple):
    """An input or output: ``size_bytes`` with padding, dimensions y, x, z; ``output`` is None for inputs."""

    name: str
    size_bytes: int
    y: int
    x: int
    z: int
    data_type: LayerType = LayerType.FIXED_POINT8
    numerics: Numerics | None = None
    output: OutputInfo | None = None
    executions: int = 1
    cache_on_dram: bool = False
    shape: tuple[Range, ...] | None = None


@dataclass(frozen=True, slots=True)
class Executable:
    """A program for one chip: parameters to load and instructions to run.

    ``narrow_bytes_per_tile``: activation memory used per tile; ``estimated_cycles``: 0 from compiler 16 on;
    ``token``: executables with equal tokens share the parameter memory.
    """

    kind: ExecutableKind
    name: str = "model"
    chip: str = VIRTUAL_CHIP
    token: int = 0
    batch: int = 1
    parameters: Bytes = b""
    instructions: tuple[Instructions, ...] = ()
    dma_hints: DmaHints | None = None
    input_layers: tuple[BoundaryLayer, ...] = ()
    output_layers: tuple[BoundaryLayer, ...] = ()
    scratch_bytes: int = 0
    narrow_bytes_per_tile: int = 0
    estimated_cycles: int = 0
    estimated_cycles_32bit: int = 0
    use_tpu_dram: bool = False
    serialized_model: Bytes = b""
    version: int = 0


ENVELOPE_16: Mapping[str, Value] = MappingProxyType({"1": 0, "5": -1, "6": (18,), "7": ()})
"""What compiler 16 writes beside the package (their meaning is not known)."""


@dataclass(frozen=True, slots=True)
class Package:
    """The content of one ``edgetpu-custom-op``; ``envelope`` is what stands beside the package in its options."""

    min_runtime_version: int
    executables: tuple[Executable, ...]
    compiler_version: str = ""
    model_identifier: str = ""
    signature: Bytes = b""
    keypair_version: int = 0
    virtual_chip_id: int = 0
    multi_chip: tuple[Bytes, ...] = ()
    envelope: Mapping[str, Value] = field(default_factory=lambda: ENVELOPE_16)

    def executable(self, kind: ExecutableKind) -> Executable | None:
        """The first executable of a kind, None when there is none."""
        return next((item for item in self.executables if item.kind is kind), None)

    @property
    def cached_bytes(self) -> int:
        """Parameters that stay on the chip between inferences."""
        return self._parameter_bytes(ExecutableKind.PARAMETER_CACHING)

    @property
    def streamed_bytes(self) -> int:
        """Parameters that are sent with every inference."""
        return self._parameter_bytes(ExecutableKind.EXECUTION_ONLY, ExecutableKind.STAND_ALONE)

    def _parameter_bytes(self, *kinds: ExecutableKind) -> int:
        return sum(len(item.parameters) for item in self.executables if item.kind in kinds)


def input_size(y: int, x: int, z: int, itemsize: int = 1) -> int:
    """Bytes of an input layer as the chip wants them: up8(Y·X·Z·itemsize) (exact, ../shared/facts/package.md)."""
    return (y * x * z * itemsize + 7) // 8 * 8


def output_size(y: int, x: int, z: int, itemsize: int = 1) -> int:
    """Bytes of an output layer as the chip gives them: up8(Y·X·up4(Z)·itemsize) (exact, same source)."""
    return (y * x * ((z + 3) // 4 * 4) * itemsize + 7) // 8 * 8


def as_bytes(array: npt.NDArray[np.uint8] | None) -> Bytes:
    """The view that a record's byte vector is, empty when it is absent."""
    return b"" if array is None else array.data
