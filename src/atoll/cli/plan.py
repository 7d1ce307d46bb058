"""``atoll plan``: a model and numbers of Edge TPUs → what each of them can do, and whether more would help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from atoll.cli.output import json_option, print_json, progress, quiet_option, table
from atoll.errors import UsageError

if TYPE_CHECKING:
    from atoll.plan import Arrangement
    from atoll.planning import SegmentCosts
    from atoll.report.plan import PlannedUse, PlanReport
    from atoll.target.host import Target

TARGETS = {"pcie": "x86-pcie", "usb3": "desktop-usb3", "usb2": "pi3-usb2"}
"""The measured host that stands for a bus."""
MOST = 16
"""The search takes seconds for each number of devices from about here on."""


@click.command("plan")
@click.argument("model", type=click.Path(readable=False))
@click.option("--tpus", default="1..8", show_default=True, metavar="FROM..TO", help="Numbers of Edge TPUs.")
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="The wanted inferences per second.")
@click.option("--bus", type=click.Choice([*TARGETS]), help="What the Edge TPUs hang on.  [default: pcie]")
@click.option("--target", metavar="NAME|FILE", help="Host: one of the package, or a .toml file, instead of --bus.")
@click.option("--chart", "chart_file", metavar="FILE.svg", help="Write a chart.")
@json_option
@quiet_option
def command(
    model: str,
    tpus: str,
    fps: float | None,
    bus: str | None,
    target: str | None,
    chart_file: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say what each number of Edge TPUs can do with MODEL, without any.

    For each number the best of a pipeline, copies of the whole model, and a pipeline whose slow segments have replicas.
    """
    first, last = _range(tpus)
    host = load_host(bus, target)
    if chart_file is not None and not chart_file.endswith(".svg"):
        raise UsageError(f"{chart_file} would not be recognised as a chart", "Name it FILE.svg.")
    from atoll.files import write_file
    from atoll.report.plan import COLUMNS, chart, rows

    costs = load_costs(model, host)
    with progress(f"planning {model}", quiet=quiet):
        report = _plan(model, costs, first, last, fps)
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


def load_host(bus: str | None, target: str | None) -> Target:
    """The host that ``--bus`` or ``--target`` names."""
    from atoll.target.host import load_target

    if bus and target:
        raise UsageError("--bus and --target both name a host", "Leave one of the two out.")
    return load_target(target or TARGETS[bus or "pcie"])


def load_costs(path: str, host: Target) -> SegmentCosts:
    """The costs of a model's segments; raises as compiling it would."""
    from atoll import toolchain
    from atoll.check import require_compilable
    from atoll.planning import SegmentCosts, cut_places

    model = toolchain.load(path)
    require_compilable(model)
    cut_places(model.main, 1)
    return SegmentCosts(model.main, host)


def how(costs: SegmentCosts) -> tuple[str, ...]:
    """How the predictions were obtained."""
    target = costs.target
    hosted = len(costs.graph.operators) - len(costs.mapped)
    return (
        f"Times are modelled (docs/timing.md) with the numbers of {target.name}; no Edge TPU was used. The memory is "
        "planned as atoll's compiler does; the size of the instruction stream is estimated.",
        *([f"{hosted} operators stay on the CPU, in every segment; their times are estimated."] if hosted else []),
    )


def _plan(model: str, costs: SegmentCosts, first: int, last: int, fps: float | None) -> PlanReport:
    from atoll.planning import best_uses
    from atoll.report.plan import PlanReport, PlanRow

    every = [
        PlanRow(plan.devices, _use(costs, plan.best), _use(costs, plan.pipeline), _use(costs, plan.copies))
        for plan in best_uses(costs, sorted({*range(first, last + 1), first + 2, last + 1, last + 2}))
    ]
    shown, beyond = [row for row in every if row.devices <= last], [row for row in every if row.devices > last]
    replicas = "Copies and replicas are taken to share the work evenly; they were never compared with measurements."
    return PlanReport(model, costs.target.name, tuple(shown), tuple(beyond), fps, (*how(costs), replicas))


def _use(costs: SegmentCosts, found: Arrangement) -> PlannedUse:
    from atoll.profiling import held_out_error
    from atoll.report.plan import PlannedStage, PlannedUse

    graph = costs.graph
    stages = []
    for stage, use in zip(found.stages, found.utilisation):
        outputs = graph.operators[stage.end - 1].outputs
        name = graph.tensors[outputs[0]].name if outputs else ""
        streamed = costs.streamed_bytes(stage.start, stage.end)
        stages.append(PlannedStage(stage.start, stage.end, name, stage.replicas, stage.seconds * 1e3, use, streamed))
    tpus = found.devices if len(stages) > 1 else 1  # of copies each is a single device
    accuracy = held_out_error(costs.target, tpus, hosted=len(costs.mapped) < len(graph.operators))
    return PlannedUse(found.shape, found.devices, found.throughput, found.latency * 1e3, tuple(stages), accuracy)
