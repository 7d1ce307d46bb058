"""``atoll classify``: a model and images → the most probable classes of each."""

from __future__ import annotations

from typing import Any

import click

from atoll.cli.options import FiniteFloat, devices_or_cpu_option, format_option, pipeline_segments_option, quiet_option
from atoll.cli.output import progress, say, show


@click.command("classify")
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--labels", metavar="FILE", help="One label per line, or a number and a label.")
@click.option("--top", default=3, show_default=True, type=click.IntRange(1), help="How many classes to show.")
@click.option("--threshold", default=0.0, show_default=True, type=FiniteFloat(), help="The least score to show.")
@devices_or_cpu_option
@pipeline_segments_option
@format_option
@quiet_option
def command(output_format: str, quiet: bool, **options: Any) -> None:
    """Say what each IMAGE shows, according to MODEL.

    Images are resized to what the model takes. A model that is not compiled is compiled for the devices first.
    """
    from atoll.api.classify import classify

    with progress(quiet) as told:
        report = classify(on_progress=told, on_message=say, **options)
    show(report, output_format)
