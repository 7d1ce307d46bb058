"""Several models and a number of devices → which models share devices, and which get their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from atoll.errors import UsageError

MAX_MODELS = 8
"""The ways to group n models are the Bell numbers: 4,140 for eight."""


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """One model: the rate wanted, and the rate it reaches alone on 1, 2, ... devices (items per second)."""

    name: str
    wanted: float
    alone: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ModelGroup:
    """Models (by number) on ``devices`` devices of their own. Two and more are co-compiled and take turns on each."""

    models: tuple[int, ...]
    devices: int
    rates: tuple[float, ...]
    """Items per second of each model."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Every model in exactly one group. ``satisfaction``: the smallest rate reached / rate wanted of all models."""

    groups: tuple[ModelGroup, ...]
    satisfaction: float

    @property
    def devices(self) -> int:
        """How many are used."""
        return sum(group.devices for group in self.groups)


def share_devices(
    models: Sequence[ModelNeeds], devices: int, together: Callable[[tuple[int, ...]], Sequence[float]]
) -> Assignment:
    """The assignment in which the model that is served worst is served best; of equals, that with the fewest devices.

    Args:
        together: seconds per inference of each of some models (by number, ascending) that are co-compiled for one
            device, where they share its memory; inf when they cannot be.

    A shared device takes the models in turns in the proportion of their wanted rates; more devices in such a group
    are copies. All groupings and all distributions of devices are searched.

    Raises:
        UsageError: no model or device, too many models, or a rate that is not positive.
    """
    if not models or devices < 1 or any(model.wanted <= 0 or not model.alone for model in models):
        raise UsageError("planning needs models with positive rates, and at least one device")
    if len(models) > MAX_MODELS:
        raise UsageError(f"{len(models)} models are too many to plan together", f"Plan {MAX_MODELS} at a time.")
    shared = cache(together)
    best: tuple[tuple[float, int], list[ModelGroup]] | None = None
    for grouping in _groupings(tuple(range(len(models)))):
        if len(grouping) > devices:
            continue
        options = [
            [_group(models, group, count, shared) for count in range(1, devices - len(grouping) + 2)]
            for group in grouping
        ]
        groups = _distribute(models, options, devices)
        rank = (min(_served(models, group) for group in groups), -sum(group.devices for group in groups))
        if best is None or rank > best[0]:
            best = (rank, groups)
    assert best is not None  # all models in one group fit one device
    return Assignment(tuple(best[1]), best[0][0])


def _groupings(numbers: tuple[int, ...]) -> Iterator[list[tuple[int, ...]]]:
    """All partitions of a set."""
    if not numbers:
        yield []
        return
    first, *rest = numbers
    for grouping in _groupings(tuple(rest)):
        yield [(first,), *grouping]
        for n, group in enumerate(grouping):
            yield [*grouping[:n], (first, *group), *grouping[n + 1 :]]


def _group(
    models: Sequence[ModelNeeds],
    group: tuple[int, ...],
    count: int,
    together: Callable[[tuple[int, ...]], Sequence[float]],
) -> ModelGroup:
    if len(group) == 1:
        alone = models[group[0]].alone
        used = max(range(min(count, len(alone))), key=lambda n: alone[n]) + 1  # the fewest with the best rate
        return ModelGroup(group, used, (alone[used - 1],))
    busy = sum(models[n].wanted * seconds for n, seconds in zip(group, together(group)))
    scale = count / busy if busy > 0 else math.inf
    return ModelGroup(group, count, tuple(models[n].wanted * scale for n in group))


def _served(models: Sequence[ModelNeeds], group: ModelGroup) -> float:
    return min(rate / models[n].wanted for n, rate in zip(group.models, group.rates))


def _distribute(
    models: Sequence[ModelNeeds], options: Sequence[Sequence[ModelGroup]], devices: int
) -> list[ModelGroup]:
    """Always one more device to the group that is served worst, as long as that helps it.

    That is optimal: more devices never serve a group worse, so the worst served group has to grow or nothing is won.
    """
    chosen = [option[0] for option in options]
    while True:
        worst = min(range(len(chosen)), key=lambda n: _served(models, chosen[n]))
        free = devices - sum(group.devices for group in chosen)
        better = [
            group
            for group in options[worst]
            if _served(models, group) > _served(models, chosen[worst]) and group.devices - chosen[worst].devices <= free
        ]
        if not better:
            return chosen
        chosen[worst] = min(better, key=lambda group: group.devices)
