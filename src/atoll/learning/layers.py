"""Layers on the host, one after the other → a small 8-bit model that can be joined to an embedding extractor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.model.graph import Buffer, DType, Graph, Model, Operator, Quantization, Tensor

Floats = npt.NDArray[np.float64]

OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "MUL": "MulOptions",
    "RESHAPE": "ReshapeOptions",
    "SOFTMAX": "SoftmaxOptions",
}
INT8_VERSIONS = {"CONV_2D": 3, "FULLY_CONNECTED": 4, "L2_NORMALIZATION": 2, "MUL": 2, "RESHAPE": 1, "SOFTMAX": 2}
"""The first operator versions that take int8 (TensorFlow Lite's ``op_version.cc``); uint8 is version 1."""

ZERO_POINT = {DType.UINT8: 128, DType.INT8: 0}
"""What stands for zero where a range is symmetric."""


def affine(scale: Any, zero_point: int | npt.NDArray[np.int64] = 0) -> Quantization:
    """Per-tensor quantisation for one scale, per-channel along axis 0 for several."""
    scales = np.atleast_1d(np.asarray(scale, np.float32))
    return Quantization(scales, np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape).copy())


def symmetric(limit: float, dtype: DType) -> Quantization:
    """Scale limit / 128 and the middle as zero point: [-limit, limit] as the vendor's models store it."""
    return affine(limit / 128, ZERO_POINT[dtype])


def ranged(low: float, high: float, dtype: DType) -> Quantization:
    """The finest quantisation that covers [low, high] and has an exact zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    least = int(np.iinfo(dtype.numpy).min)
    return affine(scale, least + round(-low / scale))


def quantise(values: Floats, q: Quantization, dtype: DType) -> npt.NDArray[Any]:
    """Stored integers for real values (first axis: the channel where ``q`` is per channel), clipped to the type."""
    shape = (-1, *[1] * (values.ndim - 1)) if q.per_channel else (1,) * values.ndim
    stored = np.rint(values / q.scale.astype(np.float64).reshape(shape)) + q.zero_point.reshape(shape)
    limits = np.iinfo(dtype.numpy)
    return np.clip(stored, limits.min, limits.max).astype(dtype.numpy)


def real(tensor: Tensor) -> Floats:
    """The real values of an 8-bit constant; first axis: the channel where it is quantised per channel."""
    q = tensor.quantization
    assert q is not None
    shape = (-1, *[1] * (len(tensor.shape) - 1)) if q.per_channel else (1,) * len(tensor.shape)
    return (tensor.array.astype(np.float64) - q.zero_point.reshape(shape)) * q.scale.astype(np.float64).reshape(shape)


class Layers:
    """A chain of operators being declared; :meth:`model` is the result."""

    def __init__(self, source: Tensor) -> None:
        """``source``: the tensor that the first layer reads, 8-bit quantised."""
        self._tensors = [source]
        self._operators: list[Operator] = []
        self._last = 0

    def constant(self, name: str, values: npt.NDArray[Any], quantization: Quantization | None = None) -> int:
        """Add a constant; the value is its index, for :meth:`layer`."""
        dtype = next(kind for kind in DType if kind.numpy_name == values.dtype.name)
        buffer = Buffer(np.frombuffer(values.tobytes(), np.uint8))
        self._tensors.append(Tensor(name, values.shape, dtype, quantization, buffer))
        return len(self._tensors) - 1

    def layer(
        self,
        kind: str,
        name: str,
        shape: tuple[int, ...],
        quantization: Quantization | None,
        *constants: int,
        options: Mapping[str, Any],
        version: int = 0,
    ) -> None:
        """Add an operator that reads the last output and ``constants``; its output has the type of the source."""
        dtype = self._tensors[0].dtype
        self._tensors.append(Tensor(name, shape, dtype, quantization))
        output = len(self._tensors) - 1
        version = version or (INT8_VERSIONS[kind] if dtype is DType.INT8 else 1)
        self._operators.append(Operator(kind, (self._last, *constants), (output,), options, OPTIONS[kind], version))
        self._last = output

    def linear(
        self,
        name: str,
        kind: str,
        weights: Floats,
        bias: Floats,
        weight_quantization: Quantization,
        output: Quantization,
        options: Mapping[str, Any],
    ) -> None:
        """A CONV_2D with a 1x1 kernel, or a FULLY_CONNECTED: ``weights`` (n, d), ``bias`` (n,), real values."""
        source = self._tensors[self._last]
        assert source.quantization is not None
        count, dim = weights.shape
        convolution = kind == "CONV_2D"
        stored = quantise(weights, weight_quantization, source.dtype)
        scales = source.quantization.scale[0].astype(np.float64) * weight_quantization.scale.astype(np.float64)
        weights_index = self.constant(
            f"{name}/weights", stored.reshape((count, 1, 1, dim) if convolution else (count, dim)), weight_quantization
        )
        bias_index = self.constant(f"{name}/bias", np.rint(bias / scales).astype(np.int32), affine(scales))
        shape = (1, 1, 1, count) if convolution else (1, count)
        version = 12 if weight_quantization.per_channel and not convolution else 0
        self.layer(kind, name, shape, output, weights_index, bias_index, options=options, version=version)

    def reshape(self, name: str, shape: tuple[int, ...]) -> None:
        """The same elements in another shape."""
        target = np.array(shape, np.int32)
        index = self.constant(f"{name}/shape", target)
        quantization = self._tensors[self._last].quantization
        self.layer("RESHAPE", name, shape, quantization, index, options={"new_shape": target})

    def softmax(self, name: str, beta: float = 1.0) -> None:
        """Softmax of ``beta`` times the last output; its scale is 1/256, as the kernels require."""
        last = self._tensors[self._last]
        least = int(np.iinfo(last.dtype.numpy).min)
        self.layer("SOFTMAX", name, last.shape, affine(1 / 256, least), options={"beta": beta})

    def model(self) -> Model:
        """The chain as a model with one input and one output."""
        return Model((Graph(tuple(self._tensors), tuple(self._operators), (0,), (self._last,), "main"),))


CONV_OPTIONS: Mapping[str, Any] = {
    "padding": 1,  # VALID
    "stride_w": 1,
    "stride_h": 1,
    "fused_activation_function": 0,
}
FC_OPTIONS: Mapping[str, Any] = {
    "fused_activation_function": 0,
    "weights_format": 0,
    "keep_num_dims": False,
    "asymmetric_quantize_inputs": False,
}
