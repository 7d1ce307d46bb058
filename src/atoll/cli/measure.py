"""``atoll measure``: a model and a device → how long its inferences take there."""

from __future__ import annotations

from typing import Any

import click

from atoll.cli.options import (
    clock_option,
    device_option,
    format_option,
    inferences_option,
    model_argument,
    original_option,
    quiet_option,
    target_option,
    trace_option,
    wait_option,
)
from atoll.cli.output import progress, say, show


@click.command("measure")
@model_argument
@device_option
@inferences_option
@target_option
@clock_option
@original_option
@wait_option
@trace_option
@format_option
@quiet_option
def command(model: str, output_format: str, quiet: bool, **options: Any) -> None:
    """Run MODEL, compiled or not, on one Edge TPU, and say how long its inferences take there.

    Beside it stands what is modelled for --target, or for the measured host of the device's bus. A virtual device has
    no speed of its own: it takes the modelled time.
    """
    from atoll.api.measure import measure

    with progress(quiet) as told:
        report = measure(model, **options, on_progress=told, on_message=say)
    show(report, output_format)
