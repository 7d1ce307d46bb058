"""Costs of segments and a number of devices → the best way to use them, and the best of each shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from atoll.estimate.accuracy import held_out_error
from atoll.partitioning.best_cuts import best_cuts, cut_places, host_rate
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.search.contiguous import Stage
from atoll.partitioning.search.fleet import Fleet, Goal
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.reporting.plan_report import PlannedStage, PlannedUse, PlanRow

CLOSE = 0.01
"""A plan compares numbers of devices by a model with an error of several percent: the last percent is not searched."""


def best_use(costs: FleetCosts, devices: int, kinds: Sequence[str] = (), model: str = "") -> PlanRow:
    """The best of a pipeline, copies of the whole model, and pipelines with replicas, on at most so many devices.

    A stage of r replicas takes an item every cost / r seconds; each item still spends the whole cost in it. Whole
    copies are a single stage. The slowest stage is within :data:`CLOSE` of the least there is, under the conditions of
    :func:`best_cuts`.

    Args:
        kinds: of the devices there are; the best of them are taken. As many as are asked for, of one kind, when not
            given.
        model: the name in the row.

    Raises:
        PartitionError: the model has no operators, or the devices are too few for the memory limit.
    """
    positions, goal = cut_places(costs.graph, 1), Goal(tolerance=CLOSE)
    fleet = replace(Fleet(tuple(kinds)), limit=devices) if kinds else Fleet.of(devices)
    replicated = replace(fleet, max_replicas=devices)
    pipeline = _use(costs, best_cuts(costs, positions, fleet, goal).stages)
    whole = (positions[0], positions[-1])
    copies = None
    if math.isfinite(min(costs.cost(*whole, kind) for kind in fleet.kinds)):
        copies = _use(costs, best_cuts(costs, whole, replicated, goal).stages)
    mixture = _use(costs, best_cuts(costs, positions, replicated, goal).stages)
    shapes = [use for use in (mixture, pipeline, copies) if use is not None]
    best = max(shapes, key=lambda use: (use.throughput, -use.latency_ms, -use.devices))
    return PlanRow(devices, model, None, (), best, pipeline, copies)


def _use(costs: FleetCosts, stages: Sequence[Stage]) -> PlannedUse:
    """What some stages do together: the slowest decides, or the host, which serves them all in turn.

    The search does not know of the host's limit; the shapes are compared with it.
    """
    first = costs.first
    rate = min(1 / max(stage.seconds / stage.replicas for stage in stages), host_rate(costs, stages))
    planned = [_stage(first, stage, rate, first.streamed_bytes(stage.start, stage.end)) for stage in stages]
    several, replicated = len(stages) > 1, any(stage.replicas > 1 for stage in stages)
    devices = sum(stage.replicas for stage in stages)
    accuracy = None
    if len(costs.targets) == 1:  # of copies each is a single device
        accuracy = held_out_error(first.target, devices if several else 1, hosted=first.hosted > 0)
    return PlannedUse(
        shape=("mixture" if replicated else "pipeline") if several else "copies" if replicated else "single",
        devices=devices,
        throughput=rate,
        latency_ms=sum(stage.seconds for stage in stages) * 1e3,
        off_chip_bytes=sum(stage.off_chip_bytes for stage in planned),
        stages=tuple(planned),
        accuracy=accuracy,
    )


def shared_use(costs: SegmentCosts, devices: int, rate: float, seconds: float, off_chip_bytes: int) -> PlannedUse:
    """The part of some devices that one of several models has, which take turns there.

    Args:
        rate: inferences of this model per second.
        seconds: one of them takes.
        off_chip_bytes: parameters that cross the bus with each.
    """
    whole = Stage(0, len(costs.graph.operators), "any", devices, seconds)
    return PlannedUse(
        shape="shared",
        devices=devices,
        throughput=rate,
        latency_ms=seconds * 1e3,
        off_chip_bytes=off_chip_bytes,
        stages=(_stage(costs, whole, rate, off_chip_bytes),),
        accuracy=None,  # it was never compared with measurements
    )


def _stage(costs: SegmentCosts, stage: Stage, rate: float, off_chip_bytes: int) -> PlannedStage:
    """A stage that takes so many items per second."""
    outputs = costs.graph.operators[stage.end - 1].outputs
    return PlannedStage(
        start=stage.start,
        end=stage.end,
        last_tensor=costs.graph.tensors[outputs[0]].name if outputs else "",
        device=stage.kind,
        replicas=stage.replicas,
        ms=stage.seconds * 1e3,
        use=stage.seconds / stage.replicas * rate,
        off_chip_bytes=off_chip_bytes,
    )
