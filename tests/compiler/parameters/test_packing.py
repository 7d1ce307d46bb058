"""Packed bytes lie where the layout's formulas put them, and unpacking gives the constants back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings

from atoll.compiler.parameters import layout_of, pack_layer, parameter_size
from atoll.compiler.parameters.layout import Form, Layout, touching_taps
from atoll.compiler.parameters.unpack import unpack_layer
from atoll.errors import CorruptPackageError, UnsupportedModelError
from atoll.hardware.generations import generation
from atoll.model import Graph, Operator
from weighted_graphs import activation, layers, one_layer


def up4(value: int) -> int:
    return -(-value // 4) * 4


def stored_byte(value: int, signed: bool) -> int:
    return value + 128 if signed else value


def expected(graph: Graph, layout: Layout) -> dict[int, int]:
    """Byte at every offset that holds a real weight, by the formulas of facts/parameters.md, one at a time."""
    weights = graph.tensors[1].array
    lanes, header, taps = layout.lanes, 4 * layout.header_words, layout.taps
    found: dict[int, int] = {}
    for o in range(layout.outputs):
        for n, (ky, kx) in enumerate((ky, kx) for ky in layout.rows for kx in layout.columns):
            if layout.form is Form.DEPTHWISE:
                start = (o // 4) * (4 * header + 16 * taps) + 4 * header
                found[start + 16 * n + 5 * (o % 4)] = stored_byte(int(weights[0, ky, kx, o]), layout.signed)
                continue
            block = lanes * (header + taps * layout.padded_inputs)
            start = (o // lanes) * block + lanes * header
            for p in range(layout.spatial_positions):
                for c in range(layout.inputs):
                    i = p * up4(layout.inputs) + c
                    place = {
                        Form.CONVOLUTION: (o, ky, kx, c),
                        Form.SINGLE_CHANNEL: (0, ky, kx, o),
                        Form.FULLY_CONNECTED: (o, p * layout.inputs + c),
                    }[layout.form]
                    offset = ((i // 4) * taps + n) * 4 * lanes + (o % lanes) * 4 + i % 4
                    found[start + offset] = stored_byte(int(weights[place]), layout.signed)
    return found


@settings(deadline=None, max_examples=60)
@given(layers())
def test_every_weight_lies_where_the_formula_says(graph):
    operator = graph.operators[0]
    packed, layout = pack_layer(graph, operator), layout_of(graph, operator)
    places = expected(graph, layout)
    at = np.fromiter(places.keys(), np.int64)
    np.testing.assert_array_equal(packed[at], np.fromiter(places.values(), np.uint8))


@settings(deadline=None, max_examples=60)
@given(layers())
def test_size_is_the_rule_of_the_table(graph):
    operator = graph.operators[0]
    layout, packed = layout_of(graph, operator), pack_layer(graph, operator)
    header = 4 * (layout.has_scale + layout.has_bias + layout.has_zero_point)
    if layout.form is Form.DEPTHWISE:
        size = up4(layout.outputs) * (header + 4 * layout.taps)
    else:
        size = layout.lanes * layout.blocks * (header + layout.taps * layout.padded_inputs)
    assert len(packed) == parameter_size(graph, operator).nbytes == -(-size // 64) * 64


@settings(deadline=None, max_examples=60)
@given(layers())
def test_unpacking_is_the_inverse(graph):
    operator, weights = graph.operators[0], graph.tensors[1]
    layout = layout_of(graph, operator)
    unpacked = unpack_layer(pack_layer(graph, operator), layout, int(weights.quantization.zero_point[0]))
    assert unpacked.weights.dtype == weights.array.dtype
    kept = np.zeros(layout.kernel, bool)
    kept[np.ix_(layout.rows, layout.columns)] = True
    if layout.form is Form.FULLY_CONNECTED:
        np.testing.assert_array_equal(unpacked.weights, weights.array)
    else:
        np.testing.assert_array_equal(unpacked.weights[:, kept], weights.array[:, kept])
        zeros = np.broadcast_to(weights.quantization.zero_point, (layout.outputs,))
        rest = unpacked.weights[:, ~kept]  # [outputs or 1, positions, inputs or outputs]
        zeros = zeros[:, None, None] if layout.form is Form.CONVOLUTION else zeros[None, None]
        np.testing.assert_array_equal(rest, np.broadcast_to(zeros, rest.shape))
    bias = graph.tensor_of(operator, 2)
    np.testing.assert_array_equal(unpacked.bias, 0 if bias is None else bias.array)
    if layout.has_scale:
        factor = np.float32(1) / np.float32(0.3)
        products = np.float32(0.7) * weights.quantization.scale
        np.testing.assert_array_equal(unpacked.multipliers, products * factor)


@settings(deadline=None, max_examples=60)
@given(layers())
def test_packing_what_was_unpacked_gives_the_same_bytes(graph):
    """The packed form is complete: nothing that the chip reads is lost on the way back."""
    operator, weights = graph.operators[0], graph.tensors[1]
    layout, packed = layout_of(graph, operator), pack_layer(graph, operator)
    back = unpack_layer(packed, layout, int(weights.quantization.zero_point[0]))
    again = one_layer(
        operator.kind, graph.tensors[0].shape, back.weights, back.bias, graph.tensors[-1].shape,
        weights.quantization.scale, weights.quantization.zero_point, **operator.options,
    )  # fmt: skip
    np.testing.assert_array_equal(pack_layer(again, again.operators[0]), packed)


def test_padding_of_a_layer_of_several_blocks():
    """66 per-channel outputs: lanes 66 and 67 repeat channel 0, lanes from 68 on hold scale 1.0 and zeros."""
    weights = np.full((66, 1, 1, 1), 7, np.int8)
    scales = np.linspace(0.01, 0.02, 66)
    zero_points = np.arange(66)
    graph = one_layer("CONV_2D", (1, 1, 1, 1), weights, np.arange(66), (1, 1, 1, 66), scales, zero_points)
    words = pack_layer(graph, graph.operators[0]).view("<u4").reshape(2, 4, 64)[1]
    scale, bias, zero, stored = words
    first = np.float32(0.7) * np.float32(0.01) * (np.float32(1) / np.float32(0.3))
    assert scale.view(np.float32)[2:4].tolist() == [first, first]
    assert scale.view(np.float32)[4:].tolist() == [1.0] * 60
    assert bias[:2].tolist() == [64, 65]
    assert not bias[2:].any()
    assert zero[2:].tolist() == [128, 128] + [0] * 60
    # One input channel of 7, the other three bytes hold the channel's zero point.
    assert stored.tobytes()[:16] == bytes([135, 192, 192, 192, 135, 193, 193, 193] + [128] * 8)
    assert not stored[4:].any()


@pytest.mark.parametrize(
    ("axis", "taps"),
    [
        ((2, 1, 3, 2, 1, True), (0, 1)),  # 3×3 stride 2 SAME on a 2×2 map keeps 4 of 9 (facts/parameters.md)
        ((1, 1, 3, 1, 1, True), (1,)),
        ((3, 1, 3, 1, 1, False), (0, 1, 2)),
        ((5, 5, 3, 1, 4, True), (0, 1, 2)),
        ((4, 4, 3, 1, 4, True), (1,)),  # dilated so far that the outer taps always miss
    ],
)
def test_taps_that_touch_input(axis, taps):
    assert touching_taps(*axis) == taps


@pytest.mark.parametrize(("outputs", "lanes"), [(1, 4), (2, 16), (3, 4), (4, 4), (5, 16), (17, 32), (64, 64)])
def test_lanes_of_small_convolutions(outputs, lanes):
    shape = (outputs, 1, 1, 1)
    graph = one_layer("CONV_2D", (1, 1, 1, 1), np.zeros(shape, np.int8), None, (1, 1, 1, outputs), [1], [0])
    assert layout_of(graph, graph.operators[0]).lanes == lanes


def test_only_older_compilers_keep_a_bias_of_zeros():
    graph = one_layer("CONV_2D", (1, 1, 1, 4), np.ones((16, 1, 1, 4), np.int8), [0] * 16, (1, 1, 1, 16), [1], [0])
    operator = graph.operators[0]
    assert parameter_size(graph, operator, generation("16")).nbytes == 64
    assert parameter_size(graph, operator, generation("15")).nbytes == 128
    assert not pack_layer(graph, operator, generation("15"))[:64].any()


def test_a_blob_that_is_too_short_is_refused():
    graph = one_layer("FULLY_CONNECTED", (1, 4), np.ones((16, 4), np.int8), [1] * 16, (1, 16), [1], [0])
    packed, layout = pack_layer(graph, graph.operators[0]), layout_of(graph, graph.operators[0])
    with pytest.raises(CorruptPackageError, match="128 parameter bytes has only 127"):
        unpack_layer(packed[:-1].tobytes(), layout)


def test_a_bias_of_the_wrong_length_and_a_missing_scale_are_refused():
    weights = np.ones((8, 4), np.int8)
    short = one_layer("FULLY_CONNECTED", (1, 4), weights, [1] * 7, (1, 8), [1], [0])
    with pytest.raises(UnsupportedModelError, match="bias 'b' is not a constant of 8 int32 values"):
        pack_layer(short, short.operators[0])
    scales = np.linspace(1, 2, 8)
    graph = one_layer("FULLY_CONNECTED", (1, 4), weights, [1] * 8, (1, 8), scales, [0] * 8)
    source = dataclasses.replace(graph.tensors[0], quantization=None)
    unscaled = dataclasses.replace(graph, tensors=(source, *graph.tensors[1:]))
    with pytest.raises(UnsupportedModelError, match="'x' has no scale above zero"):
        pack_layer(unscaled, unscaled.operators[0])


def test_a_layout_needs_no_constants():
    """The blob alone is enough to run: a graph without weights and biases has the same layout."""
    graph = one_layer("CONV_2D", (1, 2, 2, 4), np.ones((8, 1, 1, 4), np.int8), [1] * 8, (1, 2, 2, 8), [1], [0])
    bare = dataclasses.replace(graph, tensors=tuple(dataclasses.replace(t, buffer=None) for t in graph.tensors))
    operator = graph.operators[0]
    assert layout_of(bare, operator, has_bias=True) == layout_of(graph, operator)


def test_computed_and_float_weights_are_refused():
    computed = Graph(
        (activation("x", (1, 4)), activation("w", (8, 4)), activation("y", (1, 8))),
        (Operator("FULLY_CONNECTED", (0, 1, -1), (2,)),),
        (0, 1),
        (2,),
    )
    with pytest.raises(UnsupportedModelError, match="'w' are computed"):
        pack_layer(computed, computed.operators[0])
    wide = one_layer("FULLY_CONNECTED", (1, 4), np.ones((8, 4), np.int32), None, (1, 8), [1], [0])
    with pytest.raises(UnsupportedModelError, match="'w' are INT32"):
        pack_layer(wide, wide.operators[0])
