"""A shape and an element type → an array that lies where kernels may work on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64
"""Bytes by which LiteRT aligns the memory of tensors (``kDefaultTensorAlignment``): its kernels may count on it."""


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An array of undefined content at a multiple of ``ALIGNMENT``; its ``base`` is what owns the memory."""
    size = math.prod(shape) * dtype.itemsize
    owner = np.empty(size + ALIGNMENT, np.uint8)
    start = -owner.ctypes.data % ALIGNMENT
    return owner[start : start + size].view(dtype).reshape(shape)
