"""Costs of several models and a number of devices → which models share devices, and which get their own."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.compiler.memory import plan_memory
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.planning.best_uses import best_uses
from atoll.planning.counts import Plan
from atoll.planning.several import Assignment, ModelNeeds, share_devices


class Sharing:
    """Some models that are to run on the same devices, each with the items per second that are wanted of it.

    A model with devices of its own uses them as :func:`best_uses` finds. Models that share a device are co-compiled:
    they are cached together as far as the memory goes, in the order of the vendor's compiler 16, so that nothing is
    loaded when they take turns.
    """

    def __init__(self, names: Sequence[str], costs: Sequence[SegmentCosts], wanted: Sequence[float], most: int) -> None:
        """``most``: devices up to which :meth:`on` may be asked. Raises :class:`PartitionError` as best_uses does."""
        self.costs = tuple(costs)
        self.plans: tuple[tuple[Plan, ...], ...] = tuple(best_uses(own, range(1, most + 1)) for own in costs)
        """For each model the best use of 1, 2, ... devices."""
        self.needs = [
            ModelNeeds(name, rate, tuple(plan.best.throughput for plan in plans))
            for name, rate, plans in zip(names, wanted, self.plans)
        ]

    def on(self, devices: int) -> Assignment:
        """The best assignment to at most so many devices. Raises :class:`UsageError` as :func:`share_devices` does."""
        return share_devices(self.needs, devices, self._together)

    def off_chip_bytes(self, group: Sequence[int]) -> tuple[int, ...]:
        """Of each model of a group that shares a device the parameters that cross the bus with every inference."""
        return tuple(sum(self.costs[n].layers[i].nbytes for i in streamed) for n, streamed in self._streamed(group))

    def _streamed(self, group: Sequence[int]) -> list[tuple[int, frozenset[int]]]:
        plan = plan_memory([self.costs[n].whole_parameters(str(n)) for n in group])
        return [
            (n, frozenset(item.layer.operator for item in model.layers if not item.cached))
            for n, model in zip(group, plan.models)
        ]

    def _together(self, group: tuple[int, ...]) -> list[float]:
        return [self.costs[n].whole_with(streamed) for n, streamed in self._streamed(group)]
