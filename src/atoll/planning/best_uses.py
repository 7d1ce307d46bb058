"""Costs of segments and numbers of devices → the best use of each number of devices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from atoll.errors import PartitionError
from atoll.partitioning import Cutting, Fleet, Goal
from atoll.partitioning.best_cuts import Costs, best_cuts, cut_places, host_rate
from atoll.planning.counts import Plan, plan_counts

CLOSE = 0.01
"""A plan compares numbers of devices by a model with an error of several percent: the last percent is not searched."""


def best_uses(costs: Costs, counts: Sequence[int], kinds: Sequence[str] = ()) -> tuple[Plan, ...]:
    """For each number of devices the best of pipeline, copies of the whole model, and pipelines with replicas.

    The slowest stage is within :data:`CLOSE` of the least there is, under the conditions of :func:`best_cuts`. Numbers
    that are too few for the memory limit of ``costs`` are left out.

    Args:
        kinds: of the devices there are; the best of them are taken. As many as are asked for, of one kind, when not
            given.

    Raises:
        PartitionError: the model has no operators, or no number is enough for the memory limit.
    """
    positions = cut_places(costs.graph, 1)

    def search(devices: int, *, max_replicas: int, whole: bool = False) -> Cutting | None:
        fleet = replace(Fleet(tuple(kinds)), limit=devices) if kinds else Fleet.of(devices)
        places = [positions[0], positions[-1]] if whole else positions
        if whole and math.isinf(min(costs.cost(places[0], places[-1], kind) for kind in fleet.kinds)):
            return None
        return best_cuts(costs, places, replace(fleet, max_replicas=max_replicas), Goal(tolerance=CLOSE))

    plans: list[Plan] = []
    refused: PartitionError | None = None
    for count in counts:
        try:
            plans += plan_counts(search, [count], lambda stages: host_rate(costs, stages))
        except PartitionError as error:
            refused = error
    if refused is not None and not plans:
        raise refused
    return tuple(plans)
