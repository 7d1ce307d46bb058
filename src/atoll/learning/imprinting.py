"""Embeddings with their classes → a classifier whose last layer is made of them, without iterations.

Qi, Brown, Lowe: Low-Shot Learning with Imprinted Weights, CVPR 2018.
"""

from __future__ import annotations

import operator
import os
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from atoll.errors import FileAccessError, ModelFileError, TrainingError, UntrainableModelError
from atoll.learning.layers import ZERO_POINT, Floats, Layers, affine, ranged, real, symmetric
from atoll.learning.tail import Tail, find_tail
from atoll.model.edit import edited, join, up_to
from atoll.model.graph import DType, Model, Quantization
from atoll.model.tflite import model_bytes, read_model

_LEAST_FACTOR = 16.0
"""Cosines of good embeddings differ by a few tenths: a softmax of less than this could not tell many classes apart."""


class ImprintingEngine:
    """Trains the last layer of a model by weight imprinting: one pass, any number of classes, a few images each.

    The weights of a class are the L2-normalised sum of its embeddings, so a prediction is the cosine between the
    image's embedding and each class. Training can go on with a saved model, and classes can be added later.

    ``model``: a file, or a model in memory: uint8 or int8, an L2_NORMALIZATION, at most one QUANTIZE, then CONV_2D,
    MUL, RESHAPE, SOFTMAX or FULLY_CONNECTED, SOFTMAX. What is before may be compiled for the Edge TPU.
    ``keep_classes``: keep the classes that the model has; otherwise they are dropped.

    Raises:
        ModelFileError: the file cannot be opened.
        InvalidModelError: it is not a model.
        UntrainableModelError: it does not end as above.
    """

    def __init__(self, model: str | os.PathLike[str] | Model, keep_classes: bool = False) -> None:
        source = edited(model if isinstance(model, Model) else _open(model), lambda graph: graph)
        self._tail = find_tail(source)
        self._extractor = up_to(source, [self._tail.normalised])
        self._base = up_to(source, [self._tail.embedding.name])
        self._sums: list[Floats] = []
        """Per class: the sum of its embeddings, or the weights of a class that was not imprinted."""
        self._kept = 0
        self._imprinted: set[int] = set()
        self._norms = _norms(source, self._tail.classes)
        # A fully connected tail has no MUL: before it is imprinted, its scale factor is the length of the weights.
        plain = self._tail.fully_connected and not self._norms
        self._length = float(np.linalg.norm(_rows(self._tail), axis=1).mean()) or 1.0 if plain else 1.0
        if keep_classes:
            self._load_classes()

    @property
    def embedding_dim(self) -> int:
        """How many numbers an embedding has."""
        return self._tail.dim

    @property
    def num_classes(self) -> int:
        """Classes so far: those kept and those trained."""
        return len(self._sums)

    def train(self, embedding: npt.ArrayLike, class_id: int) -> None:
        """Add one image to class ``class_id``: an existing one, or the next.

        ``embedding``: real values of the extractor's output, ``embedding_dim`` numbers of any shape.

        Raises:
            TrainingError: the embedding has another size, or numbers that are not finite, or are all zero; the class
                skips a number, or was kept from a model that was not trained by imprinting.
        """
        values, class_id = self._checked(embedding), operator.index(class_id)
        if class_id < 0:
            raise TrainingError(f"The class index {class_id} is negative", "Classes are numbered from 0.")
        if class_id > len(self._sums):
            raise TrainingError(
                "The class index of a new category is too large!",
                f"It is {class_id}; the next new class is {len(self._sums)}.",
            )
        if class_id == len(self._sums):
            self._sums.append(np.zeros(self.embedding_dim))
            self._imprinted.add(class_id)
        elif class_id not in self._imprinted:
            raise TrainingError(
                "Cannot change the base model classes not trained with imprinting method!",
                f"Classes 0 to {self._kept - 1} came with the model; class {class_id} is one of them.",
            )
        self._sums[class_id] += values

    def serialize_extractor_model(self) -> bytes:
        """The embedding extractor as a ``.tflite`` file: the model cut after its L2 normalisation."""
        return bytes(model_bytes(self._extractor))

    def serialize_model(self) -> bytes:
        """The trained model as a ``.tflite`` file; its description keeps what going on with training needs.

        Raises:
            TrainingError: there are no classes, or the embeddings of one cancel each other out.
        """
        if not self._sums:
            raise TrainingError("Model is not trained.", "Call train with at least one embedding first.")
        norms = {i: float(np.linalg.norm(self._sums[i])) for i in sorted(self._imprinted)}
        for class_id, norm in norms.items():
            if norm < 1e-6:
                raise TrainingError(f"the embeddings of class {class_id} cancel each other out")
        weights = np.stack([total / norms.get(i, 1.0) for i, total in enumerate(self._sums)])
        head = _head(self._tail, weights, self._quantization(weights), self._factor())
        model = join(self._base, head, {self._tail.embedding.name: self._tail.embedding.name})
        description = "".join(f"{class_id} {norm:.9g}\n" for class_id, norm in norms.items())
        return bytes(model_bytes(replace(model, description=description)))

    def _checked(self, embedding: npt.ArrayLike) -> Floats:
        array = np.asarray(embedding)
        if array.dtype.kind in "iu" and array.dtype.itemsize == 1:
            raise TrainingError(
                f"the embedding is {array.dtype}: stored values, not real ones",
                "Dequantise it first: scale * (stored - zero_point).",
            )
        if array.size != self.embedding_dim:
            raise TrainingError(
                f"the embedding has {array.size} numbers (shape {list(array.shape)}), the model's has "
                f"{self.embedding_dim}",
                "Take the output of the model that serialize_extractor_model gives.",
            )
        values = array.reshape(-1).astype(np.float64)
        norm = float(values @ values)
        if not 0 < norm < np.inf:
            what = "is all zeros" if norm == 0 else "holds numbers that are not finite"
            raise TrainingError(f"the embedding {what}", "Is the extractor's input an image?")
        return values

    def _load_classes(self) -> None:
        tail = self._tail
        self._imprinted = set(self._norms)
        self._kept = tail.classes
        self._sums = list(_rows(tail) / self._length)
        for class_id, norm in self._norms.items():
            # Rounding to 8 bits changed the length a little; divided out, saving and loading again changes nothing.
            self._sums[class_id] *= norm / (float(np.linalg.norm(self._sums[class_id])) or 1.0)

    def _factor(self) -> float:
        """What cosines are multiplied with: the model's own factor, for a fully connected tail at least 16."""
        factor = self._tail.factor * self._length
        return factor if self._kept or not self._tail.fully_connected else max(_LEAST_FACTOR, factor)

    def _quantization(self, weights: Floats) -> Quantization:
        own = self._tail.weights.quantization
        assert own is not None
        own = replace(own, scale=(own.scale / self._length).astype(np.float32))
        return _weight_quantization(own, self._tail.weights.dtype, weights, self._kept)


