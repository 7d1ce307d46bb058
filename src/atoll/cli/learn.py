"""``atoll learn``: an extractor and folders of images → a classifier, its labels, and how well it does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atoll.cli.old_output import json_option, print_json, progress, quiet_option, table
from atoll.cli.options import OUTPUT_FILE, SEED, FiniteFloat
from atoll.cli.workers import device_options, open_workers

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from atoll.cli.workers import Worker
    from atoll.learning import Evaluation, ImageFolder
    from atoll.model.graph import Model

    Array = npt.NDArray[Any]
    Reals = npt.NDArray[np.float32]

_F = TypeVar("_F", bound=Callable[..., Any])


@click.group("learn")
def command() -> None:
    """Train the last layer of a model on images, the rest of it running on Edge TPUs."""


def _common_options(function: _F) -> _F:
    options = [
        click.option("--extractor", required=True, metavar="FILE", help="The model to train, or its extractor."),
        click.option(
            "--images", required=True, metavar="DIR", help="A folder with one sub-folder of images per class."
        ),
        click.option(
            "-o", "--output", required=True, metavar="FILE", type=OUTPUT_FILE, help="Where to write the classifier."
        ),
        click.option(
            "--labels",
            metavar="FILE",
            type=OUTPUT_FILE,
            help="Where to write the labels.  [default: OUTPUT_labels.txt]",
        ),
        click.option(
            "--held-out",
            default=0.2,
            show_default=True,
            type=FiniteFloat(0, 1, max_open=True),
            help="Share of each class kept for the test.",
        ),
        click.option("--seed", default=0, show_default=True, type=SEED, help="Of everything random."),
        click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be read."),
        device_options,
        json_option,
        quiet_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@dataclass
class Job:
    """What both commands are asked to do."""

    extractor: str
    images: str
    output: str
    labels: str | None
    held_out: float
    seed: int
    skip_bad: bool
    devices: tuple[str, ...]
    segments: int
    as_json: bool
    quiet: bool

    @property
    def labels_file(self) -> Path:
        output = Path(self.output)
        return Path(self.labels) if self.labels else output.with_name(f"{output.stem}_labels.txt")


@command.command("imprint")
@click.option("--keep-classes", is_flag=True, help="Keep the classes that the model has.")
@click.option("--base-labels", metavar="FILE", help="Their labels; a folder of such a name trains that class on.")
@click.option("--append-tail", is_flag=True, help="The model is a plain extractor: append the layers to train.")
@_common_options
def imprint(keep_classes: bool, base_labels: str | None, append_tail: bool, **options: Any) -> None:
    """Train by weight imprinting: one pass, a few images per class, classes can be added later.

    The model ends with an L2 normalisation and a last layer (CONV_2D, MUL, RESHAPE, SOFTMAX or FULLY_CONNECTED,
    SOFTMAX), or with an embedding and --append-tail is given.
    """
    from atoll.errors import UsageError
    from atoll.learning import ImprintingEngine, TrainingError, UntrainableModelError, with_imprinting_tail
    from atoll.model.tflite import parse_model, read_model

    job = Job(**options)
    model = read_model(job.extractor)
    try:
        engine = ImprintingEngine(with_imprinting_tail(model) if append_tail else model, keep_classes)
    except UntrainableModelError as error:
        hint = "A plain embedding extractor needs --append-tail."
        raise UntrainableModelError(error.message, f"{error.hint} {hint}".strip()) from error
    names = read_labels(base_labels) if base_labels else [f"class {i}" for i in range(engine.num_classes)]
    if len(names) != engine.num_classes:
        raise UsageError(f"{base_labels} has {len(names)} labels, the model keeps {engine.num_classes} classes")
    folder, embeddings = _embed_folder(job, parse_model(engine.serialize_extractor_model(), job.extractor))
    ids, labels = _class_ids(names, folder.labels)
    train, test = _split(folder, job)
    for i in sorted(train, key=lambda i: ids[folder.examples[i].label]):
        try:
            engine.train(embeddings[i], ids[folder.examples[i].label])
        except TrainingError as error:
            raise TrainingError(f"{folder.examples[i].path}: {error.message}", error.hint) from error
    _finish(job, engine.serialize_model(), folder, ids, labels, (train, test), {})


@command.command("softmax")
@click.option("--iterations", default=500, show_default=True, type=click.IntRange(1), help="Batches to train on.")
@click.option("--batch-size", default=100, show_default=True, type=click.IntRange(1), help="Images per batch.")
@click.option("--learning-rate", default=0.01, show_default=True, type=FiniteFloat(), help="Step along the gradient.")
@click.option(
    "--reg", default=0.0, show_default=True, type=FiniteFloat(), help="Strength of the L2 penalty on the weights."
)
@click.option("--patience", type=click.IntRange(1), help="Stop after so many tests without progress (one in 10 steps).")
@click.option("--curve", metavar="FILE", type=OUTPUT_FILE, help="Write the learning curve as an SVG picture.")
@_common_options
def softmax(
    iterations: int,
    batch_size: int,
    learning_rate: float,
    reg: float,
    patience: int | None,
    curve: str | None,
    **options: Any,
) -> None:
    """Train by backpropagation: more images, several passes, more accurate where images of a class differ.

    The model is an embedding extractor with an output [1, x] or [1, 1, 1, x].
    """
    import numpy as np

    from atoll.errors import UsageError
    from atoll.learning import SoftmaxRegression
    from atoll.learning.extractor import embedding_of
    from atoll.model.tflite import read_model

    job = Job(**options)
    model = read_model(job.extractor)
    embedding_of(model)  # what is wrong with it is told before the images are read
    folder, embeddings = _embed_folder(job, model)
    train, test = _split(folder, job)
    if patience is not None and not test:
        raise UsageError("--patience needs held-out images", "Raise --held-out.")
    x = np.stack([embedding.reshape(-1) for embedding in embeddings])
    y = np.array([example.label for example in folder.examples])
    data = {"data_train": x[train], "labels_train": y[train]}
    if test:
        data |= {"data_val": x[test], "labels_val": y[test]}
    regression = SoftmaxRegression(x.shape[1], len(folder.labels), reg=reg, seed=job.seed)
    with progress("training", iterations, job.quiet) as show:
        learning = regression.train_with_sgd(
            data,
            iterations,
            learning_rate,
            batch_size,
            print_every=10,
            patience=patience,
            on_point=lambda point: show(point.iteration),
        )
    last = learning.points[-1]
    facts = {"iterations": last.iteration, "loss": last.loss, "train_accuracy": last.train_accuracy, "curve": curve}
    ids = tuple(range(len(folder.labels)))
    content = regression.serialize_model(model)
    _finish(job, content, folder, ids, folder.labels, (train, test), facts, {curve: learning.svg()} if curve else {})


def _class_ids(names: Sequence[str], folders: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The class number of each folder, and all labels: folders that are no class yet come behind those that are."""
    labels = [*names, *(name for name in folders if name not in names)]
    return tuple(labels.index(name) for name in folders), tuple(labels)


