"""A trained linear layer → its 8-bit form with a softmax: what is appended to the extractor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.learning.layers import CONV_OPTIONS, FC_OPTIONS, Floats, Layers, affine, ranged
from atoll.model.graph import DType, Model, Quantization, Tensor


def softmax_head(
    embedding: Tensor,
    weights: npt.NDArray[Any],
    biases: npt.NDArray[Any],
    logits: tuple[float, float] | None,
) -> Model:
    """FULLY_CONNECTED, SOFTMAX for an embedding [1, d]; CONV_2D, RESHAPE, SOFTMAX for [1, 1, 1, d].

    ``weights`` (n, d) and ``biases`` (n,) are real values; ``logits`` is the range that training saw (None: the widest
    that the embedding can give).
    """
    rows, offsets = weights.astype(np.float64), biases.astype(np.float64)
    low, high = logits if logits is not None else _widest(embedding, rows, offsets)
    layers = Layers(embedding)
    output = ranged(low, high, embedding.dtype)
    scales = _weight_quantization(embedding, rows, offsets)
    if len(embedding.shape) == 4:
        layers.linear("trained/logits", "CONV_2D", rows, offsets, scales, output, CONV_OPTIONS)
        layers.reshape("trained/reshaped", (1, len(rows)))
    else:
        layers.linear("trained/logits", "FULLY_CONNECTED", rows, offsets, scales, output, FC_OPTIONS)
    layers.softmax("trained/scores")
    return layers.model()


def _weight_quantization(embedding: Tensor, rows: Floats, biases: Floats) -> Quantization:
    """int8: a scale for each class. uint8, which has no per-channel kernels: one range for all.

    The bias is an int32 of scale input · weights: where it would not fit, the weights' scale is made larger.
    """
    assert embedding.quantization is not None
    least = np.abs(biases) / (float(embedding.quantization.scale[0]) * 2**30)
    if embedding.dtype is DType.INT8:
        scales = np.maximum(np.abs(rows).max(axis=1) / 127, least)
        scales[scales == 0] = 1.0
        return affine(scales)
    q = ranged(float(rows.min()), float(rows.max()), embedding.dtype)
    scale = float(q.scale[0])
    return q if scale >= least.max() else affine(least.max(), 128)


def _widest(embedding: Tensor, rows: Floats, biases: Floats) -> tuple[float, float]:
    """The least and the greatest logit that any embedding of this type can give."""
    q = embedding.quantization
    assert q is not None
    limits = np.iinfo(embedding.dtype.numpy)
    ends = (np.array([limits.min, limits.max]) - int(q.zero_point[0])) * float(q.scale[0])
    products = np.stack([rows * ends[0], rows * ends[1]])
    low, high = products.min(axis=0).sum(axis=1) + biases, products.max(axis=0).sum(axis=1) + biases
    return float(low.min()), float(high.max())
