"""``atoll classify``: a model and images → the most probable classes of each."""

from __future__ import annotations

from pathlib import Path

import click

from atoll.cli.learn import read_labels
from atoll.cli.old_output import json_option, print_json, table
from atoll.cli.options import FiniteFloat
from atoll.cli.workers import device_options, open_workers


@click.command("classify")
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--labels", metavar="FILE", help="One label per line, or a number and a label.")
@click.option("--top", default=3, show_default=True, type=click.IntRange(1), help="How many classes to show.")
@click.option("--threshold", default=0.0, show_default=True, type=FiniteFloat(), help="The least score to show.")
@device_options
@json_option
def command(
    model: str,
    images: tuple[str, ...],
    labels: str | None,
    top: int,
    threshold: float,
    devices: tuple[str, ...],
    segments: int,
    as_json: bool,
) -> None:
    """Say what each IMAGE shows, according to MODEL.

    Images are resized to what the model takes. A model that is not compiled is compiled for the devices first.
    """
    import numpy as np

    from atoll.learning import in_parallel
    from atoll.model.tflite import read_model
    from atoll.products.inputs import read_inputs

    classifier = read_model(model)
    names = read_labels(labels) if labels else []
    found = []
    with open_workers(classifier, devices or (), segments) as workers:
        inputs = in_parallel([Path(i) for i in images], workers, lambda path: read_inputs(path, classifier.main)[0])
        for image, result in zip(images, inputs):
            scores = result.reshape(-1)
            # Stable, so that of equal scores the first class comes first, as argmax has it.
            best = [int(i) for i in np.argsort(-scores, kind="stable")[:top] if scores[i] >= threshold]
            found += [(image, i, names[i] if i < len(names) else f"class {i}", float(scores[i])) for i in best]
    if as_json:
        results = [dict(zip(("image", "class", "label", "score"), item)) for item in found]
        print_json("classify", model=model, results=results)
        return
    table(("image", ">class", "label", ">score"), [(image, str(i), label, f"{s:.3f}") for image, i, label, s in found])
