"""One operator of a graph → :class:`OperatorWork`: what it asks of the chip, independent of clock, bus and host.

The formulas for cycles are those of ../shared/facts/timing.md, spelled out in docs/timing.md ("What is added up").
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from atoll.hardware.chip import EDGE_TPU
from atoll.model.graph import Graph, Operator, Tensor

_CHANNELS_PER_WORD = (
    4  # a lane multiplies four 8-bit input channels per cycle (../shared/facts/memory.md: 4-byte words)
)
_GRIDS = (
    (1, 1),
    (2, 2),
    (2, 3),
    (3, 3),
    (3, 4),
    (4, 4),
    (4, 6),
    (6, 6),
    (6, 8),
    (8, 8),
    (8, 12),
    (12, 12),
    (16, 16),
)
"""Spatial passes in the order in which they are tried; ../shared/facts/timing.md names the first five refinements."""


class ChipUnit(enum.Enum):
    """The part of a tile that an operator keeps busy."""

    MATRIX = "matrix"
    """Convolution and fully connected: 64 lanes of 4 multiply-accumulates in each of the 16 tiles."""
    DEPTHWISE = "depthwise"
    """The same cells fed with diagonal matrices: 4 channels at a time."""
    VECTOR = "vector"
    """Pooling, sums, activations: bound by the bytes they move."""
    NONE = "none"
    """Nothing measurable: only addresses change, or the work hides behind a neighbour."""


@dataclass(frozen=True, slots=True)
class OperatorWork:
    """What one operator asks of the chip."""

    unit: ChipUnit
    macs: int = 0
    """Multiply-accumulates of the model as written, without any padding of the chip."""
    cycles: int = 0
    """Cycles of the tile that has most to do if its lanes never wait (MATRIX, DEPTHWISE)."""
    moved_bytes: int = 0
    """Activations read and written (VECTOR)."""
    spills: bool = False
    """Input with halo and output do not fit the narrow memory of a tile together."""
    passes: int = 1
    """Times that streamed parameters cross the bus, because the image is worked off in so many parts."""
    blocks: int = 0
    """Groups of 64 output channels."""


_FREE = frozenset(
    {
        *("CONCATENATION", "EXPAND_DIMS", "PACK", "RESHAPE", "SLICE", "SOFTMAX", "SPLIT", "SQUEEZE"),
        *("STRIDED_SLICE", "UNPACK"),
    }
)  # ../shared/facts/timing.md: "concatenation and softmax nothing measurable"; the others only rename or cut
_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})


def work_of(graph: Graph, operator: Operator) -> OperatorWork:
    """The work of ``operator``; operators of unknown kind count as VECTOR work on all their activations."""
    weights = graph.tensor_of(operator, 1)
    source = graph.tensor_of(operator, 0)
    if operator.kind in _CONVOLUTIONS and source and weights and len(source.shape) == len(weights.shape) == 4:
        return _convolution(operator, source, weights, graph.tensors[operator.outputs[0]])
    if operator.kind == "FULLY_CONNECTED" and source and weights and len(weights.shape) == 2:
        outputs, inputs = weights.shape
        return _dense(max(1, source.elements // max(inputs, 1)), inputs, outputs)
    if operator.kind == "TRANSPOSE_CONV":
        return _transpose_conv(graph, operator)
    if operator.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM" and source:
        return _lstm(graph, operator, source)
    if operator.kind in _FREE:
        return OperatorWork(ChipUnit.NONE)
    moved = sum(t.nbytes for t in graph.inputs_of(operator) if not t.is_constant)
    return OperatorWork(ChipUnit.VECTOR, moved_bytes=moved + sum(t.nbytes for t in graph.outputs_of(operator)))


def _convolution(operator: Operator, source: Tensor, weights: Tensor, target: Tensor) -> OperatorWork:
    height, width, channels = target.shape[1:]
    kernel = weights.shape[1], weights.shape[2]
    stride = int(operator.options.get("stride_h", 1)), int(operator.options.get("stride_w", 1))
    dilation = (
        int(operator.options.get("dilation_h_factor", 1)),
        int(operator.options.get("dilation_w_factor", 1)),
    )
    span = ((kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1)
    taps, inputs = kernel[0] * kernel[1], source.shape[3]
    depthwise = operator.kind == "DEPTHWISE_CONV_2D" and inputs > 1
    positions = _share(height, EDGE_TPU.tile_rows) * _share(width, EDGE_TPU.tile_columns)

    def narrow_bytes(grid: tuple[int, int], parameters: int) -> int:
        """Bytes in one tile while one part of a grid of parts is worked off."""
        h, w = _share(height, EDGE_TPU.tile_rows * grid[0]), _share(width, EDGE_TPU.tile_columns * grid[1])
        read = ((h - 1) * stride[0] + span[0]) * ((w - 1) * stride[1] + span[1]) * _up4(inputs)
        return read + h * w * _up4(channels) + parameters

    spills = narrow_bytes((1, 1), 0) > EDGE_TPU.narrow_bytes_per_tile
    blocks = _share(channels, EDGE_TPU.lanes)
    if depthwise:
        cycles = positions * taps * _share(channels, _CHANNELS_PER_WORD)
        return OperatorWork(ChipUnit.DEPTHWISE, target.elements * taps, cycles, spills=spills, blocks=blocks)
    passes = 1
    if source.nbytes + target.nbytes > EDGE_TPU.tiles * EDGE_TPU.narrow_bytes_per_tile:
        # 16 output channels' weights wait in narrow memory: ../shared/facts/timing.md, "Streamed bytes".
        waiting = 16 * taps * inputs
        fits = (g for g in _GRIDS[1:] if narrow_bytes(g, waiting) <= EDGE_TPU.narrow_bytes_per_tile)
        passes = math.prod(next(fits, _GRIDS[-1]))
    cycles = positions * taps * _share(inputs, _CHANNELS_PER_WORD) * blocks
    return OperatorWork(
        ChipUnit.MATRIX, target.elements * taps * inputs, cycles, spills=spills, passes=passes, blocks=blocks
    )


def _dense(rows: int, inputs: int, outputs: int) -> OperatorWork:
    blocks = _share(outputs, EDGE_TPU.lanes)
    cycles = rows * _share(inputs, _CHANNELS_PER_WORD) * blocks
    return OperatorWork(ChipUnit.MATRIX, rows * inputs * outputs, cycles, blocks=blocks)


def _transpose_conv(graph: Graph, operator: Operator) -> OperatorWork:
    """Every input position meets every tap once."""
    weights, source = graph.tensor_of(operator, 1), graph.tensor_of(operator, 2)
    if weights is None or source is None or len(weights.shape) != 4 or len(source.shape) != 4:
        return OperatorWork(ChipUnit.VECTOR, moved_bytes=sum(t.nbytes for t in graph.outputs_of(operator)))
    outputs, kernel_height, kernel_width, inputs = weights.shape
    taps, blocks = kernel_height * kernel_width, _share(outputs, EDGE_TPU.lanes)
    positions = _share(source.shape[1], EDGE_TPU.tile_rows) * _share(source.shape[2], EDGE_TPU.tile_columns)
    cycles = positions * taps * _share(inputs, _CHANNELS_PER_WORD) * blocks
    return OperatorWork(ChipUnit.MATRIX, source.elements * taps * outputs, cycles, blocks=blocks)


def _lstm(graph: Graph, operator: Operator, source: Tensor) -> OperatorWork:
    """Four gates per step, each a dense layer over input and state."""
    macs = cycles = blocks = 0
    time_major = bool(operator.options.get("time_major", False))
    steps = source.shape[0 if time_major else 1] if len(source.shape) == 3 else 1
    for position in range(1, 9):
        weights = graph.tensor_of(operator, position)
        if weights is not None and len(weights.shape) == 2:
            gate = _dense(steps, weights.shape[1], weights.shape[0])
            macs, cycles, blocks = macs + gate.macs, cycles + gate.cycles, blocks + gate.blocks
    return OperatorWork(ChipUnit.MATRIX, macs, cycles, blocks=blocks)


def _share(amount: int, parts: int) -> int:
    """What the part that has most gets."""
    return -(-amount // parts)


def _up4(value: int) -> int:
    return value + -value % _CHANNELS_PER_WORD
