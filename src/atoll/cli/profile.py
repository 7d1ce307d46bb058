"""``atoll profile``: a model and a host → where the time of an inference goes, or runs → a target of one's own."""

from __future__ import annotations

from typing import Any

import click

from atoll.cli.options import (
    MODEL,
    OUTPUT_FILE,
    bus_option,
    clock_option,
    device_option,
    format_option,
    inferences_option,
    original_option,
    quiet_option,
    require_none_given,
    target_option,
    trace_option,
    wait_option,
)
from atoll.cli.output import progress, say, show
from atoll.errors import UsageError

_EXAMPLES = "atoll profile MODEL, or atoll profile --calibrate RUNS.json -o my.toml."


@click.command("profile")
@click.argument("model", required=False, type=MODEL)
@bus_option
@target_option
@click.option("--tpus", default=1, show_default=True, type=click.IntRange(1), help="Segments, one Edge TPU for each.")
@clock_option
@original_option
@click.option(
    "--measure-cpu", is_flag=True, help="Run the operators that stay on the CPU here, instead of estimating them."
)
@device_option
@inferences_option
@wait_option
@click.option("--csv", metavar="FILE", type=OUTPUT_FILE, help="Write a row per operator; with --device what it took.")
@trace_option
@click.option("--calibrate", "runs", metavar="FILE", help="Fit a target to the measured runs in a JSON file.")
@click.option("-o", "--output", metavar="FILE", type=OUTPUT_FILE, help="Where --calibrate writes the target (.toml).")
@format_option
@quiet_option
def command(
    model: str | None, runs: str | None, output: str | None, output_format: str, quiet: bool, **options: Any
) -> None:
    """Say where the time of an inference of MODEL goes, without an Edge TPU or beside a measurement on one.

    MODEL is compiled first, in as many segments as there are Edge TPUs, or is a compiled file. With --device it also
    runs there, and measured times stand beside the modelled ones; a virtual device has no speed of its own and takes
    the modelled time. With --calibrate there is no MODEL: measured latencies make a target of your own, to be named
    with --target; those that the file does not have are measured on --device.
    """
    if runs is not None:
        message = "--calibrate profiles no model"
        require_none_given(message, "model", "tpus", "clock", "original", "measure_cpu", "csv", "trace")
        if output is None:
            raise UsageError("--calibrate needs --output FILE.toml", _EXAMPLES)
        from atoll.api.calibrate import calibrate

        shared = {name: options[name] for name in ("bus", "target", "device", "inferences", "wait")}
        with progress(quiet) as told:
            fitted = calibrate(runs, output=output, **shared, on_progress=told, on_message=say)
        show(fitted, output_format)
        return
    require_none_given("--output goes with --calibrate", "output")
    if model is None:
        raise UsageError("no model is named", _EXAMPLES)
    from atoll.api.profile import profile

    with progress(quiet) as told:
        report = profile(model, **options, on_progress=told, on_message=say)
    show(report, output_format)
