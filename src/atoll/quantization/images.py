"""Shape, count and seed → random images that differ in colour, contrast and structure, as int8 model inputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from atoll.errors import UsageError

INPUT_SCALE = np.float32(2 / 255)
INPUT_ZERO_POINT = -1
"""Pixels 0 ... 255 stand for reals -1 ... 1: ``pixel - 128`` is the int8 value, as TensorFlow converts it."""
REAL_RANGE = (-127 * 2 / 255, 128 * 2 / 255)
"""What int8 inputs stand for at most."""


def images(shape: tuple[int, ...], count: int, seed: int = 0) -> npt.NDArray[np.int8]:
    """``count`` random images, int8 (count, height, width, channels), for ``shape`` = (height, width, channels).

    Each is a grid of 2x2 to 63x63 random colours, enlarged bilinearly, on a random background, under noise that is
    anything from invisible to all there is.
    Raises :class:`UsageError` for a shape that is not an image's.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise UsageError(f"cannot make images of shape {shape}", "give (height, width, channels)")
    rng = np.random.default_rng([seed, 0x1A6E])
    return np.stack([_image(rng, *shape) for _ in range(count)])


def as_real(inputs: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    """The float32 values that int8 inputs stand for."""
    return np.asarray((inputs.astype(np.float32) - INPUT_ZERO_POINT) * INPUT_SCALE, np.float32)


def _image(rng: np.random.Generator, height: int, width: int, channels: int) -> npt.NDArray[np.int8]:
    cells = min(int(2 ** rng.uniform(1, 6)), height, width)
    contrast, noise = 2 ** rng.uniform(5, 7), 2 ** rng.uniform(1, 7)
    grid = rng.uniform(-1, 1, (cells, cells, channels)) * contrast + rng.uniform(-80, 80, channels)
    rows, columns = _enlarge(height, cells), _enlarge(width, cells)
    pixels = np.tensordot(rows, np.tensordot(columns, grid, (1, 1)), (1, 1))
    pixels += noise * rng.standard_normal(pixels.shape, np.float32)
    return np.clip(np.rint(pixels), -128, 127).astype(np.int8)


def _enlarge(size: int, cells: int) -> npt.NDArray[np.float64]:
    """The matrix (size, cells) that interpolates linearly between cells."""
    positions = np.linspace(0, cells - 1, size)
    return np.asarray(np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(cells))), np.float64)
