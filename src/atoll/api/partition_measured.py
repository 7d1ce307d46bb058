"""``atoll.partition(..., measure=True)``: a model, a compiler and one device → cuts that are best as measured."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from atoll.api.inference_timers import ModelTimer
from atoll.api.partition_outcome import Chosen, outcome
from atoll.api.segment_compilers import segment_compiler
from atoll.api.segment_measurer import SegmentMeasurer, devices_to_measure, segment_measurer
from atoll.hardware.host import Target, host_of
from atoll.model.graph import Model
from atoll.partitioning import partition_at, write_partition
from atoll.partitioning.best_cuts import cut_places
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.measured.bisection import Profiled
from atoll.partitioning.measured.refine import Refined, refined_cuts
from atoll.partitioning.measured.store import Failure, Measured
from atoll.partitioning.search.convex import Piece
from atoll.partitioning.search.fleet import Goal
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.products.progress import OnMessage, OnProgress
from atoll.reporting.measured_search import FailedSegment, MeasuredSearch, MeasuringEffort, SegmentTimes
from atoll.reporting.partition_report import PartitionReport

TOLERANCE = 2.0
"""Percent, where nobody says."""
TIMEOUT = 180
"""Seconds for a segment's compilation, where nobody says."""
_Seconds = Callable[[int, int], float]


@dataclass(frozen=True, slots=True)
class MeasuringRequest:
    """What :func:`atoll.partition` is asked for that only matters where segments are measured; None: the default."""

    device: str | None
    budget: float | None
    tolerance: float | None
    compiler: str | None
    timeout: int | None
    store: str | Path | None


def measured_partition(
    model: Model,
    tpus: int,
    exactly: bool,
    where: tuple[str | None, Target | str | Path | None, str | Path | None],
    request: MeasuringRequest,
    on_progress: OnProgress,
    on_message: OnMessage,
) -> PartitionReport:
    """The cuts whose slowest segment is the quickest, by compiling and measuring segments on one device.

    The timing model says which segments to look at; what was measured is kept, so that a search that was cut short
    goes on where it ended. ``where`` are bus, target and output; the arguments, and what is raised, are those of
    :func:`atoll.partition`.
    """
    bus, target, output = where
    devices = devices_to_measure(request.device)
    if devices and not bus and not target:
        bus = devices[0].bus
    graph, host = model.main, host_of(bus, target)
    positions = cut_places(graph, tpus if exactly else 1)
    segments = min(tpus, len(positions) - 1)
    costs = SegmentCosts(graph, host)
    compiler = segment_compiler(request.compiler, devices, request.timeout or TIMEOUT)
    tolerance = (TOLERANCE if request.tolerance is None else request.tolerance) / 100
    begin, budget = time.monotonic(), request.budget
    with segment_measurer(
        model, compiler, devices, host, request.store, segments, on_progress=on_progress, on_message=on_message
    ) as measurer:
        modelled, measured = in_pipeline(costs, measurer, segments)
        found = refined_cuts(
            positions,
            modelled,
            costs.operators.tolist(),
            measured,
            segments,
            Goal(at_least=segments if exactly else 1, tolerance=tolerance),
            is_over=lambda _calls: budget is not None and time.monotonic() > begin + budget * 60,
        )
    bounds = list(itertools.pairwise([0, *found.cuts, positions[-1]]))
    pieces = [Piece(tuple(range(*each)), "any", 1, seconds) for each, seconds in zip(bounds, found.seconds)]
    partition = partition_at(graph, found.cuts, f"best as measured, {measurer.timer.name}")
    chosen = Chosen(partition, tuple(pieces), tuple(positions), None, tpus, 1)
    search = MeasuredSearch(
        segments=tuple(SegmentTimes(s * 1e3, modelled(*each) * 1e3) for each, s in zip(bounds, found.seconds)),
        stage_ms=host.host.stage_ms if len(pieces) > 1 else 0.0,
        bottleneck_ms=found.bottleneck * 1e3,
        lower_bound_ms=found.lower_bound * 1e3,
        proven=found.proven,
        tolerance=tolerance,
        budget_minutes=budget,
        minutes=(time.monotonic() - begin) / 60,
        effort=effort_of(measurer, found),
    )
    if output is not None:
        write_partition(output, graph, partition)
    report = outcome(model.path, FleetCosts({"any": costs}), chosen, None if output is None else f"{output}")
    return replace(report, objective="throughput", measured=search, accuracy=None, how=_basis(search, host))


def _basis(search: MeasuredSearch, host: Target) -> tuple[str, ...]:
    """What the times are times of."""
    staging = f"Each includes {search.stage_ms:.3f} ms of the host's work for a stage (profile {host.name})."
    return (*([staging] if search.stage_ms else []), *search.effort.sentences())


def effort_of(measurer: SegmentMeasurer, found: Refined | Profiled) -> MeasuringEffort:
    """What a search took."""
    failed = tuple(FailedSegment(operators, failure.reason) for operators, failure in sorted(found.failures.items()))
    return MeasuringEffort(
        measurer.timer.times, found.measurements, len(measurer.fresh), measurer.compiler.identity, failed
    )


def in_pipeline(
    costs: SegmentCosts, measurer: SegmentMeasurer, stages: int
) -> tuple[_Seconds, Callable[[int, int], Measured]]:
    """The modelled and the measured seconds of a segment with what a pipeline adds: the host's work for each stage.

    A device is measured by itself, so that this work is added to what it says; the timing model has it.
    """
    is_modelled = isinstance(measurer.timer, ModelTimer)
    whole, added = (0, len(costs.graph.operators)), 0.0 if is_modelled else costs.target.host.stage_ms / 1e3
    alone, own = costs.in_pipeline(1), costs.in_pipeline(stages if is_modelled else 1)

    def modelled(start: int, end: int) -> float:
        return alone.cost(start, end) if (start, end) == whole else own.cost(start, end) + added

    def measured(start: int, end: int) -> Measured:
        found = measurer(start, end)
        return found if isinstance(found, Failure) or (start, end) == whole else found + added

    return modelled, measured