def _split(folder: ImageFolder, job: Job) -> tuple[list[int], list[int]]:
    from atoll.learning import held_out

    return held_out(folder, job.held_out, job.seed)


def _embed_folder(job: Job, extractor: Model) -> tuple[ImageFolder, list[Reals]]:
    """The images that can be read, and what the extractor gives for each."""
    from atoll.learning import read_folder
    from atoll.learning.dataset import require_images, without

    folder = read_folder(job.images)
    require_images(folder)
    paths = [example.path for example in folder.examples]
    results = list(_run(job, extractor, paths, "embedding"))
    bad = {path for path, result in zip(paths, results) if result is None}
    for path in sorted(bad):
        click.echo(f"skipped {path}: not a readable image", err=True)
    folder = without(folder, bad)
    require_images(folder)
    return folder, [result for result in results if result is not None]


def _run(job: Job, model: Model, paths: Sequence[Path], title: str) -> Iterator[Reals | None]:
    """What the model gives for each image; None for one that cannot be read, with ``--skip-bad``."""
    from atoll.errors import EmptyFileError, FileAccessError, InputError
    from atoll.learning import in_parallel
    from atoll.products.inputs import read_inputs

    def prepare(path: Path) -> dict[str, Array] | None:
        try:
            return read_inputs(path, model.main)[0]
        except (InputError, FileAccessError, EmptyFileError) as error:
            if job.skip_bad:
                return None
            error.hint = f"{error.hint} To go on without such images: --skip-bad.".strip()
            raise

    def unless_bad(worker: Worker) -> Callable[[dict[str, Array] | None], Reals | None]:
        return lambda inputs: None if inputs is None else worker(inputs)

    with open_workers(model, job.devices, job.segments) as workers, progress(title, len(paths), job.quiet) as show:
        for done, result in enumerate(in_parallel(paths, [unless_bad(w) for w in workers], prepare), start=1):
            show(done)
            yield result


