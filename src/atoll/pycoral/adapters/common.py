"""An interpreter with an image input → its input and output tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from atoll.products.tensor_spec import Array


def output_tensor(interpreter: Any, i: int) -> Array:
    """A view of output ``i``; it must be gone before the next ``invoke``."""
    view: Array = interpreter.tensor(interpreter.get_output_details()[i]["index"])()
    return view


def input_details(interpreter: Any, key: str) -> Any:
    """One detail (``'index'``, ``'shape'``, ``'dtype'``, ``'quantization'``...) of the first input."""
    return interpreter.get_input_details()[0][key]


def input_size(interpreter: Any) -> tuple[int, int]:
    """(width, height) of the first input, an NHWC image."""
    _, height, width, _ = input_details(interpreter, "shape")
    return int(width), int(height)


def input_tensor(interpreter: Any) -> Array:
    """A view of the first input as (height, width, channels); it must be gone before the next ``invoke``."""
    view: Array = interpreter.tensor(input_details(interpreter, "index"))()[0]
    return view


def set_input(interpreter: Any, data: Any) -> None:
    """Copy an image of the right size into the first input."""
    input_tensor(interpreter)[:, :] = data


def set_resized_input(
    interpreter: Any, size: tuple[int, int], resize: Callable[[tuple[int, int]], Any]
) -> tuple[Array, tuple[float, float]]:
    """Fit an image of ``size`` (width, height) into the first input, keeping its proportions, zeros beside it.

    ``resize`` is called with the (width, height) that it is to have and returns it (an array or a Pillow image).
    Returns a view of the image inside the input, and the factors that it was scaled by in x and y.
    """
    width, height = input_size(interpreter)
    scale = min(width / size[0], height / size[1])
    fitted = int(size[0] * scale), int(size[1] * scale)
    tensor = input_tensor(interpreter)
    tensor.fill(0)
    inside = tensor[: fitted[1], : fitted[0]]
    inside[...] = np.reshape(resize(fitted), inside.shape)
    return inside, (scale, scale)
