"""Places to cut and a cost function over segments → the best cuts in execution order, proven, and why not elsewhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from atoll.errors import PartitionError
from atoll.partitioning.search.bounded_search import Path, best_path
from atoll.partitioning.search.edges import Floats, TooManyEdgesError
from atoll.partitioning.search.fleet import Fleet, Goal

Cost = Callable[[int, int, str], float]
"""``cost(start, end, kind)``: seconds per inference of operators ``start ... end - 1`` on a kind of device, transfers
included; ``math.inf`` where the segment is impossible (it does not compile, or exceeds the device's memory)."""

Bound = Callable[[int, npt.NDArray[np.intp], str], Floats]
"""``bound(start, ends, kind)``: for every end a lower bound of the cost in seconds, quickly computed."""


_GOAL = Goal()


def _nothing_known(_start: int, ends: npt.NDArray[np.intp], _kind: str) -> Floats:
    """The bound of costs of which nothing is known."""
    return np.zeros(len(ends))


@dataclass(frozen=True, slots=True)
class Stage:
    """A segment (operators ``start ... end - 1``), what runs it, and its seconds per inference on one device."""

    start: int
    end: int
    kind: str
    replicas: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cutting:
    """Cuts with their costs; ``lower_bound`` is proven: no cutting has a smaller objective (seconds)."""

    stages: tuple[Stage, ...]
    lower_bound: float
    evaluations: int
    """Calls of the cost function."""

    @property
    def cuts(self) -> tuple[int, ...]:
        """The operators before which it is cut."""
        return tuple(stage.start for stage in self.stages[1:])

    @property
    def bottleneck(self) -> float:
        """Seconds between two results: the slowest stage, divided by its replicas."""
        return max(stage.seconds / stage.replicas for stage in self.stages)

    @property
    def latency(self) -> float:
        """Seconds from input to output of one item."""
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One cut moved to the next place on either side, the others left alone: what the result would be (seconds)."""

    cut: int
    moved_to: int
    bottleneck: float
    latency: float


def optimal_cuts(
    positions: Sequence[int],
    cost: Cost,
    fleet: Fleet,
    *,
    bound: Bound = _nothing_known,
    goal: Goal = _GOAL,
    pinned: Sequence[int] = (),
    worst: float = math.inf,
) -> Cutting | None:
    """The best way to cut at some of ``positions`` and to give every segment its devices; None where there is none.

    The cost may be any function: ``bounded_search`` has the argument for exactness. How often it is called depends
    on how near ``bound`` comes to it.

    Args:
        positions: 0, the places where cutting is allowed, and the number of operators, ascending
            (:func:`atoll.products.partition.legal_cuts` gives the places).
        fleet: at most ``fleet.size`` devices are used.
        pinned: places where a cut must be.
        worst: only what is no worse than this objective is looked for.

    Raises:
        PartitionError: there are too many segments to consider.
    """
    most = goal.most(fleet, len(positions) - 1)
    if not max(goal.at_least, len(pinned) + 1) <= most:
        return None
    if len(positions) > _COARSE:
        worst = min(worst, _coarse(positions, cost, fleet, bound, goal, pinned))
    kinds, at = fleet.kinds, np.asarray(positions, dtype=np.intp)

    def row(tail: int, kind: int) -> Floats:
        values = np.array(bound(positions[tail], at[tail + 1 :], kinds[kind]), dtype=np.float64)
        following = [pin for pin in pinned if pin > positions[tail]]
        if following:  # a segment ends at the next pinned cut, or before
            values[at[tail + 1 :] > min(following)] = math.inf
        return values

    segment_cost = lambda tail, head, kind: cost(positions[tail], positions[head], kinds[kind])  # noqa: E731
    try:
        path = best_path(len(positions), row, segment_cost, fleet, goal, most, worst)
    except TooManyEdgesError:
        raise PartitionError(
            f"the model has {len(positions) - 2} places to cut: too many segments to consider",
            "Pin some cuts, or allow cuts at fewer places.",
        ) from None
    return None if path is None else _as_cutting(path, positions, fleet)


def neighbours(cutting: Cutting, positions: Sequence[int], cost: Cost) -> tuple[Neighbour, ...]:
    """By how much every cut would be worse one place to the left or right: the answer to "why here?".

    The place on the other side of the next cut is left out: it would make an empty segment.
    """
    found = []
    index = {position: number for number, position in enumerate(positions)}
    for number, (before, after) in enumerate(itertools.pairwise(cutting.stages)):
        for step in (-1, 1):
            place = positions[index[after.start] + step]
            if not before.start < place < after.end:
                continue
            left = replace(before, end=place, seconds=cost(before.start, place, before.kind))
            right = replace(after, start=place, seconds=cost(place, after.end, after.kind))
            moved = Cutting((*cutting.stages[:number], left, right, *cutting.stages[number + 2 :]), 0.0, 0)
            found.append(Neighbour(after.start, place, moved.bottleneck, moved.latency))
    return tuple(found)


_COARSE = 1500
"""From this many places on, a solution at every n-th place is looked for first, to bound the size of the tables."""


def _coarse(
    positions: Sequence[int], cost: Cost, fleet: Fleet, bound: Bound, goal: Goal, pinned: Sequence[int]
) -> float:
    """The objective of a solution at every n-th place, or inf where there is none."""
    step = 4 * len(positions) // _COARSE + 1
    some = sorted({*positions[::step], positions[-1], *pinned})
    found = optimal_cuts(some, cost, fleet, bound=bound, goal=replace(goal, tolerance=0.05), pinned=pinned)
    if found is None:
        return math.inf
    return (found.bottleneck if goal.objective == "throughput" else found.latency) * (1 + 1e-9)


def _as_cutting(path: Path, positions: Sequence[int], fleet: Fleet) -> Cutting:
    stages = tuple(
        Stage(positions[edge.tail], positions[edge.head], fleet.kinds[edge.kind], edge.replicas, edge.seconds)
        for edge in path.edges
    )
    return Cutting(stages, path.lower_bound, path.evaluations)
