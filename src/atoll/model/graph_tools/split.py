"""A fully connected layer → several smaller ones whose outputs are concatenated, or added."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from atoll.errors import UnsupportedModelError, UsageError
from atoll.model.edit import edited
from atoll.model.graph import Buffer, Graph, Model, Operator, Quantization, Tensor
from atoll.model.graph_tools.split_sum import split_sum

KINDS = ("FULLY_CONNECTED", "CONV_2D")
"""A fully connected layer is often written as a 1x1 convolution; output channels of any convolution can be split."""


def split_fc(
    model: Model,
    layer: str | None = None,
    ratios: Sequence[float] = (0.5,),
    over: Literal["outputs", "inputs"] = "outputs",
    max_steps: int = 1,
) -> Model:
    """Split a FULLY_CONNECTED (or CONV_2D) into blocks of its weights, one smaller layer for each.

    Over its outputs: the blocks' outputs are concatenated; every one is computed from the same numbers as before and
    keeps its scale, so the results are equal bit for bit. Over its inputs: the blocks' partial sums, rounded to 8 bits,
    are added; the results are equal within ``max_steps`` quantisation steps of the output, for any input.

    Args:
        model: The model; only operators that are not compiled yet can be split.
        layer: Name of the layer's output tensor; None: the FULLY_CONNECTED with the most weights.
        ratios: Share of the outputs (inputs) that each block but the last gets: 0.5 makes two halves.
        over: What to split.
        max_steps: The greatest difference allowed, from 1 on, when inputs are split.

    Raises:
        UsageError: there is no such layer, or the ratios leave a block without outputs (inputs).
        UnsupportedModelError: its weights are not constant, or sparse, or of less than 8 bits; or when its inputs are
            split, the weights are so large that the result could differ by more than ``max_steps``.
    """
    if max_steps < 1:
        raise UsageError(f"{max_steps} steps are allowed", "Rounding alone can make a difference of 1.")
    model = edited(model, lambda graph: graph)
    index = _find(model.main, layer)
    operator = model.main.operators[index]
    name = model.main.tensors[operator.outputs[0]].name
    count = _outputs(model.main, index)
    if over == "outputs":
        bounds = _bounds(count, ratios, over)
        return edited(model, lambda graph: _split(graph, _find(graph, name), bounds))
    bounds = _bounds(model.main.tensors[operator.inputs[1]].shape[-1], ratios, over)
    return edited(model, lambda graph: split_sum(graph, _find(graph, name), bounds, max_steps))


def _find(graph: Graph, layer: str | None) -> int:
    if layer is None:
        found = [n for n, operator in enumerate(graph.operators) if operator.kind == KINDS[0] and operator.outputs]
        if not found:
            raise UsageError("the model has no FULLY_CONNECTED operator", "Name the output tensor of a 1x1 CONV_2D.")
        return max(found, key=lambda n: _weight_bytes(graph, n))
    for n, operator in enumerate(graph.operators):
        if any(tensor.name == layer for tensor in graph.outputs_of(operator)):
            if operator.kind not in KINDS:
                raise UsageError(
                    f"{graph.where(n)} is not a fully connected layer", f"It must be {' or '.join(KINDS)}."
                )
            return n
    raise UsageError(f"no operator writes a tensor '{layer}'", "Name the output tensor of the layer.")


def _weight_bytes(graph: Graph, index: int) -> int:
    weights = graph.tensor_of(graph.operators[index], 1)
    return 0 if weights is None else weights.nbytes


def _outputs(graph: Graph, index: int) -> int:
    """How many outputs the layer has; its weights can be cut along them."""
    operator = graph.operators[index]
    weights, bias = graph.tensor_of(operator, 1), graph.tensor_of(operator, 2)
    for tensor in (weights, bias):
        if tensor is not None and (not tensor.is_constant or tensor.sparsity is not None or tensor.dtype.bits < 8):
            raise UnsupportedModelError(
                f"{graph.where(index)}: '{tensor.name}' is not constant, or sparse, or of less than 8 bits",
                "Only dense constant weights can be split.",
            )
    count = weights.shape[0] if weights is not None and weights.shape else 0
    shape = graph.tensors[operator.outputs[0]].shape
    if not shape or shape[-1] != count or (bias is not None and bias.shape != (count,)):
        raise UnsupportedModelError(f"{graph.where(index)} gives {list(shape)} from {count} rows of weights")
    if operator.options.get("weights_format", 0):
        raise UnsupportedModelError(f"{graph.where(index)} has shuffled weights", "Convert it without shuffling.")
    return count


def _bounds(count: int, ratios: Sequence[float], what: str) -> list[int]:
    """Where the blocks begin and end."""
    ends = [round(count * share) if math.isfinite(share) else -1 for share in itertools.accumulate(ratios)]
    bounds = [0, *ends, count]
    if any(end <= begin for begin, end in itertools.pairwise(bounds)):
        raise UsageError(
            f"the ratios {', '.join(map(str, ratios))} leave a block of the {count} {what} empty",
            "Give positive shares that sum up to less than 1.",
        )
    return bounds


def _split(graph: Graph, index: int, bounds: Sequence[int]) -> Graph:
    operator = graph.operators[index]
    output = graph.tensors[operator.outputs[0]]
    taken = {tensor.name for tensor in graph.tensors}
    tensors, blocks = list(graph.tensors), []

    def add(tensor: Tensor, begin: int, end: int, axis: int) -> int:
        part = _slice(tensor, begin, end, axis)
        name = f"{tensor.name}/{begin}_{end}"
        while name in taken:
            name += "_"
        taken.add(name)
        tensors.append(replace(part, name=name))
        return len(tensors) - 1

    for begin, end in itertools.pairwise(bounds):
        constants = [add(graph.tensors[i], begin, end, 0) if i >= 0 else -1 for i in operator.inputs[1:3]]
        result = add(output, begin, end, len(output.shape) - 1)
        inputs = (operator.inputs[0], *constants, *operator.inputs[3:])
        blocks.append(replace(operator, inputs=inputs, outputs=(result,)))
    options = {"axis": len(output.shape) - 1, "fused_activation_function": 0}
    parts = tuple(block.outputs[0] for block in blocks)
    # CONCATENATION takes int8 from version 2 on (TensorFlow Lite's op_version.cc).
    version = 2 if output.dtype.numpy_name == "int8" else 1
    whole = Operator("CONCATENATION", parts, operator.outputs, options, "ConcatenationOptions", version)
    operators = (*graph.operators[:index], *blocks, whole, *graph.operators[index + 1 :])
    return replace(graph, tensors=tuple(tensors), operators=operators)


def _slice(tensor: Tensor, begin: int, end: int, axis: int) -> Tensor:
    """Indices ``begin`` to ``end`` of an axis; constants are cut along their first axis, without a copy."""
    shape = (*tensor.shape[:axis], end - begin, *tensor.shape[axis + 1 :])
    buffer = None
    if tensor.buffer is not None:
        row = tensor.nbytes // tensor.shape[0]
        buffer = Buffer(tensor.buffer.data[begin * row : end * row])
    quantization = tensor.quantization
    if quantization is not None and quantization.per_channel and quantization.axis == axis:
        quantization = _slice_quantization(quantization, begin, end)
    return replace(tensor, shape=shape, shape_signature=(), buffer=buffer, quantization=quantization)


def _slice_quantization(q: Quantization, begin: int, end: int) -> Quantization:
    zero_point = q.zero_point if len(q.zero_point) == 1 else q.zero_point[begin:end]
    count = end - begin
    return Quantization(q.scale[begin:end], np.broadcast_to(zero_point, (count,)).copy(), q.axis)