def _open(path: str | os.PathLike[str]) -> Model:
    try:
        return read_model(os.fspath(path))
    except FileAccessError as error:
        raise ModelFileError(f"Failed to open file: {os.fspath(path)}", str(error)) from error


def _rows(tail: Tail) -> Floats:
    """The real weights, one row per class."""
    return real(tail.weights).reshape(tail.classes, tail.dim)


def _norms(model: Model, classes: int) -> dict[int, float]:
    """Class → norm of its sum, from the description that imprinting wrote; empty for any other description."""
    norms: dict[int, float] = {}
    for line in model.description.splitlines():
        try:
            name, number = line.split()
            norms[int(name)] = float(number)
        except ValueError:
            return {}
    for class_id, norm in norms.items():
        if not 0 <= class_id < classes or not 0 < norm < np.inf:
            raise UntrainableModelError(
                f"{model.path or 'the model'}: its description gives class {class_id} the norm {norm}",
                f"It has {classes} classes; norms are positive. Was the description edited?",
            )
    return norms


def _head(tail: Tail, weights: Floats, quantization: Quantization, factor: float) -> Model:
    """The last layers for ``weights`` (n, d); options and the output's name are those of the model."""
    count, dtype = len(weights), tail.embedding.dtype
    layers = Layers(tail.embedding)
    layer, softmax = tail.operators[0], tail.operators[-1]
    cosines = symmetric(1.0, dtype)
    layers.linear("imprinted", layer.kind, weights, np.zeros(count), quantization, cosines, layer.options)
    if tail.fully_connected:
        layers.softmax(tail.output.name, factor)
        return layers.model()
    most = int(np.iinfo(dtype.numpy).max)
    scale = affine(factor / (most - ZERO_POINT[dtype]), ZERO_POINT[dtype])
    constant = layers.constant("imprinted/factor", np.array([most], dtype.numpy), scale)
    shape, options = (1, 1, 1, count), tail.operators[1].options
    layers.layer("MUL", "imprinted/scaled", shape, symmetric(factor, dtype), constant, options=options)
    layers.reshape("imprinted/reshaped", (1, count))
    layers.softmax(tail.output.name, softmax.options.get("beta", 1.0))
    return layers.model()


def _weight_quantization(own: Quantization, dtype: DType, weights: Floats, kept: int) -> Quantization:
    """The kernel's own scale and zero point, widened where weights would not fit.

    A kernel quantised per channel gets the finest scale for each class; the ``kept`` first keep theirs, if it is
    large enough for what they learnt since.
    """
    if own.per_channel:
        scales = np.abs(weights).max(axis=1) / 127
        scales[scales == 0] = 1.0
        scales[:kept] = np.maximum(scales[:kept], own.scale[:kept])
        return affine(scales)
    limits, zero_point = np.iinfo(dtype.numpy), int(own.zero_point[0])
    low, high = min(0.0, float(weights.min())), max(0.0, float(weights.max()))
    below, above = zero_point - int(limits.min), int(limits.max) - zero_point
    if (low and not below) or (high and not above):
        return ranged(low, high, dtype)
    return affine(max(float(own.scale[0]), -low / (below or 1), high / (above or 1)), zero_point)
