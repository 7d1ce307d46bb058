"""An interpreter with class scores as its output → the best classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from atoll.products.tensor_spec import Array


class Class(NamedTuple):
    """A class and its score."""

    id: int
    score: float


def num_classes(interpreter: Any) -> int:
    """How many classes the model tells apart."""
    return int(np.prod(interpreter.get_output_details()[0]["shape"]))


def get_scores(interpreter: Any) -> Array:
    """The first output as real numbers, flat; quantised values are scaled back."""
    detail = interpreter.get_output_details()[0]
    values: Array = interpreter.get_tensor(detail["index"]).reshape(-1)
    if values.dtype.kind not in "iu":
        return values
    scale, zero_point = detail["quantization"]
    real: Array = scale * (values.astype(np.int64) - zero_point)
    return real


def get_classes_from_scores(
    scores: Array, top_k: float = float("inf"), score_threshold: float = -float("inf")
) -> list[Class]:
    """The ``top_k`` classes with a score of ``score_threshold`` or more, the best first."""
    values = np.asarray(scores).reshape(-1)
    count = int(min(max(top_k, 0), len(values)))
    best = np.argsort(-values.astype(np.float64), kind="stable")[:count]
    return [Class(int(i), float(values[i])) for i in best if values[i] >= score_threshold]


def get_classes(interpreter: Any, top_k: float = float("inf"), score_threshold: float = -float("inf")) -> list[Class]:
    """The best classes of the last inference; see :func:`get_classes_from_scores`."""
    return get_classes_from_scores(get_scores(interpreter), top_k, score_threshold)
