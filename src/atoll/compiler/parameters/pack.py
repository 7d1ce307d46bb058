"""Weights, biases and scales of one operator → the bytes the chip loads (../shared/facts/parameters.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.compiler.parameters.layout import Form, Layout, bias_of, layout_of, up
from atoll.errors import UnsupportedModelError
from atoll.hardware.generations import DEFAULT, Generation
from atoll.model.graph import Graph, Operator

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]


def pack_layer(graph: Graph, operator: Operator, generation: Generation = DEFAULT) -> Bytes:
    """The parameters of a CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED as [layout.nbytes] uint8.

    Raises:
        UnsupportedModelError: as :func:`layout_of`.
    """
    layout = layout_of(graph, operator, generation)
    weights = graph.tensors[operator.inputs[1]]
    if not weights.is_constant:
        raise UnsupportedModelError(
            f"{operator.name}: the weights '{weights.name}' are computed, not constant",
            "The Edge TPU needs weights that are known when the model is compiled.",
        )
    packed = np.zeros(layout.nbytes, np.uint8)
    body = packed[: layout.payload_bytes]
    stored = weights.array.view(np.uint8)
    zero_points = _zero_points(graph, operator, layout)
    header = _header(graph, operator, layout, zero_points)
    if layout.depthwise:
        _pack_depthwise(body.view("<u4"), header, stored.reshape(-1, layout.outputs), layout, zero_points)
    else:
        _pack_dense(body.view("<u4"), header, stored, layout, zero_points)
    return packed


def _zero_points(graph: Graph, operator: Operator, layout: Layout) -> Bytes:
    """The stored byte that means zero, per output channel."""
    quantization = graph.tensors[operator.inputs[1]].quantization
    assert quantization is not None
    shift = 128 if layout.signed else 0
    return np.broadcast_to((quantization.zero_point + shift).astype(np.uint8), (layout.outputs,))


def channel_multipliers(graph: Graph, operator: Operator) -> npt.NDArray[np.float32]:
    """Requantisation factors s_in · s_w / s_out per scale, rounded to float32 at each step, in this order."""
    scales = []
    for tensor in (graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]):
        if tensor.quantization is None or not np.any(tensor.quantization.scale[:1] > 0):
            raise UnsupportedModelError(
                f"{operator.name}: '{tensor.name}' has no scale above zero", "Quantise the model to full-integer int8."
            )
        scales.append(np.float32(tensor.quantization.scale[0]))
    weights = graph.tensors[operator.inputs[1]].quantization
    assert weights is not None
    factor = np.float32(np.float32(1) / scales[1])
    multipliers: npt.NDArray[np.float32] = scales[0] * weights.scale * factor
    return multipliers


def _header(graph: Graph, operator: Operator, layout: Layout, zero_points: Bytes) -> Words:
    """[header words, blocks · lanes]: scale, bias, zero point, each left out when the layout says so."""
    header = np.zeros((layout.header_words, layout.blocks * layout.lanes), np.uint32)
    filled = up(layout.outputs, 4)
    row = 0
    if layout.has_scale:
        multipliers = channel_multipliers(graph, operator).view(np.uint32)
        if not layout.depthwise and layout.blocks > 1:
            header[row] = np.float32(1).view(np.uint32)
        header[row, :filled] = multipliers[0]
        header[row, : layout.outputs] = multipliers
        row += 1
    if layout.has_bias:
        bias = bias_of(graph, operator)
        if bias is not None:
            header[row, : layout.outputs] = bias.view(np.uint32)
        row += 1
    if layout.has_zero_point:
        header[row, :filled] = zero_points[0]
        header[row, : layout.outputs] = zero_points
    return header


def _pack_dense(words: Words, header: Words, weights: Bytes, layout: Layout, zero_points: Bytes) -> None:
    """``words`` [blocks, words, lanes]: word w of an output channel is column ``lane`` of row w of its block."""
    blocks, lanes, top = layout.blocks, layout.lanes, layout.header_words
    target = words.reshape(blocks, layout.block_words, lanes)
    target[:, :top] = header.reshape(top, blocks, lanes).transpose(1, 0, 2)
    source = _channel_words(weights, layout, zero_points)  # [outputs, taps, inputs / 4]
    inverted = np.uint32(0x80808080) if layout.signed else np.uint32(0)
    for block in range(blocks):
        part = source[block * lanes : (block + 1) * lanes]
        count, taps, quads = part.shape
        place = target[block, top:].reshape(quads, taps, lanes)
        np.bitwise_xor(part.transpose(2, 1, 0), inverted, out=place[:, :, :count])
        padding = slice(count, min(up(count, 4), lanes))
        place[:, :, padding] = np.uint32(int(zero_points[0]) * 0x01010101)


def _channel_words(weights: Bytes, layout: Layout, zero_points: Bytes) -> Words:
    """Stored weights as [outputs, taps, words of 4 input channels], a view unless something must be padded."""
    height, width = layout.kernel
    grid = _outputs_first(weights, layout).reshape(layout.outputs, height, width, -1)
    if len(layout.rows) < height or len(layout.columns) < width:
        grid = grid[:, layout.rows][:, :, layout.columns]
    grid = grid.reshape(layout.outputs, layout.taps, layout.spatial_positions, layout.inputs)
    missing = -layout.inputs % 4
    if missing:
        padding: Any = zero_points ^ np.uint8(0x80 if layout.signed else 0)
        padding = np.broadcast_to(padding[:, None, None, None], (*grid.shape[:3], missing))
        grid = np.concatenate([grid, padding], axis=3)
    return np.ascontiguousarray(grid).view("<u4").reshape(layout.outputs, layout.taps, -1)


def _outputs_first(weights: Bytes, layout: Layout) -> Bytes:
    """A depthwise kernel [1, kh, kw, C] on one input channel is an ordinary one of [C, kh, kw, 1]."""
    return np.moveaxis(weights, 3, 0) if layout.form is Form.SINGLE_CHANNEL else weights


def _pack_depthwise(words: Words, header: Words, weights: Bytes, layout: Layout, zero_points: Bytes) -> None:
    """``words`` [groups, rows, 4]: per group of 4 channels, each tap a 4×4 matrix with the weights on the diagonal."""
    groups, top = layout.blocks, layout.header_words
    target = words.reshape(groups, top + layout.taps, 4)
    target[:, :top] = header.reshape(top, groups, 4).transpose(1, 0, 2)
    height, width = layout.kernel
    grid = weights.reshape(height, width, layout.outputs)[layout.rows, :][:, layout.columns]
    stored = grid.reshape(layout.taps, layout.outputs) ^ np.uint8(0x80 if layout.signed else 0)
    zeros = np.full(4 * groups, zero_points[0], np.uint8)
    zeros[: layout.outputs] = zero_points
    matrix = np.empty((groups, layout.taps, 4, 4), np.uint8)
    matrix[:] = zeros.reshape(groups, 1, 4, 1)
    padded = np.full((layout.taps, 4 * groups), zero_points[0], np.uint8)
    padded[:, : layout.outputs] = stored
    diagonal = np.arange(4)
    matrix[:, :, diagonal, diagonal] = padded.reshape(layout.taps, groups, 4).transpose(1, 0, 2)
    target[:, top:] = matrix.view("<u4").reshape(groups, layout.taps, 4)
