"""``atoll plan``: models and numbers of Edge TPUs → what each of them can do, and whether more would help."""

from __future__ import annotations

import click

from atoll.cli.options import (
    MODEL,
    POSITIVE,
    bus_option,
    format_option,
    memory_limit_option,
    mixed_option,
    models_argument,
    quiet_option,
    target_option,
)
from atoll.cli.output import progress, show


@click.command("plan")
@models_argument
@click.option("--models", "more", multiple=True, type=MODEL, metavar="MODEL", help="One more model.")
@click.option("--tpus", metavar="FROM..TO", help="Numbers of Edge TPUs.  [default: 1..8]")
@mixed_option
@click.option("--fps", multiple=True, type=POSITIVE, help="Wanted inferences/s: once, or for each model.")
@memory_limit_option
@bus_option
@target_option
@format_option
@quiet_option
def command(
    models: tuple[str, ...],
    more: tuple[str, ...],
    tpus: str | None,
    mixed: str | None,
    fps: tuple[float, ...],
    memory_limit: str | None,
    bus: str | None,
    target: str | None,
    output_format: str,
    quiet: bool,
) -> None:
    """Say what each number of Edge TPUs can do with MODEL, without any.

    For each number the best of a pipeline, copies of the whole model, and a pipeline whose slow segments have replicas.
    With several models: which of them share an Edge TPU, and which get their own.
    """
    from atoll.api.plan import plan

    with progress(quiet) as on_progress:
        report = plan(
            [*models, *more],
            tpus=tpus,
            mixed=mixed,
            fps=fps,
            memory_limit=memory_limit,
            bus=bus,
            target=target,
            on_progress=on_progress,
        )
    show(report, output_format)