def _finish(
    job: Job,
    content: bytes,
    folder: ImageFolder,
    ids: Sequence[int],
    labels: Sequence[str],
    split: tuple[list[int], list[int]],
    facts: dict[str, Any],
    more: Mapping[str | Path, bytes | str] = MappingProxyType({}),
) -> None:
    """Write the classifier, its labels and ``more`` files, try it on the held-out images, and say how it did."""
    import numpy as np

    from atoll.learning import evaluate
    from atoll.model.tflite import parse_model

    _write({job.output: content, job.labels_file: "".join(f"{label}\n" for label in labels), **more})
    train, test = split
    results = _run(job, parse_model(content, job.output), [folder.examples[i].path for i in test], "testing")
    predicted = [int(np.argmax(scores)) for scores in results if scores is not None]
    truth = [ids[folder.examples[i].label] for i in test]
    evaluation = evaluate(truth, predicted, labels)
    if job.as_json:
        shown = {"top1": evaluation.top1 if test else None, "confusion": evaluation.confusion}
        files = {"output": job.output, "labels_file": str(job.labels_file), "labels": list(labels)}
        print_json("learn", **files, trained_on=len(train), tested_on=len(test), **shown, **facts)
        return
    click.echo(f"{job.output}: {len(labels)} classes, trained on {len(train)} images; labels in {job.labels_file}")
    if test:
        click.echo(f"Top-1 accuracy on {len(test)} held-out images: {evaluation.top1:.1%}")
        _print_confusion(evaluation)


def _write(files: Mapping[str | Path, bytes | str]) -> None:
    """Write all of the files or, when there is no place for one of them, none."""
    from atoll.errors import OutputError, UsageError
    from atoll.files import output_directory

    paths = [Path(path) for path in files]
    if len(set(paths)) < len(paths):
        raise UsageError(f"two results would be written to {paths[0]}", "Give each a name of its own.")
    for path in paths:
        if path.is_dir():
            raise OutputError(f"{path} is a directory", "Name a file to write to.")
    with contextlib.ExitStack() as stack:
        for path, content in zip(paths, files.values()):
            stack.enter_context(output_directory(path.parent)).write(path.name, content)


def _print_confusion(evaluation: Evaluation) -> None:
    """Rows: what the image shows; columns: what the classifier said. Classes without either are left out."""
    counts = evaluation.confusion
    rows = [i for i, row in enumerate(counts) if any(row)]
    columns = [j for j in range(len(counts)) if j in rows or any(row[j] for row in counts)]
    head = ("", *(f">{evaluation.labels[j]}" for j in columns))
    table(head, [(evaluation.labels[i], *(str(counts[i][j]) for j in columns)) for i in rows])


def read_labels(path: str) -> list[str]:
    """Labels by class number: one per line, or ``number label`` on each line, as the vendor's files have it.

    Raises :class:`FileAccessError`, and :class:`UsageError` for a file that is no text.
    """
    from atoll.errors import UsageError
    from atoll.files import map_file

    try:
        lines = bytes(map_file(path)).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text file: {error}", "Write one label per line, as UTF-8.") from error
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    if pairs and all(len(pair) == 2 and pair[0].isdecimal() for pair in pairs):
        numbered = {int(number): label.strip() for number, label in pairs}
        if max(numbered) < 10 * len(numbered) + 1000:  # a list with small gaps, not a text about years
            return [numbered.get(i, f"class {i}") for i in range(max(numbered) + 1)]
    return [line.strip() for line in lines]
