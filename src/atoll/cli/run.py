"""``atoll run``: a model and a number of Edge TPUs → a pipeline, a proof, and a table."""

from __future__ import annotations

from typing import Any

import click

from atoll.cli import options
from atoll.cli.live import live_view
from atoll.cli.output import say, show


@click.command("run")
@options.models_argument
@click.option("--tpus", type=click.IntRange(1), help="Segments, one Edge TPU for each.  [default: 2]")
@click.option("--partition", metavar="FILE.json", help="Cut as this file of atoll partition says.")
@options.inferences_option
@click.option("--input", metavar="FILE", help="A .npy or .npz file or an image; random values otherwise.")
@options.seed_option
@options.original_option
@click.option("--segments-dir", metavar="DIR", type=options.OUTPUT_DIRECTORY, help="Keep the compiled segments there.")
@options.codegen_option
@options.compiler_option
@options.devices_option
@options.wait_option
@click.option(
    "--stall",
    metavar="SECONDS",
    default=120.0,
    show_default=True,
    type=options.FiniteFloat(0.1, 1e6),
    help="Give up when a segment takes longer for one inference.",
)
@click.option(
    "--real-time",
    is_flag=True,
    help="Virtual devices take the modelled time: for --bus or --target, else each for its own bus.",
)
@options.bus_option
@options.target_option
@options.clock_option
@click.option(
    "--per-device",
    type=click.IntRange(1, 8),
    metavar="N",
    help="Interpreters per Edge TPU: with 2, tensors are copied while it works.  "
    "[default: 2 with --real-time, 1 otherwise]",
)
@click.option(
    "--metrics", "metrics_port", metavar="PORT", type=click.IntRange(0, 65535), help="Serve Prometheus on 127.0.0.1."
)
@options.trace_option
@options.format_option
@options.quiet_option
def command(models: tuple[str, ...], output_format: str, quiet: bool, **request: Any) -> None:
    """Cut MODEL into segments and run them as a pipeline on several Edge TPUs.

    The first outputs are compared with those of the uncut model: bit for bit on virtual devices. MODEL may also be the
    compiled segments of a model, in order.
    """
    from atoll.api.run import run

    with live_view(quiet) as view:
        report = run(models, **request, watch=view.watch, on_progress=view.on_progress, on_message=say)
    show(report, output_format)
