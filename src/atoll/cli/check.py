"""``atoll check``: a model → which operators the Edge TPU would run, and why not the others."""

from __future__ import annotations

import click

from atoll.cli.options import format_option, model_argument
from atoll.cli.output import show


@click.command("check")
@model_argument
@click.option(
    "-m",
    "--min-runtime-version",
    "min_runtime",
    default=14,
    show_default=True,
    help="Oldest Edge TPU runtime to support.",
)
@format_option
def command(model: str, min_runtime: int, output_format: str) -> None:
    """Say which operators of MODEL would run on the Edge TPU, and why the others would not.

    Nothing is written. Every reason is given, with what to do about it; operators that stay on the CPU only because
    they follow another one are counted with it (--json lists them).
    """
    from atoll.api.check import check

    show(check(model, min_runtime=min_runtime), output_format)
