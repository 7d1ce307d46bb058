"""The float kernels equal their definition, written as loops over every output element."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.quantization.float_network import FloatLayer, Network, Padding
from atoll.quantization.kernels import KINDS, Array

SHAPES = st.tuples(st.integers(5, 9), st.integers(5, 9), st.integers(1, 3))
KERNELS = st.integers(1, 4)
STRIDES = st.integers(1, 3)
PADDINGS = st.sampled_from(Padding)


def windows(
    layer: FloatLayer, x: Array, kernel: tuple[int, int]
) -> dict[tuple[int, int], tuple[Array, tuple[slice, slice]]]:
    """Per output cell: the part of the window inside the image, and which part of the filter that is.

    SAME: the window that would reach furthest past the end is moved back by half of what it lacks (TensorFlow's rule).
    """
    stride = layer.options["stride_h"]
    before = [0, 0]
    if layer.options["padding"] == Padding.SAME:
        for i in (0, 1):
            lacking = (layer.shape[1 + i] - 1) * stride + kernel[i] - x.shape[1 + i]
            before[i] = max(lacking, 0) // 2
    found = {}
    for r in range(layer.shape[1]):
        for c in range(layer.shape[2]):
            top, left = r * stride - before[0], c * stride - before[1]
            rows = slice(max(top, 0), min(top + kernel[0], x.shape[1]))
            columns = slice(max(left, 0), min(left + kernel[1], x.shape[2]))
            part = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
            found[r, c] = x[:, rows, columns], part
    return found


def numbers(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.tuples(KERNELS, KERNELS), STRIDES, PADDINGS)
def test_convolution(shape: tuple[int, int, int], kernel: tuple[int, int], stride: int, padding: Padding) -> None:
    net = Network("net", shape)
    layer = net.conv(net.input, "conv", 4, kernel, stride, padding=padding)
    x, weights = numbers(2, *shape), numbers(*layer.filter)
    kind = KINDS[layer.kind]
    assert kind.linear is not None
    out = kind.linear(layer, x, weights)
    assert out.shape == (2, *layer.shape[1:])
    for (r, c), (window, part) in windows(layer, x, kernel).items():
        expected = np.einsum("nhwi,ohwi->no", window, weights[:, part[0], part[1]])
        np.testing.assert_allclose(out[:, r, c], expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(SHAPES, KERNELS, STRIDES)
def test_depthwise_convolution(shape: tuple[int, int, int], kernel: int, stride: int) -> None:
    net = Network("net", shape)
    layer = net.depthwise(net.input, "conv", kernel, stride)
    x, weights = numbers(2, *shape), numbers(*layer.filter)
    kind = KINDS[layer.kind]
    assert kind.linear is not None
    out = kind.linear(layer, x, weights)
    for (r, c), (window, part) in windows(layer, x, (kernel, kernel)).items():
        expected = (window * weights[0, part[0], part[1]]).sum(axis=(1, 2))
        np.testing.assert_allclose(out[:, r, c], expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(SHAPES, KERNELS, STRIDES, PADDINGS)
def test_pooling_leaves_padding_out(shape: tuple[int, int, int], kernel: int, stride: int, padding: Padding) -> None:
    net = Network("net", shape)
    layers = (
        net.max_pool(net.input, "max", kernel, stride, padding),
        net.average_pool(net.input, "average", kernel, stride, padding),
    )
    x = numbers(2, *shape)
    for layer, reduce in zip(layers, (np.max, np.mean)):
        forward = KINDS[layer.kind].forward
        assert forward is not None
        out = forward(layer, x)
        assert out.shape == (2, *layer.shape[1:])
        for (r, c), (window, _) in windows(layer, x, (kernel, kernel)).items():
            np.testing.assert_allclose(out[:, r, c], reduce(window, axis=(1, 2)), rtol=1e-4, atol=1e-5)
