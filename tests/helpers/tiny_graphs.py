"""A few words → a graph of one operator, for the tests of the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.model import Buffer, DType, Graph, Operator, Quantization, Tensor

DTYPES = {np.dtype("int8"): DType.INT8, np.dtype("int32"): DType.INT32, np.dtype("float32"): DType.FLOAT32}


@dataclass(frozen=True)
class Data:
    """An activation: a tensor of this shape that is computed at run time."""

    shape: tuple[int, ...]
    dtype: DType = DType.INT8
    scaled: bool = True
    variable: bool = False


def scale(zero_point: int = 0) -> Quantization:
    return Quantization(np.array([0.5], np.float32), np.array([zero_point], np.int64))


def const(values: npt.ArrayLike, dtype: str = "int32") -> npt.NDArray[Any]:
    return np.asarray(values, dtype)


def zeros(*shape: int) -> npt.NDArray[np.int8]:
    return np.zeros(shape, np.int8)


def tensor(name: str, value: Data | npt.NDArray[Any]) -> Tensor:
    if isinstance(value, Data):
        quantization = scale() if value.scaled and value.dtype in (DType.INT8, DType.UINT8) else None
        return Tensor(name, value.shape, value.dtype, quantization, is_variable=value.variable)
    buffer = Buffer(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    return Tensor(name, value.shape, DTYPES[value.dtype], scale() if value.dtype == np.int8 else None, buffer)


def one(
    kind: str,
    *inputs: Data | npt.NDArray[Any] | None,
    out: Data | tuple[int, ...] = (1, 8, 8, 4),
    version: int = 1,
    **options: Any,
) -> Graph:
    """A graph of one operator; inputs are activations, constants, or None for one that is left out."""
    present = [(i, value) for i, value in enumerate(inputs) if value is not None]
    tensors = [tensor(f"in{i}", value) for i, value in present]
    numbers = {i: n for n, (i, _) in enumerate(present)}
    tensors.append(tensor("out", out if isinstance(out, Data) else Data(out)))
    return Graph(
        tensors=tuple(tensors),
        operators=(
            Operator(
                kind,
                tuple(numbers.get(i, -1) for i in range(len(inputs))),
                (len(tensors) - 1,),
                options,
                version=version,
            ),
        ),
        inputs=tuple(numbers[i] for i, value in present if isinstance(value, Data) and not value.variable),
        outputs=(len(tensors) - 1,),
    )
