"""A model → text, the same text for the same model: constants by digest, everything else in full."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from atoll.model.graph import Buffer, Model, Operator, Tensor


def dump(model: Model) -> str:
    """The model as text; two models with equal dumps are the same model (shared buffers included)."""
    return "\n".join(_lines(model)) + "\n"


def _lines(model: Model) -> Iterator[str]:
    shared: dict[Buffer, int] = {}

    def buffer(item: Buffer | None) -> str:
        if item is None:
            return ""
        number = shared.setdefault(item, len(shared))
        return f" buffer {number} {len(item.data)} bytes {_digest(item.data)}"

    yield f"model version {model.version} '{model.description}'"
    for graph in model.graphs:
        yield f"graph '{graph.name}' inputs {_list(graph.inputs)} outputs {_list(graph.outputs)}"
        for index, tensor in enumerate(graph.tensors):
            yield f"  %{index} {_tensor(tensor)}{buffer(tensor.buffer)}"
        for index in range(len(graph.operators)):
            yield f"  {_operator(graph.operators[index], index)}"
    for signature in model.signatures:
        ends = f"{dict(signature.inputs)} -> {dict(signature.outputs)}"
        yield f"signature '{signature.key}' graph {signature.graph} {ends}"
    for name, item in model.metadata:
        yield f"metadata '{name}'{buffer(item)}"
    for item in model.unnamed_metadata:
        yield f"metadata{buffer(item)}"
    if model.appendix is not None:
        yield f"appendix{buffer(model.appendix)}"


def _tensor(tensor: Tensor) -> str:
    words = [f"'{tensor.name}'", tensor.dtype.name.lower(), str(list(tensor.shape))]
    if tensor.shape_signature:
        words.append(f"signature {list(tensor.shape_signature)}")
    words += [name for name in ("is_variable", "has_rank") if getattr(tensor, name)]
    if (q := tensor.quantization) is not None:
        words.append(f"scale {_numbers(q.scale)} zero {_numbers(q.zero_point)} axis {q.axis}")
        words += [f"{n} {_numbers(getattr(q, n))}" for n in ("minimum", "maximum") if getattr(q, n) is not None]
        if q.details is not None:
            words.append(f"details {_value(q.details)}")
    words += [
        f"{name} {_value(getattr(tensor, name))}" for name in ("sparsity", "variant_tensors") if getattr(tensor, name)
    ]
    return " ".join(words)


def _operator(operator: Operator, index: int) -> str:
    words = [f"#{index} {operator.name} v{operator.version} {_list(operator.inputs)} -> {_list(operator.outputs)}"]
    if operator.options_type:
        fields = ", ".join(f"{name}={_value(value)}" for name, value in sorted(operator.options.items()))
        words.append(f"{operator.options_type}({fields})")
    if len(operator.custom_options):
        words.append(f"custom {len(operator.custom_options)} bytes {_digest(operator.custom_options)}")
    words += [
        f"{n} {getattr(operator, n)}" for n in ("intermediates", "mutating_variable_inputs") if getattr(operator, n)
    ]
    return " ".join(words)


def _digest(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _list(indices: tuple[int, ...]) -> str:
    return "[" + " ".join(f"%{i}" if i >= 0 else "-" for i in indices) + "]"


def _numbers(values: Any) -> str:
    values = np.asarray(values)
    if len(values) <= 4:
        return str(values.tolist())
    return f"{len(values)} values {_digest(np.ascontiguousarray(values))}"


def _value(value: Any) -> str:
    """Generated schema objects have no repr of their own."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    if hasattr(value, "__dict__"):
        return f"{type(value).__name__}({', '.join(f'{k}={_value(v)}' for k, v in sorted(vars(value).items()))})"
    return repr(value)
