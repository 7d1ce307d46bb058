"""``atoll partition``: a model and a number of Edge TPUs → where to cut it, why there, and a file of it."""

from __future__ import annotations

from typing import Literal

import click

from atoll.cli.options import (
    OUTPUT_FILE,
    POSITIVE,
    bus_option,
    format_option,
    memory_limit_option,
    mixed_option,
    model_argument,
    quiet_option,
    target_option,
)
from atoll.cli.output import progress, show
from atoll.cli.partition_measured import with_measuring


@click.command("partition")
@model_argument
@click.option("--tpus", type=click.IntRange(1), help="At most so many segments, one Edge TPU for each.")
@mixed_option
@click.option("--exactly", is_flag=True, help="Use every Edge TPU, even where fewer would do.")
@click.option("--replicas", type=click.IntRange(1, 64), metavar="R", help="Up to R Edge TPUs for a slow segment.")
@memory_limit_option
@click.option("--objective", type=click.Choice(["throughput", "latency"]), help="[default: throughput]")
@click.option("--max-latency", metavar="MS", type=POSITIVE, help="From input to output.")
@click.option("--pin", "pins", multiple=True, metavar="TENSOR", help="Cut behind the operator that writes it.")
@bus_option
@target_option
@click.option("-o", "--output", metavar="FILE.json", type=OUTPUT_FILE, help="Write the partition there.")
@click.option("--check", metavar="FILE.json", help="Check a partition, edited maybe, instead.")
@format_option
@quiet_option
@with_measuring
def command(
    model: str,
    tpus: int | None,
    mixed: str | None,
    exactly: bool,
    replicas: int | None,
    memory_limit: str | None,
    objective: Literal["throughput", "latency"] | None,
    max_latency: float | None,
    pins: tuple[str, ...],
    bus: str | None,
    target: str | None,
    output: str | None,
    check: str | None,
    output_format: str,
    quiet: bool,
) -> None:
    """Say where to cut MODEL so that the slowest segment is as quick as can be, and why there.

    The cuts are the best there are under the timing model, along branches too; no Edge TPU is used.
    """
    from atoll.api.partition import partition

    with progress(quiet) as on_progress:
        report = partition(
            model,
            tpus=tpus,
            mixed=mixed,
            exactly=exactly,
            replicas=replicas,
            memory_limit=memory_limit,
            objective=objective,
            max_latency=max_latency,
            pins=pins,
            bus=bus,
            target=target,
            output=output,
            check=check,
            on_progress=on_progress,
        )
    show(report, output_format)
