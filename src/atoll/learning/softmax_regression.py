"""Embeddings with their labels → a linear classifier trained by gradient descent, and the model it makes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.errors import FileAccessError, ModelFileError, TrainingError, UsageError
from atoll.learning.curve import CurvePoint, LearningCurve
from atoll.learning.extractor import embedding_of
from atoll.learning.softmax_head import softmax_head
from atoll.model.edit import edited, join
from atoll.model.graph import Model
from atoll.model.tflite import model_bytes, read_model

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_log = logging.getLogger("atoll")


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Checked: x float32 (n, d), finite; labels int64 (n,)."""

    x: Matrix
    labels: Labels


class SoftmaxRegression:
    """A fully connected layer and a softmax, trained on embeddings by stochastic gradient descent.

    ``feature_dim``, ``num_classes``: sizes of an embedding and of the answer (None: learnt from the training data).
    ``weight_scale``: standard deviation of the initial weights. ``reg``: strength of the L2 penalty,
    ``0.5 * reg * |W|**2``. ``seed``: makes initial weights and batches the same every time.

    Raises:
        UsageError: a size, scale or strength that cannot be.
    """

    def __init__(
        self,
        feature_dim: int | None = None,
        num_classes: int | None = None,
        weight_scale: float = 0.01,
        reg: float = 0.0,
        *,
        seed: int | None = None,
    ) -> None:
        for name, size in (("feature_dim", feature_dim), ("num_classes", num_classes)):
            if size is not None and size < 1:
                raise UsageError(f"{name} is {size}", "It must be 1 or more.")
        if not (0 <= weight_scale < np.inf and 0 <= reg < np.inf):
            raise UsageError(f"weight_scale is {weight_scale}, reg is {reg}", "Both must be finite, 0 or more.")
        self.feature_dim = feature_dim
        self.num_classes = num_classes
        self.weight_scale = weight_scale
        self.reg = reg
        self.curve = LearningCurve(())
        """How the last training went."""
        self._random = np.random.default_rng(seed)
        self._weights: Matrix = np.zeros((0, 0), np.float32)
        self._biases: Matrix = np.zeros(0, np.float32)
        self._logits: tuple[float, float] | None = None
        if feature_dim is not None and num_classes is not None:
            self._initialise(feature_dim, num_classes)

    @property
    def weights(self) -> Matrix:
        """float32 (feature_dim, num_classes)."""
        return self._weights

    @property
    def biases(self) -> Matrix:
        """float32 (num_classes,)."""
        return self._biases

    def train_with_sgd(
        self,
        data: Mapping[str, npt.ArrayLike],
        num_iter: int,
        learning_rate: float,
        batch_size: int = 100,
        print_every: int = 100,
        *,
        patience: int | None = None,
        on_point: Callable[[CurvePoint], object] | None = None,
    ) -> LearningCurve:
        """Train on random batches, drawn with replacement; calling it again goes on.

        Args:
            data: ``data_train`` (n, feature_dim) real values and ``labels_train`` (n,) class numbers from 0;
                ``data_val`` and ``labels_val`` likewise, which may be left out without ``patience``.
            num_iter: How many batches.
            learning_rate: Step along the gradient of the mean cross entropy.
            batch_size: Examples per batch.
            print_every: Iterations between two points of the curve.
            patience: Stop early after so many points without a better validation accuracy, and go back to the
                weights of the best point.
            on_point: Called with each point of the curve, for progress.

        Raises:
            TrainingError: data that is missing, of the wrong shape, not finite, or labels out of range; or weights
                that grew without bounds.
            UsageError: a number that cannot be.
        """
        for name, number in (("num_iter", num_iter), ("batch_size", batch_size), ("print_every", print_every)):
            if number < 1:
                raise UsageError(f"{name} is {number}", "It must be 1 or more.")
        if not 0 < learning_rate < np.inf:
            raise UsageError(f"learning_rate is {learning_rate}", "It must be finite and positive.")
        train, validation = self._datasets(data, patience is not None)
        best, points = _Best(patience), []
        for iteration in range(1, num_iter + 1):
            batch = self._random.integers(0, len(train.x), batch_size)
            loss = self._step(train.x[batch], train.labels[batch], learning_rate)
            if iteration % print_every == 0 or iteration == num_iter:
                points.append(self._point(iteration, loss, train, validation))
                _log.debug("iteration %d: loss %.4f", iteration, loss)
                if on_point is not None:
                    on_point(points[-1])
                if best.update(points[-1], self._weights, self._biases):
                    break
        if best.weights is not None and best.biases is not None:
            self._weights, self._biases = best.weights, best.biases
        self.curve = LearningCurve(tuple(points), best.iteration)
        seen = [self._scores(part.x) for part in (train, validation) if part is not None]
        self._logits = float(min(s.min() for s in seen)), float(max(s.max() for s in seen))
        return self.curve

    def run_inference(self, mat_x: npt.ArrayLike) -> Labels:
        """The most probable class of each embedding: int64 (n,) for (n, feature_dim) real values.

        Raises:
            TrainingError: the embeddings have another size or are not finite, or nothing is known of the classes yet.
        """
        classes: Labels = np.argmax(self._scores(self._features("the embeddings", mat_x)), axis=1)
        return classes

    def get_accuracy(self, mat_x: npt.ArrayLike, labels: npt.ArrayLike) -> float:
        """Share of the embeddings (n, feature_dim) whose most probable class is their label.

        Raises:
            TrainingError: as :meth:`run_inference`, or labels that do not fit.
        """
        data = self._data("the embeddings", mat_x, "the labels", labels)
        return self._accuracy(data)

    def serialize_model(self, in_model: str | os.PathLike[str] | Model) -> bytes:
        """The extractor with this layer behind it, as a ``.tflite`` file.

        ``in_model``: the embedding extractor, compiled for the Edge TPU or not, with one uint8 or int8 output
        [1, 1, 1, feature_dim] or [1, feature_dim].

        Raises:
            ModelFileError: the file cannot be opened.
            UntrainableModelError: its output is no such embedding.
            TrainingError: the embedding has another size than this layer.
        """
        model = edited(in_model if isinstance(in_model, Model) else _open(in_model), lambda graph: graph)
        embedding = embedding_of(model)
        self._require_weights()
        if embedding.shape[-1] != self.feature_dim:
            raise TrainingError(
                f"{model.path or 'the extractor'} gives embeddings of {embedding.shape[-1]} numbers, "
                f"the layer was trained on {self.feature_dim}",
                "Use the extractor that the training embeddings came from.",
            )
        head = softmax_head(embedding, self._weights.T, self._biases, self._logits)
        return bytes(model_bytes(join(model, head, {embedding.name: embedding.name})))

    def _initialise(self, feature_dim: int, num_classes: int) -> None:
        self.feature_dim, self.num_classes = feature_dim, num_classes
        weights = self._random.standard_normal((feature_dim, num_classes), np.float32)
        self._weights = weights * np.float32(self.weight_scale)
        self._biases = np.zeros(num_classes, np.float32)

    def _require_weights(self) -> None:
        if not self._biases.size:
            raise TrainingError("Model is not trained.", "Give feature_dim and num_classes, or train it first.")

    def _step(self, x: Matrix, labels: Labels, learning_rate: float) -> float:
        """One step down the gradient; the value is the loss before it."""
        scores = self._scores(x)
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        rows = np.arange(len(x))
        loss = float(-np.log(np.maximum(scores[rows, labels], np.finfo(np.float32).tiny)).mean())
        loss += 0.5 * self.reg * float(np.vdot(self._weights, self._weights))
        scores[rows, labels] -= 1
        scores *= np.float32(learning_rate / len(x))
        if self.reg:
            self._weights = self._weights * np.float32(1 - learning_rate * self.reg)
        self._weights = self._weights - _product(x.T, scores)
        self._biases = self._biases - scores.sum(axis=0)
        if not np.isfinite(loss):
            raise TrainingError(f"the loss became {loss}", "Use a smaller learning rate.")
        return loss

    def _scores(self, x: Matrix) -> Matrix:
        return _product(x, self._weights) + self._biases

    def _accuracy(self, data: _Data) -> float:
        return float((np.argmax(self._scores(data.x), axis=1) == data.labels).mean())

    def _point(self, iteration: int, loss: float, train: _Data, validation: _Data | None) -> CurvePoint:
        held_out = None if validation is None else self._accuracy(validation)
        return CurvePoint(iteration, loss, self._accuracy(train), held_out)

    def _datasets(self, data: Mapping[str, npt.ArrayLike], validate: bool) -> tuple[_Data, _Data | None]:
        names = ["data_train", "labels_train"]
        names += ["data_val", "labels_val"] if validate or "data_val" in data or "labels_val" in data else []
        missing = [name for name in names if name not in data]
        if missing:
            raise TrainingError(f"the training data has no '{missing[0]}'", f"It needs: {', '.join(names)}.")
        if not self._biases.size:
            x, labels = np.asarray(data["data_train"]), np.asarray(data["labels_train"])
            if x.ndim == 2 and x.size and labels.size and labels.dtype.kind in "iu" and labels.min() >= 0:
                self._initialise(self.feature_dim or x.shape[1], self.num_classes or int(labels.max()) + 1)
        parts = [self._data(x, data[x], y, data[y]) for x, y in zip(names[::2], names[1::2])]
        return parts[0], parts[1] if len(parts) > 1 else None

    def _data(self, x_name: str, x: npt.ArrayLike, labels_name: str, labels: npt.ArrayLike) -> _Data:
        features = self._features(x_name, x)
        numbers = np.asarray(labels)
        if numbers.shape != (len(features),) or numbers.dtype.kind not in "iu":
            raise TrainingError(
                f"{labels_name} is {numbers.dtype}{list(numbers.shape)}, {x_name} has {len(features)} rows",
                "Give one integer per row.",
            )
        wrong = np.flatnonzero((numbers < 0) | (numbers >= (self.num_classes or 0)))
        if len(wrong):
            raise TrainingError(
                f"{labels_name}[{wrong[0]}] is {numbers[wrong[0]]}, out of range",
                f"There are {self.num_classes} classes, numbered from 0.",
            )
        return _Data(features, numbers.astype(np.int64))

    def _features(self, name: str, x: npt.ArrayLike) -> Matrix:
        array: npt.NDArray[Any] = np.asarray(x)
        if array.ndim != 2 or not len(array) or array.dtype.kind not in "fiu":
            raise TrainingError(
                f"{name} is {array.dtype}{list(array.shape)}", "It must be numbers, (count, feature_dim), count > 0."
            )
        self._require_weights()
        if array.shape[1] != self.feature_dim:
            raise TrainingError(f"{name} has {array.shape[1]} numbers per row, feature_dim is {self.feature_dim}")
        values = array.astype(np.float32, copy=False)
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise TrainingError(f"{name}[{bad[0]}] holds numbers that are not finite", "Look at the input behind it.")
        return values


