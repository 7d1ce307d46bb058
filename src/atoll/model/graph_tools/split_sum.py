"""A fully connected layer → several over parts of its inputs, whose outputs are added.

Every partial sum is rounded to 8 bits, so the result may differ from the original's. How much it can differ at most
follows from the weights: the range of each partial sum is known exactly, the range gives its scale, and half a step of
every scale is what rounding costs. Layers for which this is more than allowed are refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.errors import UnsupportedModelError
from atoll.model.graph import Buffer, DType, Graph, Operator, Quantization, Tensor

Reals = npt.NDArray[np.float64]

_KERNEL_SLACK = 1e-3
"""Steps by which a kernel's fixed-point multipliers (31 bits; ADD: 20 bits) miss the real quotient of scales."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A linear layer; weights are (outputs, ..., inputs)."""

    operator: Operator
    source: Tensor
    output: Tensor
    stored: Tensor
    bias: Tensor | None
    unit: Reals
    """Per output: scale of the input times scale of the weights, what one product is a multiple of."""

    def limits(self, begin: int, end: int) -> tuple[float, float]:
        """The least and greatest sum over inputs ``begin`` to ``end`` (bias with the first), of any output."""
        source, weights = self.source.quantization, self.stored.quantization
        assert source is not None and weights is not None
        numbers, zero = np.iinfo(self.source.dtype.numpy), int(source.zero_point[0])
        least, most = int(numbers.min) - zero, int(numbers.max) - zero
        rows = self.stored.array[..., begin:end].reshape(len(self.unit), -1).astype(np.int32)
        rows -= np.broadcast_to(weights.zero_point, self.unit.shape).astype(np.int32)[:, None]
        positive, negative = (f(rows, 0).sum(1, dtype=np.int64) for f in (np.maximum, np.minimum))
        below, above = least * positive + most * negative, most * positive + least * negative
        if not begin and self.bias is not None:
            below, above = below + self.bias.array, above + self.bias.array
        return float((below * self.unit).min()), float((above * self.unit).max())


def split_sum(graph: Graph, index: int, bounds: Sequence[int], most: int) -> Graph:
    """Split operator ``index`` at the inputs ``bounds``; the result differs by ``most`` steps of the output at most.

    Raises:
        UnsupportedModelError: it is not quantised to 8 bits, or the bound is larger than that.
    """
    layer = _layer(graph, index)
    limits = [layer.limits(begin, end) for begin, end in itertools.pairwise(bounds)]
    least_step = float(layer.unit.max())
    parts = [_covering(*limit, layer.output.dtype, least_step) for limit in limits]
    totals = list(itertools.accumulate(limits, lambda a, b: (a[0] + b[0], a[1] + b[1])))[1:-1]
    sums = [_covering(*limit, layer.output.dtype, least_step) for limit in totals]
    error = _error(layer, parts, sums)
    if math.floor(error + 1) > most:
        raise UnsupportedModelError(
            f"{graph.where(index)}: added over its inputs, the result could differ by {math.floor(error + 1)} steps, "
            f"{most} allowed: partial sums range from {min(a for a, _ in limits):.4g} to "
            f"{max(b for _, b in limits):.4g}, and one step of the output is {_scale(layer.output):.4g}",
            "Split its outputs instead: that changes nothing. Or allow more steps.",
        )
    return _rewritten(graph, index, layer, bounds, parts, sums)


def _error(layer: _Layer, parts: Sequence[Quantization], sums: Sequence[Quantization]) -> float:
    """Greatest distance of the two results before their last rounding, in steps of the output.

    A rounding costs half a step; kernels that round twice (gemmlowp's doubling high multiply, then a shift) cost
    another half unit of what they multiply, which is one product of the layer at most.
    """
    step = _scale(layer.output)
    unit = float(layer.unit.max())
    rounded = sum((0.5 + _KERNEL_SLACK) * float(q.scale[0]) + unit for q in parts)
    rounded += sum((0.5 + _KERNEL_SLACK) * float(q.scale[0]) for q in sums)
    return (rounded + unit) / step + 2 * _KERNEL_SLACK


def _layer(graph: Graph, index: int) -> _Layer:
    operator = graph.operators[index]
    source, stored, bias = (graph.tensor_of(operator, position) for position in range(3))
    output = graph.tensors[operator.outputs[0]]
    for tensor in (source, stored, output):
        if tensor is None or tensor.dtype not in (DType.INT8, DType.UINT8) or not _usable(tensor, tensor is stored):
            name = f"'{tensor.name}'" if tensor else "an operand"
            raise UnsupportedModelError(
                f"{graph.where(index)}: {name} is not quantised to 8 bits", "Only its outputs can be split."
            )
    assert source is not None and stored is not None and stored.quantization is not None
    if source.shape[-1:] != stored.shape[-1:] or output.dtype is not source.dtype:
        raise UnsupportedModelError(
            f"{graph.where(index)} takes {list(source.shape)} to weights {list(stored.shape)}",
            "Its input must have the type of the output, and one number per column of the weights.",
        )
    unit = np.broadcast_to(stored.quantization.scale.astype(np.float64) * _scale(source), stored.shape[:1])
    return _Layer(operator, source, output, stored, bias, unit)


