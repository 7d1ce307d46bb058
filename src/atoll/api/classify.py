"""``atoll.classify``: a model and images → the most probable classes of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atoll.errors import UsageError
from atoll.learning.image_runs import ImageRuns
from atoll.learning.labels import read_labels
from atoll.model.load import ModelLike, load
from atoll.products.arguments import require_types, require_within
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.reporting.classify_report import ClassifyReport, ClassScore


def classify(
    model: ModelLike,
    images: Sequence[str | Path],
    *,
    labels: str | Path | None = None,
    top: int = 3,
    threshold: float = 0.0,
    devices: str | Sequence[str] = (),
    segments: int = 1,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> ClassifyReport:
    """Say what images show, according to a model. A model that is not compiled is compiled for the devices first.

    Args:
        model: A classifier, or the path of its ``.tflite`` file: one image in, a score per class out.
        images: Files that Pillow can read, resized to what the model takes; ``.npy`` files are taken as they are.
        labels: A file with one label per line, or a number and a label; without it classes are named by numbers.
        top: How many classes of each image to give, 1 or more.
        threshold: The least score to give.
        devices: ``usb``, ``pci:1``, ``:2``, a path, or ``cpu`` alone; none: every Edge TPU.
        segments: Cut the model into a pipeline over so many devices.
        on_progress: Called with how many images are done.
        on_message: Called with what the work waits for.

    Raises:
        UsageError: A number that cannot be, or fewer devices than segments.
        FileAccessError, InvalidModelError, InputError: A file cannot be read.
        DeviceError: A name means no device.

    >>> atoll.classify("pets.tflite", ["new.jpg"], labels="pets_labels.txt").results[0].label  # doctest: +SKIP
    'cat'
    """
    require_types(classify, locals())
    require_within(1, top=top, segments=segments)
    if not images:
        raise UsageError("no image is given", "Name one or more.")
    if not math.isfinite(threshold):
        raise UsageError(f"--threshold is {threshold}", "Give a finite number.")
    classifier = load(model)
    names = read_labels(labels) if labels else []
    names_of_devices = (devices,) if isinstance(devices, str) else devices
    runs = ImageRuns(names_of_devices, segments, on_progress=on_progress, on_message=on_message)
    found: list[ClassScore] = []
    # The results first: they give the devices back when they are asked for one more than there is.
    for result, image in zip(runs.results(classifier, [Path(image) for image in images], "classifying"), images):
        assert result is not None  # images that cannot be read raise
        scores = result.reshape(-1)
        # Stable, so that of equal scores the first class comes first, as argmax has it.
        best = [int(i) for i in np.argsort(-scores, kind="stable")[:top] if scores[i] >= threshold]
        found += [
            ClassScore(str(image), i, names[i] if i < len(names) else f"class {i}", float(scores[i])) for i in best
        ]
    return ClassifyReport(classifier.path, tuple(map(str, images)), threshold, tuple(found))
