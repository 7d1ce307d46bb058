"""A tensor that enters a pipeline or crosses between segments, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Inputs = dict[str, Array]
"""By tensor name."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor that enters the pipeline or crosses between segments."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> TensorSpec:
        """From one entry of ``get_input_details()`` or ``get_output_details()``."""
        shape = tuple(int(size) for size in details["shape"])
        return cls(str(details["name"]), shape, np.dtype(details["dtype"]))

    @property
    def nbytes(self) -> int:
        """Bytes of a value."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"'{self.name}' {self.dtype.name}{list(self.shape)}"
