"""``atoll partition``: a model and a number of Edge TPUs → where to cut it, why there, and a file of it."""

from __future__ import annotations

from typing import Any

import click

from atoll.cli.options import (
    OUTPUT_FILE,
    POSITIVE,
    FiniteFloat,
    bus_option,
    format_option,
    measuring_device_option,
    memory_limit_option,
    mixed_option,
    model_argument,
    quiet_option,
    store_option,
    target_option,
    timeout_option,
)
from atoll.cli.output import progress, say, say_each, show


@click.command("partition")
@model_argument
@click.option("--tpus", type=click.IntRange(1), help="Most segments to cut into, one Edge TPU for each.")
@mixed_option
@click.option("--exactly", is_flag=True, help="Use every Edge TPU, even where fewer would do.")
@click.option("--replicas", type=click.IntRange(1, 64), metavar="R", help="Up to R Edge TPUs for a slow segment.")
@memory_limit_option
@click.option("--objective", type=click.Choice(["throughput", "latency"]), help="[default: throughput]")
@click.option("--max-latency", metavar="MS", type=POSITIVE, help="Longest time from input to output.")
@click.option("--pin", "pins", multiple=True, metavar="TENSOR", help="Cut behind the operator that writes TENSOR.")
@bus_option
@target_option
@click.option("-o", "--output", metavar="FILE.json", type=OUTPUT_FILE, help="Write the partition there.")
@click.option("--check", metavar="FILE.json", help="Check the partition in this file instead.")
@click.option("--measure", is_flag=True, help="Compile and measure the segments that the search asks for.")
@measuring_device_option
@click.option(
    "--budget",
    metavar="MIN",
    type=POSITIVE,
    help="Minutes to measure. One complete partition is measured in any case.",
)
@click.option(
    "--tolerance",
    metavar="PCT",
    type=FiniteFloat(0, 100),
    help="Measure until the cuts are proven to be within PCT % of the best.  [default: 2]",
)
@click.option("--compiler", metavar="PATH", help="A compiler with the vendor's command line.  [default: atoll's]")
@timeout_option
@store_option
@format_option
@quiet_option
def command(model: str, measure: bool, output_format: str, quiet: bool, **options: Any) -> None:
    """Say where to cut MODEL so that the slowest segment is as fast as possible, and why there.

    The cuts are the best there are under the timing model, along branches too; no Edge TPU is used. With --measure
    segments are compiled and measured on one, as far as the search needs it.
    """
    from atoll.api.partition import partition

    with progress(quiet or measure) as told:
        on_progress = say_each(quiet) if measure else told
        report = partition(model, measure=measure, **options, on_progress=on_progress, on_message=say)
    show(report, output_format)
