"""``atoll.plan``: models and numbers of Edge TPUs → what each number can do, and whether more would help."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from atoll.errors import PartitionError, UsageError
from atoll.hardware.buses import mixed_buses
from atoll.hardware.host import Target, hosts_of
from atoll.model.graph import Model
from atoll.model.load import ModelLike, load
from atoll.partitioning.best_cuts import cut_places, has_branches
from atoll.partitioning.fleet_costs import CPU_CORES, FleetCosts
from atoll.partitioning.memory_limit import parse_memory_limit
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.planning.best_use import best_use
from atoll.planning.several import MAX_MODELS
from atoll.planning.sharing import Sharing
from atoll.products.arguments import require_types
from atoll.products.progress import OnProgress, ignore
from atoll.reporting.plan_report import PlannedUse, PlanReport, PlanRow, TwoMore
from atoll.support import require_compilable

MOST = 16
"""The search takes seconds for each number of devices from about here on."""
_DEFAULT = (1, 8)


def plan(
    models: ModelLike | Sequence[ModelLike],
    *,
    tpus: str | int | tuple[int, int] | None = None,
    mixed: str | Mapping[str, int] | None = None,
    fps: float | Sequence[float] | None = None,
    memory_limit: int | str | None = None,
    bus: str | None = None,
    target: Target | str | Path | None = None,
    on_progress: OnProgress = ignore,
) -> PlanReport:
    """Say what each number of Edge TPUs can do with a model, without any; or how several models share them best.

    For each number the best of a pipeline, copies of the whole model, and a pipeline whose slow segments have
    replicas. Of several models: which of them share an Edge TPU, and which get their own.

    Args:
        models: A model, or the path of a ``.tflite`` file; or up to 8 of them, for the same Edge TPUs.
        tpus: Numbers of Edge TPUs: ``"1..8"`` (the default), ``(1, 8)``, or a single one; 16 at most.
        mixed: Edge TPUs of different kinds instead, ``"pcie:2,usb3:2"`` or as a mapping; goes with one model.
        fps: The wanted inferences per second; for several models one number for all, or one for each in their order.
        memory_limit: For one model: what the parameters of a segment may take: bytes, ``"6MiB"``, or ``"fit"`` (all
            that can be on the chip is). By default there is no limit.
        bus: The bus of the Edge TPUs: ``pcie`` (the default), ``usb3`` or ``usb2``, as on its measured host.
        target: The host's numbers instead of ``bus``: an object, the name of a profile, or the path of a ``.toml``.
        on_progress: Called with how many of the searches are done.

    Raises:
        FileAccessError, InvalidModelError: A file cannot be read.
        UnsupportedModelError: A model is not quantised, has dynamic shapes, or is compiled already.
        PartitionError: A model has no operators, or the memory limit cannot be met with any of the numbers.
        UsageError: What is asked for contradicts itself, or a bus or a target is not known.

    >>> report = atoll.plan("mobilenet_v2.tflite", tpus="1..4", fps=400)  # doctest: +SKIP
    >>> report.fewest  # doctest: +SKIP
    2
    """
    require_types(plan, locals())
    single = isinstance(models, Model | str | Path)
    given: list[ModelLike] = [models] if single else list(models)  # type: ignore[list-item, arg-type]
    buses = mixed_buses(mixed)
    first, last = _numbers(tpus, buses)
    wanted = _wanted(fps, len(given))
    limit = parse_memory_limit(memory_limit)
    _require_one(len(given), {"--mixed": buses, "--memory-limit": limit})
    hosts = hosts_of(buses, bus, target)
    loaded = [load(model) for model in given]
    for model in loaded:
        require_compilable(model)
        cut_places(model.main, 1)
    costs = [
        FleetCosts({kind: SegmentCosts(model.main, host, limit) for kind, host in hosts.items()}) for model in loaded
    ]
    names = tuple(model.path for model in loaded)
    if len(given) > 1:
        sharing = _sharing(names, costs, wanted, last, on_progress)
        every = tuple(row for n in range(first, last + 1) for row in sharing.on(n))
        how = tuple(dict.fromkeys(text for own in costs for text in own.basis()))
        return PlanReport(names, costs[0].name, wanted, every, (), (), (*how, _TAKE_TURNS))
    rows: dict[int, PlanRow] = {}
    too_few = []
    numbers = sorted({*range(first, last + 1), *(() if buses else range(first + 2, last + 3))})
    for n in numbers:
        try:
            rows[n] = best_use(costs[0], n, buses, names[0])
        except PartitionError:
            if n >= last:  # what it takes is said for the largest number that was asked for
                raise
            too_few.append(n)
        on_progress("planning", numbers.index(n) + 1, len(numbers))
    shown = tuple(replace(row, wanted=wanted[0] if wanted else None) for n, row in rows.items() if n <= last)
    more = [_two_more(n, "any", rows[n].best, rows[n + 2].best) for n in rows if n <= last and n + 2 in rows]
    if buses:
        now, kinds = rows[last].best, dict.fromkeys(buses)
        more = [_two_more(last, k, now, best_use(costs[0], last + 2, (*buses, k, k)).best) for k in kinds]
    how = (*costs[0].basis(), *_not_considered(costs[0]))
    return PlanReport(names, costs[0].name, wanted, shown, tuple(more), tuple(too_few), how)


_TAKE_TURNS = (
    "It is assumed that models which share an Edge TPU are compiled together and take turns; nobody measured that."
)


def _numbers(tpus: str | int | tuple[int, int] | None, buses: Sequence[str]) -> tuple[int, int]:
    """The first and the last number of Edge TPUs."""
    if buses and tpus is not None:
        raise UsageError("--tpus and --mixed both say how many Edge TPUs there are", "Leave one of the two out.")
    if buses:
        return 1, len(buses)
    if isinstance(tpus, str):
        match = re.fullmatch(r"(\d{1,4})(?:\.\.(\d{1,4}))?", tpus, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    else:
        first, last = (tpus, tpus) if isinstance(tpus, int) else tpus or _DEFAULT
    if not 1 <= first <= last <= MOST:
        raise UsageError(f"--tpus is '{tpus}'", f"Write a number or a range such as 1..8, from 1 up to {MOST}.")
    return first, last


def _wanted(fps: float | Sequence[float] | None, models: int) -> tuple[float, ...]:
    """The wanted rate of each model; nothing where none is wanted."""
    rates = () if fps is None else (fps,) if isinstance(fps, int | float) else tuple(fps)
    if len(rates) not in (0, 1, models):
        raise UsageError(f"--fps is given {len(rates)} times for {models} models", "Give it once, or for each.")
    if not all(0 < rate < math.inf for rate in rates):
        raise UsageError(f"--fps is {', '.join(map(str, rates))}", "Rates are inferences per second, above 0.")
    return rates * models if len(rates) == 1 else rates


def _require_one(models: int, options: Mapping[str, object]) -> None:
    """Refuse options that go with a single model only, and too many models."""
    for option in (option for option, chosen in options.items() if chosen and models > 1):
        raise UsageError(f"{option} does not go with several models", "Plan one model, or several without it.")
    if not 1 <= models <= MAX_MODELS:
        raise UsageError(f"{models} models cannot be planned together", f"Plan 1 to {MAX_MODELS} at a time.")


def _sharing(
    names: Sequence[str], costs: Sequence[FleetCosts], wanted: Sequence[float], most: int, on_progress: OnProgress
) -> Sharing:
    """Several models that are to share up to ``most`` devices."""
    alone: list[list[PlanRow]] = [[] for _ in names]
    for number, (name, own, found) in enumerate(zip(names, costs, alone)):
        for n in range(1, most + 1):
            found.append(best_use(own, n, model=name))
            on_progress("planning", number * most + n, len(names) * most)
    return Sharing([own.first for own in costs], alone, wanted)


def _two_more(devices: int, kind: str, now: PlannedUse, then: PlannedUse) -> TwoMore:
    return TwoMore(devices, kind, then.throughput, then.latency_ms, then.throughput / now.throughput - 1)


def _not_considered(costs: FleetCosts) -> Iterator[str]:
    """What a plan does not consider, or takes to be so."""
    yield "It is assumed that copies and replicas share the work evenly; nobody measured that."
    if costs.first.hosted:
        yield CPU_CORES
    if len(costs.targets) > 1:
        yield "Copies of the whole model are of one bus: copies on several at once are not considered."
    if has_branches(costs.graph):
        yield (
            "Pipelines are cut in execution order, within 1 % of the best such cuts; atoll partition --replicas also "
            "cuts along branches, which may be faster."
        )
