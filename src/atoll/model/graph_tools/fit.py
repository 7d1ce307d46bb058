"""Two tensors → whether the bytes of one mean the same in the place of the other."""

from __future__ import annotations

import numpy as np

from atoll.errors import InputError, UsageError
from atoll.model.graph import Graph, Tensor


def describe(tensor: Tensor) -> str:
    """How messages show a tensor: ``'x' int8 [1, 8, 8, 4] scale 0.05 zero point 3``."""
    text = f"'{tensor.name}' {tensor.dtype.name.lower()} {list(tensor.shape)}"
    if tensor.quantization is None or not len(tensor.quantization.scale):
        return text
    q = tensor.quantization
    if len(q.scale) > 1:
        return f"{text} with {len(q.scale)} scales"
    return f"{text} scale {q.scale[0]:.9g} zero point {q.zero_point[0]}"


def require_fit(source: Tensor, target: Tensor, what: str) -> None:
    """Both must have one shape, element type, scale and zero point.

    Raises:
        InputError: names both tensors with shapes and scales; ``what`` begins the message.
    """
    if (source.shape, source.dtype) != (target.shape, target.dtype):
        hint = "Shapes and element types must be equal."
    elif not _same_quantization(source, target):
        hint = "Scales and zero points must be equal: quantise both with the same range."
    else:
        return
    raise InputError(f"{what}: {describe(source)} does not fit {describe(target)}", hint)


def _same_quantization(a: Tensor, b: Tensor) -> bool:
    (a_scale, a_zero), (b_scale, b_zero) = _parameters(a), _parameters(b)
    return np.array_equal(a_scale, b_scale) and np.array_equal(a_zero, b_zero)


def _parameters(tensor: Tensor) -> tuple[list[float], list[int]]:
    q = tensor.quantization
    return ([], []) if q is None or not len(q.scale) else (q.scale.tolist(), q.zero_point.tolist())


def named(graph: Graph, indices: tuple[int, ...], name: str, what: str) -> int:
    """The one of ``indices`` whose tensor is called ``name``; UsageError when there is none (``what``: inputs, ...)."""
    for index in indices:
        if graph.tensors[index].name == name:
            return index
    known = ", ".join(f"'{graph.tensors[i].name}'" for i in indices) or "none"
    raise UsageError(f"the model has no {what} '{name}'", f"It has: {known}.")
