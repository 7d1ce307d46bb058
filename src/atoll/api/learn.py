"""``atoll.learn``: an extractor and folders of images → a classifier, its labels, and how well it does."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from atoll.errors import OutputError, TrainingError, UntrainableModelError, UsageError
from atoll.files import output_directory, require_writable_directory
from atoll.learning import (
    Evaluation,
    ImageFolder,
    ImprintingEngine,
    LearningCurve,
    SoftmaxRegression,
    dataset,
    evaluate,
    with_imprinting_tail,
)
from atoll.learning.extractor import embedding_of
from atoll.learning.image_runs import ImageRuns
from atoll.learning.labels import read_labels
from atoll.model.graph import Model
from atoll.model.load import ModelLike, load
from atoll.model.tflite import parse_model
from atoll.products.arguments import require_types
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.reporting.learn_report import LearnReport

_OPTIONS = {
    "imprint": ("keep_classes", "base_labels", "append_tail"),
    "softmax": ("iterations", "batch_size", "learning_rate", "reg", "patience", "curve"),
}
"""By method: the arguments of :func:`learn` that only it has."""
_POINT_EVERY = 10
"""Iterations between two points of the learning curve."""


def learn(
    extractor: ModelLike,
    images: str | Path,
    *,
    output: str | Path,
    method: Literal["imprint", "softmax"] = "imprint",
    labels: str | Path | None = None,
    held_out: float = 0.2,
    seed: int = 0,
    skip_bad: bool = False,
    devices: str | Sequence[str] = (),
    segments: int = 1,
    keep_classes: bool = False,
    base_labels: str | Path | None = None,
    append_tail: bool = False,
    iterations: int = 500,
    batch_size: int = 100,
    learning_rate: float = 0.01,
    reg: float = 0.0,
    patience: int | None = None,
    curve: str | Path | None = None,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> LearnReport:
    """Train the last layer of a model on images, and test the file that is written on images that were held out.

    ``imprint``: one pass, a few images per class, classes can be added later; the model ends with an L2 normalisation
    and a last layer (CONV_2D, MUL, RESHAPE, SOFTMAX or FULLY_CONNECTED, SOFTMAX), or with an embedding and
    ``append_tail`` is given. ``softmax``: gradient descent, for more images that differ more; the model is an
    embedding extractor with a uint8 or int8 output [1, x] or [1, 1, 1, x].

    Args:
        extractor: The model to train, or its extractor, or the path of such a ``.tflite`` file. What comes before the
            last layer may be compiled; if it is not, it is compiled for the devices, and the new model is not.
        images: A folder with one sub-folder of images per class.
        output: The file to write the classifier to.
        method: ``imprint`` or ``softmax``.
        labels: The file to write the labels to, one a line; by default ``OUTPUT_labels.txt``.
        held_out: Share of each class's images kept for the test, 0 to less than 1.
        seed: Seed of everything random: which images are held out, initial weights, batches.
        skip_bad: Go on without images that cannot be read.
        devices: ``usb``, ``pci:1``, ``:2``, a path, or ``cpu`` alone; none: every Edge TPU.
        segments: Cut the extractor into a pipeline over so many devices.
        keep_classes: Imprint: keep the classes that the model has.
        base_labels: Imprint: a file with the labels of these; a folder of such a name trains that class on.
        append_tail: Imprint: the model is a plain extractor, append the layers to train.
        iterations: Softmax: how many batches to train on.
        batch_size: Softmax: images per batch.
        learning_rate: Softmax: step along the gradient of the mean cross entropy.
        reg: Softmax: strength of the L2 penalty on the weights.
        patience: Softmax: stop after so many tests (one in 10 iterations) without a better accuracy on the held-out
            images, and go back to the best weights.
        curve: Softmax: the file to write the learning curve to, as an SVG picture.
        on_progress: Called with how many images are embedded and tested, and how many iterations are done.
        on_message: Called with which images are skipped, and what the work waits for.

    Raises:
        UsageError: A number that cannot be, an argument of the other method, two results for one file.
        UntrainableModelError: The model does not end as the method needs it.
        TrainingError: There is nothing to tell apart, or a class has no images.
        FileAccessError, InvalidModelError, InputError: A file cannot be read.
        OutputError: A file cannot be written; then none is.
        DeviceError: A name means no device.

    >>> report = atoll.learn("extractor.tflite", "images", output="pets.tflite", append_tail=True)  # doctest: +SKIP
    >>> report.top1  # doctest: +SKIP
    0.95
    """
    require_types(learn, locals())
    _require_own_options(method, locals())
    classifier_file, curve_file = Path(output), None if curve is None else Path(curve)
    labels_file = Path(labels) if labels else classifier_file.parent / f"{classifier_file.stem}_labels.txt"
    _require_outputs([classifier_file, labels_file, *([curve_file] if curve_file else [])])
    model = load(extractor)
    named = (devices,) if isinstance(devices, str) else devices
    lesson = _Lesson(images, held_out, seed, ImageRuns(named, segments, skip_bad, _ADVICE, on_progress, on_message))
    if method == "imprint":
        trained = _imprint(lesson, model, keep_classes, base_labels, append_tail)
    else:
        descent = _Descent(iterations, batch_size, learning_rate, reg, patience)
        trained = _descend(lesson, model, descent, on_progress)
    files: dict[Path, bytes | str] = {
        classifier_file: trained.classifier,
        labels_file: "".join(f"{label}\n" for label in trained.labels),
    }
    if curve_file is not None and trained.curve is not None:
        files[curve_file] = trained.curve.svg()
    _write(files)
    tested = _tested(trained, str(output), lesson.runs)
    last = trained.curve.points[-1] if trained.curve is not None else None
    return LearnReport(
        output=str(output),
        labels_file=str(labels_file),
        labels=trained.labels,
        method=method,
        trained_on=len(trained.train),
        tested_on=len(trained.test),
        top1=tested.top1 if trained.test else None,
        confusion=tested.confusion,
        iterations=last.iteration if last else None,
        loss=last.loss if last else None,
        train_accuracy=last.train_accuracy if last else None,
        curve=None if curve is None else str(curve),
    )


_ADVICE = "To go on without such images: --skip-bad."


@dataclass(frozen=True, slots=True)
class _Lesson:
    """The images, and how they are divided and run."""

    images: str | Path
    held_out: float
    seed: int
    runs: ImageRuns


@dataclass(frozen=True, slots=True)
class _Descent:
    """The options of gradient descent, as :func:`learn` has them."""

    iterations: int
    batch_size: int
    learning_rate: float
    reg: float
    patience: int | None


@dataclass(frozen=True, slots=True)
class _Trained:
    """A classifier and what it was trained on."""

    classifier: bytes
    """A ``.tflite`` file."""
    labels: tuple[str, ...]
    folder: ImageFolder
    class_ids: tuple[int, ...]
    """Per class of the folder: its number in the classifier."""
    train: list[int]
    """Examples of the folder that were trained on, ..."""
    test: list[int]
    """... and that were held out."""
    curve: LearningCurve | None = None


def _imprint(
    lesson: _Lesson, model: Model, keep_classes: bool, base_labels: str | Path | None, append_tail: bool
) -> _Trained:
    try:
        engine = ImprintingEngine(with_imprinting_tail(model) if append_tail else model, keep_classes)
    except UntrainableModelError as error:
        hint = "A plain embedding extractor needs --append-tail."
        raise UntrainableModelError(error.message, f"{error.hint} {hint}".strip()) from error
    names = read_labels(base_labels) if base_labels else [f"class {i}" for i in range(engine.num_classes)]
    if len(names) != engine.num_classes:
        raise UsageError(f"{base_labels} has {len(names)} labels, the model keeps {engine.num_classes} classes")
    extractor = parse_model(engine.serialize_extractor_model(), model.path)
    folder, embeddings = lesson.runs.embed_folder(lesson.images, extractor)
    # Folders that are no class yet come behind those that are.
    labels = (*names, *(name for name in folder.labels if name not in names))
    ids = tuple(labels.index(name) for name in folder.labels)
    train, test = dataset.held_out(folder, lesson.held_out, lesson.seed)
    for i in sorted(train, key=lambda i: ids[folder.examples[i].label]):
        try:
            engine.train(embeddings[i], ids[folder.examples[i].label])
        except TrainingError as error:
            raise TrainingError(f"{folder.examples[i].path}: {error.message}", error.hint) from error
    return _Trained(engine.serialize_model(), labels, folder, ids, train, test)


def _descend(lesson: _Lesson, model: Model, options: _Descent, on_progress: OnProgress) -> _Trained:
    embedding_of(model)  # what is wrong with it is told before the images are read
    folder, embeddings = lesson.runs.embed_folder(lesson.images, model)
    train, test = dataset.held_out(folder, lesson.held_out, lesson.seed)
    if options.patience is not None and not test:
        raise UsageError("--patience needs held-out images", "Raise --held-out.")
    x = np.stack([embedding.reshape(-1) for embedding in embeddings])
    y = np.array([example.label for example in folder.examples])
    data = {"data_train": x[train], "labels_train": y[train]}
    if test:
        data |= {"data_val": x[test], "labels_val": y[test]}
    regression = SoftmaxRegression(x.shape[1], len(folder.labels), reg=options.reg, seed=lesson.seed)
    curve = regression.train_with_sgd(
        data,
        options.iterations,
        options.learning_rate,
        options.batch_size,
        _POINT_EVERY,
        patience=options.patience,
        on_point=lambda point: on_progress("training", point.iteration, options.iterations),
    )
    ids = tuple(range(len(folder.labels)))
    return _Trained(regression.serialize_model(model), folder.labels, folder, ids, train, test, curve)


def _tested(trained: _Trained, path: str, runs: ImageRuns) -> Evaluation:
    """What the held-out images show, and what the classifier takes them for."""
    paths = [trained.folder.examples[i].path for i in trained.test]
    results = runs.results(parse_model(trained.classifier, path), paths, "testing")
    predicted = [int(np.argmax(scores)) for scores in results if scores is not None]
    truth = [trained.class_ids[trained.folder.examples[i].label] for i in trained.test]
    return evaluate(truth, predicted, trained.labels)


def _require_own_options(method: str, given: Mapping[str, object]) -> None:
    """Refuse what only the other method has."""
    defaults = inspect.signature(learn).parameters
    for other, names in _OPTIONS.items():
        for name in names:
            if other != method and given[name] != defaults[name].default:
                raise UsageError(f"{name} does not go with the method {method}", f"It belongs to {other}.")


def _require_outputs(paths: Sequence[Path]) -> None:
    """Say before long work that the results have no place."""
    if len(set(paths)) < len(paths):
        raise UsageError(f"two results would be written to {paths[0]}", "Give each a name of its own.")
    for path in paths:
        if path.is_dir():
            raise OutputError(f"{path} is a directory", "Name a file to write to.")
        require_writable_directory(path.parent)


def _write(files: Mapping[Path, bytes | str]) -> None:
    """All of the files or, when there is no place for one of them, none."""
    with contextlib.ExitStack() as stack:
        for path, content in files.items():
            stack.enter_context(output_directory(path.parent)).write(path.name, content)
