"""``atoll zoo``: the standard networks."""

from __future__ import annotations

import click

from atoll.cli.options import OUTPUT_FILE, format_option, quiet_option, seed_option
from atoll.cli.output import progress, show


@click.group("zoo")
def command() -> None:
    """Standard networks as full-integer int8 models with random weights.

    Good for measuring and for trying things out: shapes, parameters and multiply-accumulates are those of the
    published networks, the weights are random, so the answers mean nothing.
    """


@command.command("list")
@format_option
def list_(output_format: str) -> None:
    """List the networks with their sizes."""
    from atoll.api.zoo import zoo

    show(zoo(), output_format)


@command.command("build")
@click.argument("name")
@click.option("-o", "--output", metavar="FILE", type=OUTPUT_FILE, help="Where to write it.  [default: NAME.tflite]")
@seed_option
@format_option
@quiet_option
def build(name: str, output: str | None, seed: int, output_format: str, quiet: bool) -> None:
    """Build network NAME and write it as a .tflite file."""
    from atoll.api.zoo import zoo

    with progress(quiet) as told:
        report = zoo(name, seed=seed, output=output, on_progress=told)
    show(report, output_format)
