"""``atoll plan``: models and numbers of Edge TPUs → what each of them can do, and whether more would help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from atoll.cli.fleets import (
    CPU_CORES,
    TARGETS,
    fleet_costs,
    hosts_of,
    how,
    load_graph,
    memory_option,
    mixed_option,
)
from atoll.cli.old_output import json_option, print_json, progress, quiet_option, table
from atoll.cli.options import OUTPUT_FILE, POSITIVE
from atoll.errors import PartitionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from atoll.partitioning.fleet_costs import FleetCosts
    from atoll.partitioning.segment_costs import MemoryLimit
    from atoll.planning.counts import Arrangement
    from atoll.reporting.plan_report import PlannedUse, PlanReport

MOST = 16
"""The search takes seconds for each number of devices from about here on."""


@click.command("plan")
@click.argument("model", type=click.Path(readable=False))
@click.option("--models", "more", multiple=True, metavar="MODEL", help="Another model for the same Edge TPUs.")
@click.option("--tpus", metavar="FROM..TO", help="Numbers of Edge TPUs.  [default: 1..8]")
@mixed_option
@click.option(
    "--fps",
    multiple=True,
    type=POSITIVE,
    help="The wanted inferences per second; of several models one for all, or one for each in their order.",
)
@memory_option
@click.option("--bus", type=click.Choice([*TARGETS]), help="What the Edge TPUs hang on.  [default: pcie]")
@click.option("--target", metavar="NAME|FILE", help="Host: one of the package, or a .toml file, instead of --bus.")
@click.option("--chart", "chart_file", metavar="FILE.svg", type=OUTPUT_FILE, help="Write a chart.")
@json_option
@quiet_option
def command(
    model: str,
    more: tuple[str, ...],
    tpus: str | None,
    mixed: tuple[str, ...],
    fps: tuple[float, ...],
    memory_limit: MemoryLimit,
    bus: str | None,
    target: str | None,
    chart_file: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say what each number of Edge TPUs can do with MODEL, without any.

    For each number the best of a pipeline, copies of the whole model, and a pipeline whose slow segments have replicas.
    With --models: which of the models share an Edge TPU, and which get their own.
    """
    if mixed and tpus is not None:
        raise UsageError("--tpus and --mixed both say how many Edge TPUs there are", "Leave one of the two out.")
    first, last = (1, len(mixed)) if mixed else _range(tpus or "1..8")
    hosts = hosts_of(mixed, bus, target)
    if chart_file is not None and not chart_file.endswith(".svg"):
        raise UsageError(f"{chart_file} would not be recognised as a chart", "Name it FILE.svg.")
    if len(fps) not in (0, 1, len(more) + 1):
        raise UsageError(f"--fps is given {len(fps)} times for {len(more) + 1} models", "Give it once, or for each.")
    if more:
        from atoll.cli.plan_models import plan_models

        given = {"--mixed": mixed, "--chart": chart_file, "--memory-limit": memory_limit}
        for option in (name for name, value in given.items() if value):
            raise UsageError(f"{option} does not go with --models", "Plan one model, or several without it.")
        plan_models([model, *more], hosts["any"], first, last, fps, as_json, quiet)
        return
    from atoll.files import write_file
    from atoll.reporting.plan_report import COLUMNS, chart, rows

    costs = fleet_costs(load_graph(model), hosts, memory_limit)
    counts = sorted({*range(first, last + 1), *(() if mixed else (first + 2, last + 1, last + 2))})
    searches = [(count, mixed) for count in counts]
    searches += [(last + 2, (*mixed, kind, kind)) for kind in dict.fromkeys(mixed)]
    with progress(f"planning {model}", total=len(searches), quiet=quiet) as done:
        report = _plan(model, costs, searches, last, fps[0] if fps else None, done)
    if chart_file is not None:
        write_file(chart_file, chart(report))
    if as_json:
        print_json("plan", **report.fields())
        return
    table(COLUMNS, rows(report))
    for sentence in (*report.answer(), *report.provenance()):
        click.echo(sentence)


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})(?:\.\.(\d{1,4}))?", text, re.ASCII)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= MOST:
        raise UsageError(f"--tpus is '{text}'", f"Write a number or a range such as 1..8, from 1 up to {MOST}.")
    return first, last


def _plan(
    model: str,
    costs: FleetCosts,
    searches: Sequence[tuple[int, tuple[str, ...]]],
    last: int,
    fps: float | None,
    done: Callable[[int], None],
) -> PlanReport:
    """``searches``: numbers of devices with their kinds; those with more than ``last`` are for the answer only."""
    from atoll.planning.best_uses import best_uses
    from atoll.reporting.plan_report import PlanReport, PlanRow

    shown, beyond, too_few = list[PlanRow](), list[PlanRow](), list[int]()
    more: list[tuple[str, PlannedUse]] = []
    for number, (count, kinds) in enumerate(searches, start=1):
        try:
            (plan,) = best_uses(costs, [count], kinds)
        except PartitionError:
            if count >= last:  # what it takes is said for the largest number that was asked for
                raise
            too_few.append(count)
            continue
        row = PlanRow(
            count,
            planned_use(costs, plan.best),
            planned_use(costs, plan.pipeline),
            None if plan.copies is None else planned_use(costs, plan.copies),
        )
        if count <= last:
            shown.append(row)
        elif kinds:
            more.append((kinds[-1], row.best))
        else:
            beyond.append(row)
        done(number)
    reasons = (*how(costs), *_limits(costs))
    return PlanReport(model, costs.name, tuple(shown), tuple(beyond), fps, reasons, tuple(more), tuple(too_few))


def _limits(costs: FleetCosts) -> list[str]:
    """What a plan does not consider, or takes to be so."""
    from atoll.partitioning.best_cuts import has_branches

    texts = ["Copies and replicas are taken to share the work evenly; they were never compared with measurements."]
    if len(costs.first.mapped) < len(costs.graph.operators):
        texts.append(CPU_CORES)
    if len(costs.targets) > 1:
        texts.append("Copies of the whole model are of one bus: copies on several at once are not considered.")
    if has_branches(costs.graph):
        texts.append(
            "Pipelines are cut in execution order, within 1 % of the best such cuts; atoll partition --replicas also "
            "cuts along branches, which may be faster."
        )
    return texts


def planned_use(costs: FleetCosts, found: Arrangement) -> PlannedUse:
    """An arrangement, for a report."""
    from atoll.estimate.accuracy import held_out_error
    from atoll.reporting.plan_report import PlannedStage, PlannedUse

    graph = costs.graph
    stages = []
    for stage, use in zip(found.stages, found.utilisation):
        outputs = graph.operators[stage.end - 1].outputs
        name = graph.tensors[outputs[0]].name if outputs else ""
        streamed, ms = costs.streamed_bytes(stage.start, stage.end), stage.seconds * 1e3
        stages.append(PlannedStage(stage.start, stage.end, name, stage.kind, stage.replicas, ms, use, streamed))
    tpus = found.devices if len(stages) > 1 else 1  # of copies each is a single device
    accuracy = None
    if len(costs.targets) == 1:
        accuracy = held_out_error(costs.first.target, tpus, hosted=len(costs.first.mapped) < len(graph.operators))
    return PlannedUse(found.shape, found.devices, found.throughput, found.latency * 1e3, tuple(stages), accuracy)
