"""A file of the user's → inputs by tensor name, one set per inference."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from atoll.errors import InputDtypeError, InputError, InputShapeError
from atoll.files import map_file
from atoll.model.graph import Graph, Tensor
from atoll.products.tensor_spec import Array, Inputs


def read_inputs(path: str | Path, graph: Graph) -> list[Inputs]:
    """Inputs from a file: ``.npy`` (one array), ``.npz`` (arrays by tensor name), or an image.

    An array has the shape of its tensor, or one more set per index of its first axis: ``(k, …)`` gives k sets. Images
    are resized to the model's input and brought to its element type (needs Pillow).

    Raises:
        FileAccessError: the file cannot be opened.
        InputError, InputShapeError, InputDtypeError: it does not fit the model.
    """
    path = Path(path)
    tensors = [graph.tensors[i] for i in graph.inputs]
    map_file(path)  # explains a missing or unreadable file
    suffix = path.suffix.lower()
    arrays = (
        _arrays(path, tensors) if suffix in (".npy", ".npz") else {_only(tensors, path).name: _image(path, tensors[0])}
    )
    sets = {tensor.name: _sets(arrays[tensor.name], tensor, path) for tensor in tensors}
    count = max(len(items) for items in sets.values())
    if not count:
        raise InputShapeError(f"{path} holds no inputs: its first axis has size 0", "Give at least one.")
    for name, items in sets.items():
        if len(items) not in (1, count):
            raise InputShapeError(f"{path}: input '{name}' has {len(items)} sets, another input has {count}")
    return [{name: items[n % len(items)] for name, items in sets.items()} for n in range(count)]


def _arrays(path: Path, tensors: Sequence[Tensor]) -> Mapping[str, Array]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not a readable numpy file: {error}", "Write it with numpy.save or numpy.savez."
        ) from error
    if isinstance(loaded, np.ndarray):
        return {_only(tensors, path).name: loaded}
    missing = [tensor.name for tensor in tensors if tensor.name not in loaded]
    if missing:
        raise InputError(f"{path} has no array '{missing[0]}'", f"It has: {', '.join(loaded)}.")
    return {tensor.name: loaded[tensor.name] for tensor in tensors}


def _only(tensors: Sequence[Tensor], path: Path) -> Tensor:
    if len(tensors) != 1:
        names = ", ".join(f"'{tensor.name}'" for tensor in tensors)
        raise InputError(f"{path} holds one array, the model has {len(tensors)} inputs: {names}", "Use a .npz file.")
    return tensors[0]


def _sets(array: Array, tensor: Tensor, path: Path) -> list[Array]:
    if array.dtype != tensor.dtype.numpy:
        raise InputDtypeError(
            f"{path}: input '{tensor.name}' is {tensor.dtype.numpy}, the file holds {array.dtype}",
            f"Convert it: array.astype('{tensor.dtype.numpy}').",
        )
    if array.shape == tensor.shape:
        return [np.asarray(array)]
    if tensor.shape[:1] == (1,) and array.shape[1:] == tensor.shape[1:]:
        return [np.asarray(array[n : n + 1]) for n in range(len(array))]
    if array.shape[1:] == tensor.shape:
        return [np.asarray(item) for item in array]
    raise InputShapeError(
        f"{path}: input '{tensor.name}' has the shape {list(tensor.shape)}, the file holds {list(array.shape)}",
        "Give one array of that shape, or several stacked along a new first axis.",
    )


def _image(path: Path, tensor: Tensor) -> Array:
    """The picture in the shape and type of an NHWC image tensor with 1 or 3 channels."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise InputError("reading images needs Pillow", "Install it: pip install pillow") from error
    if len(tensor.shape) != 4 or tensor.shape[-1] not in (1, 3):
        raise InputShapeError(
            f"{path} is an image, input '{tensor.name}' has the shape {list(tensor.shape)}", "Use a .npy file."
        )
    _, height, width, channels = tensor.shape
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((width, height)), np.int16)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not an image that Pillow can read: {error}") from error
    dtype = tensor.dtype.numpy
    if dtype.kind == "f":
        return (pixels.reshape(tensor.shape) / 127.5 - 1).astype(dtype)
    return (pixels.reshape(tensor.shape) - (128 if dtype == np.int8 else 0)).astype(dtype)
