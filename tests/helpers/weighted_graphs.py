"""Graphs of one weighted operator, drawn by hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from atoll.model import Buffer, DType, Graph, Operator, Quantization, Tensor


def quantization(scales, zero_points) -> Quantization:
    return Quantization(np.array(scales, np.float32), np.array(zero_points, np.int64))


def constant(name: str, array: np.ndarray, quantized: Quantization | None = None) -> Tensor:
    dtype = {np.dtype("int8"): DType.INT8, np.dtype("uint8"): DType.UINT8, np.dtype("int32"): DType.INT32}
    buffer = Buffer(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return Tensor(name, array.shape, dtype[array.dtype], quantized, buffer)


def activation(name: str, shape: tuple[int, ...], scale: float = 0.5) -> Tensor:
    return Tensor(name, shape, DType.INT8, quantization([scale], [3]))


def one_layer(kind, source, weights, bias, target, scales, zero_points, **options) -> Graph:
    """``bias`` None leaves it out."""
    tensors = [activation("x", source, 0.7), constant("w", weights, quantization(scales, zero_points))]
    if bias is not None:
        tensors.append(constant("b", np.asarray(bias, np.int32)))
    tensors.append(activation("y", target, 0.3))
    last = len(tensors) - 1
    operator = Operator(kind, (0, 1, 2 if bias is not None else -1), (last,), options)
    return Graph(tuple(tensors), (operator,), (0,), (last,))


@st.composite
def layers(draw) -> Graph:
    """Any of the three kinds: signed or not, per tensor or per channel, with taps that touch only padding."""
    kind = draw(st.sampled_from(["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]))
    outputs = draw(st.sampled_from([1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 70, 128]))
    inputs = draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    if kind == "FULLY_CONNECTED":
        height, width = draw(st.sampled_from([(1, 1), (1, 3), (2, 2)]))
        source = (1, height, width, inputs) if draw(st.booleans()) else (1, height * width * inputs)
        shape, target, options = (outputs, height * width * inputs), (1, outputs), {}
    else:
        height, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        y, x, stride = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 2))
        depthwise = kind == "DEPTHWISE_CONV_2D"
        channels = draw(st.sampled_from([1, outputs])) if depthwise else inputs
        shape = (1, height, width, outputs) if depthwise else (outputs, height, width, inputs)
        source, target = (1, y, x, channels), (1, -(-y // stride), -(-x // stride), outputs)
        options = {"stride_h": stride, "stride_w": stride, "padding": 0}
    signed = draw(st.booleans())
    low, high, dtype = (-128, 128, np.int8) if signed else (0, 256, np.uint8)
    count = draw(st.sampled_from([1, outputs]))
    scales = random.uniform(0.01, 0.1, count) if draw(st.booleans()) else np.full(count, 0.05)
    zero_points = random.integers(low, high, count)
    weights = random.integers(low, high, shape).astype(dtype)
    bias = draw(st.sampled_from([None, np.zeros(outputs), random.integers(-(2**31), 2**31, outputs)]))
    return one_layer(kind, source, weights, bias, target, scales, zero_points, **options)
