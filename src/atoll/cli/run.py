"""``atoll run``: a model and a number of Edge TPUs → a pipeline, a proof, and a table."""

from __future__ import annotations

import itertools
import tempfile

import click

from atoll.cli.output import json_option, print_json, progress, quiet_option, table


@click.command("run")
@click.argument("model", type=click.Path(readable=False))
@click.option("--tpus", default=2, show_default=True, type=click.IntRange(1), help="Segments, one Edge TPU for each.")
@click.option("--inferences", default=100, show_default=True, type=click.IntRange(1), help="How many inputs to run.")
@click.option("--input", "input_file", metavar="FILE", help="A .npy or .npz file or an image; random values otherwise.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random inputs.")
@click.option(
    "--segments-dir", metavar="DIR", help="Keep the compiled segments there.  [default: a temporary directory]"
)
@click.option("--wait", metavar="SECONDS", type=float, help="How long to wait for busy devices.  [default: for ever]")
@json_option
@quiet_option
def command(
    model: str,
    tpus: int,
    inferences: int,
    input_file: str | None,
    seed: int,
    segments_dir: str | None,
    wait: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Cut MODEL into segments and run them as a pipeline on several Edge TPUs.

    The first outputs are compared bit for bit with those of the uncut model.
    """
    from atoll import toolchain
    from atoll.report.run import COLUMNS, rows
    from atoll.run.inputs import random_inputs, read_inputs

    network = toolchain.load(model)
    inputs = itertools.cycle(read_inputs(input_file, network.main)) if input_file else random_inputs(network.main, seed)
    with (
        tempfile.TemporaryDirectory(prefix="atoll-") as temporary,
        progress(f"running {model}", inferences, quiet) as show,
    ):
        report = toolchain.run_pipeline(
            network, tpus, inputs, inferences, segments_dir or temporary, show, timeout=wait, on_wait=_say
        )
    if as_json:
        print_json("run", **report.fields())
        return
    table(COLUMNS, rows(report))
    click.echo(
        f"Outputs of the first {report.verified} inferences equal those of the uncut model bit for bit "
        "(both on LiteRT's built-in kernels, without XNNPACK)."
    )
    click.echo(
        f"{report.throughput:.1f} inferences/s over {report.inferences}; segment {report.bottleneck} is the slowest "
        f"and alone would allow {report.ideal_throughput:.1f}/s ({report.efficiency:.0%} reached)."
    )
    click.echo(f"Times: {report.times}.")
    if segments_dir:
        click.echo(f"Compiled segments: {segments_dir}")


def _say(message: str) -> None:
    click.echo(message, err=True)
