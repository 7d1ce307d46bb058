"""``atoll learn``: an extractor and folders of images → a classifier, its labels, and how well it does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import click

from atoll.cli.options import (
    OUTPUT_FILE,
    FiniteFloat,
    devices_or_cpu_option,
    format_option,
    pipeline_segments_option,
    quiet_option,
    seed_option,
)
from atoll.cli.output import progress, say, show

_F = TypeVar("_F", bound=Callable[..., Any])
_COUNT = click.IntRange(1)


@click.group("learn")
def command() -> None:
    """Train the last layer of a model on images, the rest of it running on Edge TPUs."""


def _common_options(function: _F) -> _F:
    options = (
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
        seed_option,
        click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be read."),
        devices_or_cpu_option,
        pipeline_segments_option,
        format_option,
        quiet_option,
    )
    return functools.reduce(lambda made, option: option(made), reversed(options), function)


@command.command("imprint")
@click.option("--keep-classes", is_flag=True, help="Keep the classes that the model has.")
@click.option(
    "--base-labels", metavar="FILE", help="Labels of the kept classes; a folder named like one trains it further."
)
@click.option("--append-tail", is_flag=True, help="The model is a plain extractor: append the layers to train.")
@_common_options
def imprint(**options: Any) -> None:
    """Train by weight imprinting: one pass, a few images per class, classes can be added later.

    The model ends with an L2 normalisation and a last layer (CONV_2D, MUL, RESHAPE, SOFTMAX or FULLY_CONNECTED,
    SOFTMAX), or with an embedding and --append-tail is given.
    """
    _learn("imprint", **options)


@command.command("softmax")
@click.option("--iterations", default=500, show_default=True, type=_COUNT, help="Batches to train on.")
@click.option("--batch-size", default=100, show_default=True, type=_COUNT, help="Images per batch.")
@click.option("--learning-rate", default=0.01, show_default=True, type=FiniteFloat(), help="Step along the gradient.")
@click.option(
    "--reg", default=0.0, show_default=True, type=FiniteFloat(), help="Strength of the L2 penalty on the weights."
)
@click.option("--patience", type=_COUNT, help="Stop after so many tests without progress (one in 10 steps).")
@click.option("--curve", metavar="FILE", type=OUTPUT_FILE, help="Write the learning curve as an SVG picture.")
@_common_options
def softmax(**options: Any) -> None:
    """Train by backpropagation: more images, several passes, more accurate where images of a class differ.

    The model is an embedding extractor with an output [1, x] or [1, 1, 1, x].
    """
    _learn("softmax", **options)


def _learn(method: Literal["imprint", "softmax"], output_format: str, quiet: bool, **options: Any) -> None:
    from atoll.api.learn import learn

    with progress(quiet) as told:
        report = learn(method=method, on_progress=told, on_message=say, **options)
    show(report, output_format)