def _usable(tensor: Tensor, per_channel: bool) -> bool:
    q = tensor.quantization
    if q is None or not len(q.scale) or (len(q.scale) > 1 and not (per_channel and q.axis == 0)):
        return False
    counted = len(q.scale) in (1, tensor.shape[0]) and len(q.zero_point) in (1, len(q.scale))
    limits = np.iinfo(tensor.dtype.numpy)
    inside = bool((q.zero_point >= limits.min).all() and (q.zero_point <= limits.max).all())
    return counted and inside and bool((np.isfinite(q.scale) & (q.scale > 0)).all())


def _scale(tensor: Tensor) -> float:
    assert tensor.quantization is not None
    return float(tensor.quantization.scale[0])


def _covering(low: float, high: float, dtype: DType, least_step: float) -> Quantization:
    """The finest quantisation with an exact zero that no number of [low, high] leaves; no finer than ``least_step``."""
    low, high = min(low, 0.0), max(high, 0.0)
    # One of the 255 steps is given up for the zero point, which has to be whole. float32 must not round down.
    scale = np.nextafter(np.float32(max((high - low) / 254, least_step)), np.float32(np.inf))
    zero = int(np.iinfo(dtype.numpy).min) + math.ceil(-low / float(scale))
    return Quantization(np.array([scale], np.float32), np.array([zero], np.int64))


def _rewritten(
    graph: Graph,
    index: int,
    layer: _Layer,
    bounds: Sequence[int],
    parts: Sequence[Quantization],
    sums: Sequence[Quantization],
) -> Graph:
    """Slices of the input, a layer for each, and additions; the last one has the layer's output and activation."""
    tensors, operators = list(graph.tensors), list[Operator]()
    taken = {tensor.name for tensor in tensors}
    name, shape = layer.output.name, layer.output.shape
    signed = layer.output.dtype is DType.INT8

    def add(tensor: Tensor) -> int:
        unique = tensor.name
        while unique in taken:
            unique += "_"
        taken.add(unique)
        tensors.append(replace(tensor, name=unique))
        return len(tensors) - 1

    partial = []
    for (begin, end), q in zip(itertools.pairwise(bounds), parts):
        suffix = f"{begin}_{end}"
        sliced = _slice_input(layer, begin, end, add, operators)
        weights = add(_columns(layer.stored, begin, end))
        constants = (weights,) if layer.bias is None else (weights, _bias(layer, begin, suffix, add))
        result = add(Tensor(f"{name}/inputs_{suffix}", shape, layer.output.dtype, q))
        options = {**layer.operator.options, "fused_activation_function": 0}
        operators.append(replace(layer.operator, inputs=(sliced, *constants), outputs=(result,), options=options))
        partial.append(result)
    total = partial[0]
    activation = int(layer.operator.options.get("fused_activation_function", 0))
    for number, following in enumerate(partial[1:], start=1):
        last = number == len(partial) - 1
        target = layer.operator.outputs[0]
        if not last:
            target = add(Tensor(f"{name}/sum_{number}", shape, layer.output.dtype, sums[number - 1]))
        options = {"fused_activation_function": activation if last else 0, "pot_scale_int16": True}
        # ADD takes int8 from version 2 on (TensorFlow Lite's op_version.cc).
        operators.append(Operator("ADD", (total, following), (target,), options, "AddOptions", 1 + signed))
        total = target
    new = (*graph.operators[:index], *operators, *graph.operators[index + 1 :])
    return replace(graph, tensors=tuple(tensors), operators=new)


def _slice_input(layer: _Layer, begin: int, end: int, add: Callable[[Tensor], int], operators: list[Operator]) -> int:
    source, rank = layer.source, len(layer.source.shape)
    shape = (*source.shape[:-1], end - begin)
    starts = _constant(f"{source.name}/begin_{begin}", np.array([0] * (rank - 1) + [begin], np.int32))
    sizes = _constant(f"{source.name}/size_{end - begin}", np.array(shape, np.int32))
    result = add(replace(source, name=f"{source.name}/{begin}_{end}", shape=shape, shape_signature=(), buffer=None))
    inputs = (layer.operator.inputs[0], add(starts), add(sizes))
    # SLICE takes int8 from version 2 on (TensorFlow Lite's op_version.cc).
    version = 1 + (source.dtype is DType.INT8)
    operators.append(Operator("SLICE", inputs, (result,), {}, "SliceOptions", version))
    return result


def _columns(stored: Tensor, begin: int, end: int) -> Tensor:
    """Weights of some inputs: their last axis is cut, scales are per output."""
    values = np.ascontiguousarray(stored.array[..., begin:end])
    buffer = Buffer(values.reshape(-1).view(np.uint8))
    return replace(stored, name=f"{stored.name}/inputs_{begin}_{end}", shape=values.shape, buffer=buffer)


def _bias(layer: _Layer, begin: int, suffix: str, add: Callable[[Tensor], int]) -> int:
    """The bias goes to the first block; the others add nothing."""
    assert layer.bias is not None
    if not begin:
        return layer.operator.inputs[2]
    zeros = Buffer(np.zeros(layer.bias.nbytes, np.uint8))
    return add(replace(layer.bias, name=f"{layer.bias.name}/{suffix}", buffer=zeros))


def _constant(name: str, values: npt.NDArray[Any]) -> Tensor:
    return Tensor(name, values.shape, DType.INT32, None, Buffer(values.view(np.uint8)))
