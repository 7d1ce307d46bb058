"""Any operator → bytes and rows that its constants take on the chip, and whether they can be cached.

Source: ../shared/facts/parameters.md, "Bytes per layer", and memory.md, "What the reports count".
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.compiler.parameters.layout import ALIGNMENT, layout_of, up
from atoll.hardware.chip import EDGE_TPU
from atoll.hardware.generations import DEFAULT, Generation, SoftmaxTable
from atoll.model.graph import Graph, Operator, Tensor

WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
"""Operators whose parameters :func:`atoll.compiler.parameters.pack_layer` lays out byte for byte."""

_BINARY = frozenset({"ADD", "MUL", "SUB", "MAXIMUM", "MINIMUM"})


@dataclass(frozen=True, slots=True)
class ParameterSize:
    """What one operator's constants take."""

    nbytes: int = 0
    """Bytes in the blob, a multiple of 64."""
    block_rows: tuple[int, ...] = ()
    """Rows of wide memory per block of output channels, in which reports count on-chip memory."""
    streamed: bool = False
    """Sent with every inference, never cached."""

    @property
    def wide_rows(self) -> int:
        """Rows of wide memory of all blocks."""
        return sum(self.block_rows)


def parameter_size(graph: Graph, operator: Operator, generation: Generation = DEFAULT) -> ParameterSize:
    """Bytes, rows and kind of an operator's parameters.

    Not covered by known rules, hence counted as 0: identities that the vendor inserts for TRANSPOSE,
    CONCATENATION and RESHAPE on channels that are no multiple of 4. TRANSPOSE_CONV counts as a convolution with
    all taps and a bias row, UNIDIRECTIONAL_SEQUENCE_LSTM as its gates (one sixth of the one real model at hand).

    Raises:
        UnsupportedModelError: a weighted operator whose weights cannot be laid out.
    """
    if operator.kind in WEIGHTED:
        layout = layout_of(graph, operator, generation)
        if layout.depthwise:
            return ParameterSize(layout.nbytes, (layout.wide_rows,))
        return ParameterSize(layout.nbytes, (layout.block_words,) * layout.blocks)
    if operator.kind in _BINARY:
        return _binary(graph, operator)
    if operator.kind == "PRELU":
        return ParameterSize(2 * 16 * up(_channels(graph.tensor_of(operator, 1)), 4), streamed=True)
    if operator.kind == "SOFTMAX":
        return _softmax(graph, operator, generation)
    if operator.kind == "TRANSPOSE_CONV":
        return _transpose_conv(graph.tensor_of(operator, 1))
    if operator.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return _lstm(graph, operator)
    if operator.kind in ("PAD", "PADV2") and generation.pads_channels_by_convolution:
        return _channel_pad(graph, operator)
    return ParameterSize()


def _channels(tensor: Tensor | None) -> int:
    return tensor.shape[-1] if tensor is not None and tensor.shape else 1


def _binary(graph: Graph, operator: Operator) -> ParameterSize:
    output = graph.tensors[operator.outputs[0]]
    total = 0
    for tensor in graph.inputs_of(operator):
        if not tensor.is_constant or tensor.elements == 1:
            continue
        per_channel = tensor.elements == _channels(tensor) and tensor.elements < output.elements
        total += 16 * up(_channels(tensor), 4) if per_channel else up(tensor.nbytes, ALIGNMENT)
    return ParameterSize(total, streamed=total > 0)


def _softmax(graph: Graph, operator: Operator, generation: Generation) -> ParameterSize:
    source = graph.tensors[operator.inputs[0]]
    channels, table = _channels(source), generation.softmax_table
    entries = -(-channels // 4) * 64
    if channels % 4 == 0 or table is SoftmaxTable.NONE:
        return ParameterSize()
    if table is SoftmaxTable.ALL:
        return ParameterSize(3 * entries + 64)
    return ParameterSize(2 * entries if source.dtype.name == "INT8" else 0)


def _dense(outputs: int, words: int, is_fully_connected: bool = False) -> ParameterSize:
    """A dense layer of ``words`` 32-bit words per output channel, header included."""
    lanes = EDGE_TPU.lanes
    if outputs <= lanes:
        lanes = 4 if not is_fully_connected and outputs in (1, 3, 4) else up(outputs, 16)
    blocks = -(-outputs // lanes)
    return ParameterSize(up(blocks * lanes * 4 * words, ALIGNMENT), (words,) * blocks)


def _transpose_conv(weights: Tensor | None) -> ParameterSize:
    if weights is None or len(weights.shape) != 4:
        return ParameterSize()
    outputs, height, width, inputs = weights.shape
    return _dense(outputs, 1 + height * width * up(inputs, 4) // 4)


def _lstm(graph: Graph, operator: Operator) -> ParameterSize:
    """Four gates, each one layer over input and state side by side with a bias row."""
    sizes = []
    for gate in range(1, 5):
        weights, recurrent = graph.tensor_of(operator, gate), graph.tensor_of(operator, gate + 4)
        if weights is not None and recurrent is not None:
            words = 1 + (up(_channels(weights), 4) + up(_channels(recurrent), 4)) // 4
            sizes.append(_dense(weights.shape[0], words, is_fully_connected=True))
    return ParameterSize(sum(size.nbytes for size in sizes), tuple(rows for size in sizes for rows in size.block_rows))


def _channel_pad(graph: Graph, operator: Operator) -> ParameterSize:
    source, target = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    if _channels(source) == _channels(target):
        return ParameterSize()
    return _dense(_channels(target), 1 + up(_channels(source), 4) // 4)