class _Best:
    """Watches the validation accuracy and keeps the best weights."""

    def __init__(self, patience: int | None) -> None:
        if patience is not None and patience < 1:
            raise UsageError(f"patience is {patience}", "It must be 1 or more.")
        self.weights: Matrix | None = None
        self.biases: Matrix | None = None
        self.iteration: int | None = None
        self._patience = patience
        self._accuracy = -1.0
        self._waited = 0

    def update(self, point: CurvePoint, weights: Matrix, biases: Matrix) -> bool:
        """Take note of a point; whether to stop."""
        if self._patience is None or point.validation_accuracy is None:
            return False
        self._waited += 1
        if point.validation_accuracy > self._accuracy:
            self._accuracy, self._waited = point.validation_accuracy, 0
            self.weights, self.biases, self.iteration = weights, biases, point.iteration
        return self._waited >= self._patience


_SINGLE_THREADED = 2**18
"""Multiply-accumulates up to which OpenBLAS uses one thread (its GEMM_MULTITHREAD_THRESHOLD, 4, times 2**16)."""


def _product(a: Matrix, b: Matrix) -> Matrix:
    """``a @ b``, in blocks of rows that BLAS computes in one thread each.

    Products of this size gain little from threads, and on a machine that has other work to do as well, waiting for one
    another costs BLAS threads 10 to 50 times what they save.
    """
    rows = _SINGLE_THREADED // max(1, b.size)
    if rows < 2:
        whole: Matrix = a @ b
        return whole
    end = len(a) // rows * rows
    product = np.empty((len(a), b.shape[1]), np.float32)
    np.matmul(a[:end].reshape(-1, rows, a.shape[1]), b, out=product[:end].reshape(-1, rows, b.shape[1]))
    np.matmul(a[end:], b, out=product[end:])
    return product


def _open(path: str | os.PathLike[str]) -> Model:
    try:
        return read_model(os.fspath(path))
    except FileAccessError as error:
        raise ModelFileError(f"Failed to open file: {os.fspath(path)}", str(error)) from error
