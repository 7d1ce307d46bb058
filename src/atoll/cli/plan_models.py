"""``atoll plan --models``: models and numbers of Edge TPUs → which models share one, and which get their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from atoll.cli.fleets import fleet_costs, how, load_graph
from atoll.cli.old_output import print_json, progress, table
from atoll.cli.plan import planned_use
from atoll.errors import UsageError

if TYPE_CHECKING:
    from atoll.hardware.host import Target
    from atoll.partitioning.fleet_costs import FleetCosts
    from atoll.planning.several import Group
    from atoll.planning.sharing import Sharing
    from atoll.reporting.shared_plan_report import ServedGroup


def plan_models(
    models: Sequence[str],
    host: Target,
    first: int,
    last: int,
    fps: tuple[float, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Print the best way to share each number of Edge TPUs; ``fps`` is empty, one for all, or one for each."""
    from atoll.planning.several import MAX_MODELS
    from atoll.planning.sharing import Sharing
    from atoll.reporting.shared_plan_report import COLUMNS, SharedReport, SharedRow, rows

    if len(models) > MAX_MODELS:
        raise UsageError(f"{len(models)} models are too many to plan together", f"Plan {MAX_MODELS} at a time.")
    wanted = fps * len(models) if len(fps) == 1 else fps
    costs = [fleet_costs(load_graph(path), {"any": host}) for path in models]
    found = []
    with progress(f"planning {len(models)} models", total=last - first + 1, quiet=quiet) as done:
        sharing = Sharing(models, [own.first for own in costs], wanted or (1.0,) * len(models), last)
        for number, devices in enumerate(range(first, last + 1), start=1):
            assignment = sharing.on(devices)
            groups = tuple(_served(sharing, costs, group, wanted) for group in assignment.groups)
            found.append(SharedRow(devices, groups, assignment.satisfaction))
            done(number)
    shared = (
        "Models that share an Edge TPU are taken to be compiled together and to take turns; that was never measured."
    )
    reasons = tuple(dict.fromkeys(sentence for own in costs for sentence in how(own)))
    report = SharedReport(tuple(models), host.name, tuple(found), wanted, (*reasons, shared))
    if as_json:
        print_json("plan_models", **report.fields())
        return
    table(COLUMNS, list(rows(report)))
    for sentence in (*report.answer(), *report.how):
        click.echo(sentence)


def _served(sharing: Sharing, costs: Sequence[FleetCosts], group: Group, wanted: Sequence[float]) -> ServedGroup:
    from atoll.reporting.shared_plan_report import ServedGroup, ServedModel

    use = None
    if len(group.models) == 1:
        number = group.models[0]
        use = planned_use(costs[number], sharing.plans[number][group.devices - 1].best)
    off_chip = sharing.off_chip_bytes(group.models) if use is None else (use.off_chip_bytes,)
    return ServedGroup(
        group.devices,
        tuple(
            ServedModel(sharing.needs[n].name, wanted[n] if wanted else None, rate, nbytes)
            for n, rate, nbytes in zip(group.models, group.rates, off_chip)
        ),
        use,
    )
