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
    bound: Bound | None = None,
    goal: Goal | None = None,
    pinned: Sequence[int] = (),
    worst: float = math.inf,
) -> Cutting:
    """The best way to cut at some of ``positions`` and to give every segment its devices.

    The cost may be any function: :mod:`.bounded_search` has the argument for exactness. ``bound`` decides how often
    ``cost`` is called; without one it is called for every segment, n·(n + 1) / 2 times for n - 1 places to cut.

    Args:
        positions: 0, the places where cutting is allowed, and the number of operators, ascending
            (:func:`atoll.products.partition.legal_cuts` gives the places).
        fleet: at most ``fleet.size`` devices are used.
        pinned: places where a cut must be.
        worst: only what is better than this objective is looked for.

    Raises:
        PartitionError: more segments are wanted than places allow, a pinned cut is not among them, every way to cut
            has an impossible segment, or the goal's limits cannot be met.
    """
    goal = goal or Goal()
    _require_possible(positions, fleet, goal, pinned)
    bound = bound or _every_cost(cost)
    found = possible_cuts(positions, cost, fleet, bound=bound, goal=goal, pinned=pinned, worst=worst)
    if found is None:
        raise _impossible(positions, cost, fleet, bound, goal, pinned)
    return found


def possible_cuts(
    positions: Sequence[int],
    cost: Cost,
    fleet: Fleet,
    *,
    bound: Bound,
    goal: Goal,
    pinned: Sequence[int] = (),
    worst: float = math.inf,
) -> Cutting | None:
    """What :func:`optimal_cuts` finds, or None where what is wanted cannot be had with an objective up to ``worst``.

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
    found = possible_cuts(some, cost, fleet, bound=bound, goal=replace(goal, tolerance=0.05), pinned=pinned)
    if found is None:
        return math.inf
    return (found.bottleneck if goal.objective == "throughput" else found.latency) * (1 + 1e-9)


def _every_cost(cost: Cost) -> Bound:
    return lambda start, ends, kind: np.array([cost(start, int(end), kind) for end in ends], dtype=np.float64)


def _require_possible(positions: Sequence[int], fleet: Fleet, goal: Goal, pinned: Sequence[int]) -> None:
    places = len(positions) - 2
    if not 1 <= goal.at_least <= places + 1:
        raise PartitionError(
            f"the model cannot be cut into {goal.at_least} segments: it has {max(0, places)} places to cut",
            f"Ask for 1 to {max(0, places) + 1} segments.",
        )
    if max(goal.at_least, len(pinned) + 1) > fleet.size:
        raise PartitionError(
            f"{max(goal.at_least, len(pinned) + 1)} segments need as many devices, there are {fleet.size}",
            "Ask for fewer segments, pin fewer cuts, or add devices.",
        )
    if goal.at_most is not None and max(goal.at_least, len(pinned) + 1) > goal.at_most:
        raise PartitionError(
            f"{max(goal.at_least, len(pinned) + 1)} segments are more than the {goal.at_most} allowed",
            "Ask for fewer segments, pin fewer cuts, or allow more.",
        )
    for cut in pinned:
        if cut not in positions[1:-1]:
            raise PartitionError(
                f"the cut before operator {cut} is pinned, but the model cannot be cut there",
                f"It has {places} places to cut; see legal_cuts.",
            )


def _impossible(
    positions: Sequence[int], cost: Cost, fleet: Fleet, bound: Bound, goal: Goal, pinned: Sequence[int]
) -> PartitionError:
    """What was asked for cannot be had: say what can."""
    free = Goal(at_least=goal.at_least, at_most=goal.at_most)
    slowest = possible_cuts(positions, cost, fleet, bound=bound, goal=free, pinned=pinned)
    if slowest is None:
        most = goal.most(fleet, len(positions) - 1)
        return PartitionError(
            f"no way to cut the model into {goal.at_least} to {most} segments: each has a segment that is impossible",
            "A segment exceeds the device's memory or does not compile; allow more segments or unpin cuts.",
        )
    free = replace(free, objective="latency")
    quickest = possible_cuts(positions, cost, fleet, bound=bound, goal=free, pinned=pinned)
    assert quickest is not None
    wanted = [
        f"{name} of at most {value * 1e3:.3f} ms"
        for name, value in (("a latency", goal.max_latency), ("a slowest stage", goal.max_bottleneck))
        if math.isfinite(value)
    ]
    return PartitionError(
        f"{' with '.join(wanted)} cannot be met with {fleet.size} devices",
        f"Possible are a latency of {quickest.latency * 1e3:.3f} ms (then the slowest stage takes "
        f"{quickest.bottleneck * 1e3:.3f} ms) and a slowest stage of {slowest.bottleneck * 1e3:.3f} ms "
        f"(then the latency is {slowest.latency * 1e3:.3f} ms).",
    )


def _as_cutting(path: Path, positions: Sequence[int], fleet: Fleet) -> Cutting:
    stages = tuple(
        Stage(positions[edge.tail], positions[edge.head], fleet.kinds[edge.kind], edge.replicas, edge.seconds)
        for edge in path.edges
    )
    return Cutting(stages, path.lower_bound, path.evaluations)
