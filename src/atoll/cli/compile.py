"""``atoll compile``: models → files for the Edge TPU, with what was decided and why."""

from __future__ import annotations

from typing import Any

import click

from atoll.cli.options import (
    OUTPUT_DIRECTORY,
    OUTPUT_FILE,
    FiniteFloat,
    codegen_option,
    compiler_option,
    format_option,
    models_argument,
    quiet_option,
)
from atoll.cli.output import progress, say, show

_NUMBER = click.IntRange(1)


@click.command("compile")
@models_argument
@click.option(
    "-o", "--output-dir", default="", metavar="DIR", type=OUTPUT_DIRECTORY, help="Where the files go.  [default: .]"
)
@click.option("-n", "--segments", type=_NUMBER, help="Segments to cut one model into, a file each.  [default: 1]")
@click.option("--partition", metavar="FILE", help="Cut as this file of atoll partition says.")
@click.option(
    "-m", "--min-runtime-version", "min_runtime", type=int, metavar="N", help="Oldest Edge TPU runtime to support."
)
@click.option("-a", "--all-regions", is_flag=True, help="Map every supported part, each as its own custom operator.")
@click.option(
    "-i",
    "--intermediate-tensors",
    "stop_at",
    default="",
    metavar="NAMES",
    help="Tensors where mapping stops, with commas between; lists of several models with colons between.",
)
@click.option("-d", "--search", is_flag=True, help="If compilation fails, stop earlier in the graph and try again.")
@click.option(
    "-k", "--search-step", type=_NUMBER, help="By how many operators --search stops earlier each time.  [default: 1]"
)
@click.option(
    "-t",
    "--timeout",
    default=180.0,
    show_default=True,
    type=FiniteFloat(0.001, 1e6),
    help="Seconds that compiling may take.",
)
@click.option("--order", type=click.Choice(["given", "best"]), default="given", help="Order of co-compiled models.")
@click.option("--rate", "rates", multiple=True, metavar="MODEL=R", help="How often a model runs, for --order best.")
@click.option("--generation", help="Vendor compiler to follow: 1.0, 2.0 ... 16.  [default: 16]")
@click.option(
    "--no-cpu-subgraph",
    "cpu_graph",
    flag_value=False,
    default=True,
    help="Leave the original operators out: smaller files, not for plain LiteRT.",
)
@codegen_option
@compiler_option
@click.option("--csv", metavar="FILE", type=OUTPUT_FILE, help="Write one row per operator.")
@format_option
@quiet_option
def command(models: tuple[str, ...], output_format: str, quiet: bool, **options: Any) -> None:
    """Compile MODEL for the Edge TPU; several MODELs share one Edge TPU's memory.

    Our own files run on virtual devices and, without any, on the CPU; real Edge TPUs need the vendor's compiler. With
    that, the report shows its answer and what we predicted. All files are named as the vendor names them.
    """
    from atoll.api.compile import compile  # noqa: A004 - the command's name
    from atoll.products.progress import ignore

    with progress(quiet) as on_progress:
        report = compile(models, on_progress=on_progress, on_message=ignore if quiet else say, **options)
    show(report, output_format)
