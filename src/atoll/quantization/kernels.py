"""A layer and its float inputs (N, ...) → its float output, in numpy; and what TFLite calls each kind of layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from atoll.quantization.float_network import Activation, FloatLayer, Padding, extent

Array = npt.NDArray[np.float32]


def convolution(layer: FloatLayer, x: Array, weights: Array) -> Array:
    """Convolution without bias: windows laid out as rows (im2col), then one matrix product per image."""
    channels, kh, kw, depth = layer.filter
    stride = layer.options["stride_h"]
    matrix = weights.reshape(channels, -1).T
    if kh == kw == 1:
        x = x[:, ::stride, ::stride]
        rows: Array = x.reshape(-1, depth) @ matrix
        return rows.reshape(*x.shape[:3], channels)
    windows = _windows(layer, x, (kh, kw))
    out: Array = np.empty((*windows.shape[:3], channels), np.float32)
    for image, target in zip(windows, out):
        np.matmul(image.reshape(-1, kh * kw * depth), matrix, out=target.reshape(-1, channels))
    return out


def depthwise(layer: FloatLayer, x: Array, weights: Array) -> Array:
    """Depthwise convolution without bias: the shifted input times one row of weights, summed over the filter."""
    _, kh, kw, _ = layer.filter
    windows = _windows(layer, x, (kh, kw))
    out: Array = windows[:, :, :, 0, 0] * weights[0, 0, 0]
    product = np.empty_like(out)
    for position in range(1, kh * kw):
        i, j = divmod(position, kw)
        np.multiply(windows[:, :, :, i, j], weights[0, i, j], out=product)
        out += product
    return out


def dense(layer: FloatLayer, x: Array, weights: Array) -> Array:  # noqa: ARG001 (one signature for all)
    """Matrix product without bias."""
    out: Array = x @ weights.T
    return out


def _windows(layer: FloatLayer, x: Array, kernel: tuple[int, int], fill: float = 0.0) -> Array:
    """A view (N, out height, out width, kh, kw, channels) of the padded input."""
    stride, padding = layer.options["stride_h"], Padding(layer.options["padding"])
    borders = [(0, 0)] + [extent(x.shape[1 + i], kernel[i], stride, padding)[1:] for i in (0, 1)] + [(0, 0)]
    if any(map(any, borders)):
        x = np.pad(x, borders, constant_values=fill)
    views = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(1, 2))[:, ::stride, ::stride]
    return np.moveaxis(views, 3, 5)


def _reduce_windows(ufunc: np.ufunc, layer: FloatLayer, x: Array, fill: float) -> Array:
    """``ufunc`` over the elements of each pooling window."""
    kh, kw = layer.options["filter_height"], layer.options["filter_width"]
    windows = _windows(layer, x, (kh, kw), fill)
    out: Array = windows[:, :, :, 0, 0].copy()
    for position in range(1, kh * kw):
        ufunc(out, windows[:, :, :, position // kw, position % kw], out=out)
    return out


def _max_pool(layer: FloatLayer, x: Array) -> Array:
    return _reduce_windows(np.maximum, layer, x, -np.inf)


def _average_pool(layer: FloatLayer, x: Array) -> Array:
    cells = np.ones((1, *x.shape[1:3], 1), np.float32)
    return _reduce_windows(np.add, layer, x, 0) / _reduce_windows(np.add, layer, cells, 0)


def _add(layer: FloatLayer, a: Array, b: Array) -> Array:
    return activate(layer.activation, a + b)


def _concatenation(layer: FloatLayer, *parts: Array) -> Array:
    return np.concatenate(parts, layer.options["axis"])


def _pad(layer: FloatLayer, x: Array) -> Array:
    assert layer.constant is not None
    return np.pad(x, layer.constant)


def _mean(layer: FloatLayer, x: Array) -> Array:
    return np.asarray(x.mean(axis=(1, 2), keepdims=layer.options["keep_dims"]), np.float32)


def _reshape(layer: FloatLayer, x: Array) -> Array:
    return x.reshape(len(x), *layer.shape[1:])


def _upsample(layer: FloatLayer, x: Array) -> Array:
    factor = layer.shape[1] // x.shape[1]
    return x.repeat(factor, axis=1).repeat(factor, axis=2)


def _softmax(layer: FloatLayer, x: Array) -> Array:  # noqa: ARG001
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def _logistic(layer: FloatLayer, x: Array) -> Array:  # noqa: ARG001
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def _l2_normalization(layer: FloatLayer, x: Array) -> Array:  # noqa: ARG001
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6), np.float32)


def _mul(layer: FloatLayer, x: Array) -> Array:
    return np.asarray(x * np.float32(layer.factor), np.float32)


def activate(activation: Activation, x: Array) -> Array:
    """The activation function, in place."""
    if activation is Activation.RELU:
        np.maximum(x, 0, out=x)
    elif activation is Activation.RELU6:
        np.clip(x, 0, 6, out=x)
    return x


@dataclass(frozen=True, slots=True)
class OperatorKind:
    """A kind of layer: its option table, its version for int8 per-channel models, and how to compute it.

    ``linear`` is set for layers with weights (they compute without bias and activation), ``forward`` for the rest.
    ``same_scale``: inputs and outputs share scale and zero point; ``fixed``: the scale and zero point that the output
    must have (both from the TFLite 8-bit quantisation specification).
    """

    options_type: str
    version: int
    forward: Callable[..., Array] | None = None
    linear: Callable[[FloatLayer, Array, Array], Array] | None = None
    same_scale: bool = False
    fixed: tuple[float, int] | None = None


_PROBABILITY = (1 / 256, -128)


# Versions: what the TensorFlow converter writes for int8 (tensorflow/lite/tools/versioning/op_version.cc).
KINDS: Mapping[str, OperatorKind] = MappingProxyType(
    {
        "CONV_2D": OperatorKind("Conv2DOptions", 3, linear=convolution),
        "DEPTHWISE_CONV_2D": OperatorKind("DepthwiseConv2DOptions", 3, linear=depthwise),
        "FULLY_CONNECTED": OperatorKind("FullyConnectedOptions", 4, linear=dense),
        "ADD": OperatorKind("AddOptions", 2, _add),
        "CONCATENATION": OperatorKind("ConcatenationOptions", 2, _concatenation, same_scale=True),
        "PAD": OperatorKind("PadOptions", 2, _pad, same_scale=True),
        "MAX_POOL_2D": OperatorKind("Pool2DOptions", 2, _max_pool, same_scale=True),
        "AVERAGE_POOL_2D": OperatorKind("Pool2DOptions", 2, _average_pool, same_scale=True),
        "MEAN": OperatorKind("ReducerOptions", 2, _mean),
        "RESHAPE": OperatorKind("ReshapeOptions", 1, _reshape, same_scale=True),
        "RESIZE_NEAREST_NEIGHBOR": OperatorKind("ResizeNearestNeighborOptions", 3, _upsample, same_scale=True),
        "SOFTMAX": OperatorKind("SoftmaxOptions", 2, _softmax, fixed=_PROBABILITY),
        "LOGISTIC": OperatorKind("", 2, _logistic, fixed=_PROBABILITY),
        "L2_NORMALIZATION": OperatorKind("L2NormOptions", 2, _l2_normalization, fixed=(1 / 128, 0)),
        "MUL": OperatorKind("MulOptions", 2, _mul),
    }
)
