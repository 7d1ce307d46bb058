"""``model_pipelining DIR NAME SEGMENTS INFERENCES``: compiled segments → a pipeline, and what each of them did."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from atoll.cli.entry import exit_on_sigterm, invoke
from atoll.cli.options import INFERENCES
from atoll.cli.output import say, show


@click.command("model_pipelining", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("name")
@click.argument("segments", type=click.IntRange(1))
@click.argument("inferences", type=INFERENCES)
def command(directory: Path, name: str, segments: int, inferences: int) -> None:
    """Run the SEGMENTS files that the compiler made of the model NAME (without .tflite) in DIR as a pipeline.

    Each segment gets an Edge TPU of its own; INFERENCES random inputs are run.
    """
    from atoll.api.run import run
    from atoll.compiler.deployment import segment_files

    files = segment_files(directory, name, segments)
    show(run(files, inferences=inferences, on_message=say), "text")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit."""
    if arguments is None:  # the process is ours: leave through the ``with`` blocks
        exit_on_sigterm()
    sys.exit(invoke(command, arguments))
