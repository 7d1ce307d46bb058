"""Costs of several models and a number of devices → which models share devices, and what each gets of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from atoll.compiler.memory import plan_memory
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.planning.best_use import shared_use
from atoll.planning.several import ModelGroup, ModelNeeds, share_devices
from atoll.reporting.plan_report import PlannedUse, PlanRow


class Sharing:
    """Some models that are to run on the same devices, each with the items per second that are wanted of it.

    A model with devices of its own uses them as :func:`atoll.planning.best_use.best_use` finds. Models that share a
    device are co-compiled: they are cached together as far as the memory goes, in the order of the vendor's compiler
    16, so that nothing is loaded when they take turns.
    """

    def __init__(
        self, costs: Sequence[SegmentCosts], alone: Sequence[Sequence[PlanRow]], wanted: Sequence[float] = ()
    ) -> None:
        """``alone``: for each model the best use of 1, 2, ... devices; ``wanted`` is empty where no rates are."""
        self.costs, self.alone, self.wanted = tuple(costs), alone, tuple(wanted)
        self.needs = [
            ModelNeeds(rows[0].model, rate, tuple(row.best.throughput for row in rows))
            for rows, rate in zip(alone, wanted or [1.0] * len(costs))
        ]

    def on(self, devices: int) -> list[PlanRow]:
        """A row for each model, in the order of the groups, of the best way to share at most so many devices.

        Raises:
            UsageError: as :func:`share_devices`.
        """
        assignment = share_devices(self.needs, devices, self.seconds_together)
        return [row for group in assignment.groups for row in self._rows(devices, group)]

    def off_chip_bytes(self, group: Sequence[int]) -> tuple[int, ...]:
        """For each model of a group that shares a device: parameter bytes that cross the bus with every inference."""
        return tuple(sum(self.costs[n].layers[i].nbytes for i in streamed) for n, streamed in self._streamed(group))

    def seconds_together(self, group: Sequence[int]) -> list[float]:
        """Per inference of each model of a group that shares a device."""
        return [self.costs[n].whole_with(streamed) for n, streamed in self._streamed(group)]

    def _streamed(self, group: Sequence[int]) -> list[tuple[int, frozenset[int]]]:
        plan = plan_memory([self.costs[n].whole_parameters(str(n)) for n in group])
        return [
            (n, frozenset(item.layer.operator for item in model.layers if not item.cached))
            for n, model in zip(group, plan.models)
        ]

    def _rows(self, devices: int, group: ModelGroup) -> list[PlanRow]:
        if len(group.models) == 1:
            (number,) = group.models
            best = self.alone[number][group.devices - 1].best
            return [self._row(devices, number, group, best)]
        each = zip(group.models, group.rates, self.seconds_together(group.models), self.off_chip_bytes(group.models))
        return [
            self._row(devices, number, group, shared_use(self.costs[number], group.devices, rate, seconds, nbytes))
            for number, rate, seconds, nbytes in each
        ]

    def _row(self, devices: int, number: int, group: ModelGroup, best: PlannedUse) -> PlanRow:
        return replace(
            self.alone[number][0],
            devices=devices,
            wanted=self.wanted[number] if self.wanted else None,
            shares_with=tuple(self.needs[n].name for n in group.models if n != number),
            best=best,
            pipeline=None,
            copies=None,
        )
