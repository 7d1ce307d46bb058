"""The bytes the chip loads, and their layout → weights, biases and scales: the inverse of packing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.compiler.package_format.package import Bytes
from atoll.compiler.parameters.layout import Form, Layout
from atoll.errors import CorruptPackageError

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, eq=False)
class LayerConstants:
    """What one layer's parameters say."""

    weights: npt.NDArray[Any]
    """int8 or uint8 in the TFLite tensor's shape; kernel positions that never touch input hold the zero point."""
    bias: npt.NDArray[np.int32]
    """[outputs]; zeros when the blob has no bias row."""
    multipliers: npt.NDArray[np.float32] | None
    """[outputs] requantisation factors s_in · s_w / s_out; None when they sit in the instruction stream."""
    zero_points: npt.NDArray[np.uint8] | None
    """[outputs] stored bytes that mean zero; None likewise."""


def unpack_layer(blob: Bytes | npt.NDArray[np.uint8], layout: Layout, zero_point: int | None = None) -> LayerConstants:
    """Undo :func:`atoll.compiler.parameters.pack_layer`. ``blob`` starts with the layer and may be longer.

    ``zero_point`` is the weights' zero point in the model, for kernel positions that are not stored in layers
    without a zero-point row (per-tensor quantisation); 0 for int8 and 128 for uint8 unless given.

    Raises:
        CorruptPackageError: the blob is shorter than the layer.
    """
    data = np.frombuffer(blob, np.uint8)
    if len(data) < layout.payload_bytes:
        raise CorruptPackageError(
            f"a layer of {layout.payload_bytes} parameter bytes has only {len(data)} in the package",
            "Compile the model again.",
        )
    words = data[: layout.payload_bytes].view("<u4")
    blocked = words.reshape(layout.blocks, -1, layout.lanes)
    top = layout.header_words
    header = blocked[:, :top].transpose(1, 0, 2).reshape(top, layout.blocks * layout.lanes)[:, : layout.outputs]
    rows = iter(header)
    multipliers = next(rows).view(np.float32).copy() if layout.has_scale else None
    bias = next(rows).view(np.int32).copy() if layout.has_bias else np.zeros(layout.outputs, np.int32)
    zero_points = next(rows).astype(np.uint8) if layout.has_zero_point else None
    unpack = _unpack_depthwise if layout.depthwise else _unpack_dense
    stored = unpack(blocked[:, top:], layout)  # [outputs, taps, inputs]
    if zero_points is None:
        default = (0 if layout.signed else 128) if zero_point is None else zero_point
        background = np.full(layout.outputs, default + (128 if layout.signed else 0), np.uint8)
    else:
        background = zero_points
    weights = _weights(stored, layout, background)
    if layout.signed:
        weights = (weights ^ np.uint8(0x80)).view(np.int8)
    return LayerConstants(weights, bias, multipliers, zero_points)


def _unpack_dense(blocks: Words, layout: Layout) -> npt.NDArray[np.uint8]:
    quads = layout.padded_inputs // 4
    grid = blocks.reshape(layout.blocks, quads, layout.taps, layout.lanes).transpose(0, 3, 2, 1)
    channels = np.ascontiguousarray(grid).reshape(-1, layout.taps, quads)[: layout.outputs]
    stored: npt.NDArray[np.uint8] = channels.view(np.uint8)
    stored = stored.reshape(layout.outputs, layout.taps, layout.spatial_positions, -1)
    return stored[..., : layout.inputs].reshape(layout.outputs, layout.taps, -1)


def _unpack_depthwise(groups: Words, layout: Layout) -> npt.NDArray[np.uint8]:
    matrices: npt.NDArray[np.uint8] = (
        np.ascontiguousarray(groups).view(np.uint8).reshape(layout.blocks, layout.taps, 4, 4)
    )
    diagonal = np.arange(4)
    weights: npt.NDArray[np.uint8] = matrices[:, :, diagonal, diagonal].transpose(0, 2, 1)
    channels = weights.reshape(-1, layout.taps, 1)
    return channels[: layout.outputs]


def _weights(stored: npt.NDArray[np.uint8], layout: Layout, background: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Stored bytes in the shape of the TFLite tensor, kernel positions that are not stored filled in."""
    if layout.form is Form.FULLY_CONNECTED:
        return np.ascontiguousarray(stored.reshape(layout.weights_shape))
    height, width = layout.kernel
    full = np.empty((layout.outputs, height, width, stored.shape[-1]), np.uint8)
    full[:] = background[:, None, None, None]
    grid = stored.reshape(layout.outputs, len(layout.rows), len(layout.columns), -1)
    full[np.ix_(range(layout.outputs), layout.rows, layout.columns)] = grid
    if layout.form is not Form.CONVOLUTION:
        full = np.moveaxis(full[..., 0], 0, 2)[None]
    return np.ascontiguousarray(full).reshape(layout.weights_shape)
