"""``atoll inspect``: a compiled file → what is in it."""

from __future__ import annotations

import click

from atoll.cli.options import MODEL, format_option
from atoll.cli.output import show


@click.command("inspect")
@click.argument("file", type=MODEL)
@click.option("--original", metavar="MODEL", help="The model it was compiled from: shows where each layer lies.")
@format_option
def command(file: str, original: str | None, output_format: str) -> None:
    """Explain the compiled FILE, made by atoll or by the vendor's compiler.

    A damaged file is explained as far as it can be read, with what is wrong where.
    """
    from atoll.api.inspect import inspect

    report = inspect(file, original=original)
    show(report, output_format)
    report.require_whole()
