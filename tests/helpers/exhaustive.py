"""Every way to cut a chain and to hand out devices, one after the other: the oracle for the searches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from atoll.partitioning.search.contiguous import Cost, Cutting, Stage
from atoll.partitioning.search.fleet import Fleet, Goal


def cuttings(positions: list[int], cost: Cost, fleet: Fleet, pinned: tuple[int, ...] = ()) -> Iterator[Cutting]:
    """All cuttings whose segments are possible."""
    inner = positions[1:-1]
    for count in range(len(inner) + 1):
        for cuts in itertools.combinations(inner, count):
            if not set(pinned) <= set(cuts):
                continue
            bounds = list(itertools.pairwise([positions[0], *cuts, positions[-1]]))
            for hands in _hands(fleet, len(bounds)):
                stages = tuple(Stage(a, b, k, r, cost(a, b, k)) for (a, b), (k, r) in zip(bounds, hands))
                if all(math.isfinite(stage.seconds) for stage in stages):
                    yield Cutting(stages, 0.0, 0)


def _hands(fleet: Fleet, segments: int) -> Iterator[tuple[tuple[str, int], ...]]:
    uses = [(kind, r) for kind in fleet.kinds for r in range(1, fleet.max_replicas + 1)]
    for hand in itertools.product(uses, repeat=segments):
        wanted = [kind for kind, r in hand for _ in range(r)]
        if fleet.ordered:
            if _follows(list(fleet.devices), list(hand)):
                yield hand
        elif fleet.all_used and len(wanted) != fleet.size:
            continue
        elif len(wanted) <= fleet.size and all(wanted.count(kind) <= fleet.devices.count(kind) for kind in fleet.kinds):
            yield hand


def _follows(devices: list[str], hand: list[tuple[str, int]]) -> bool:
    """Whether the hand can be dealt from left to right, replicas from neighbouring devices."""
    if not hand:
        return True
    kind, r = hand[0]
    return any(
        devices[d : d + r] == [kind] * r and _follows(devices[d + r :], hand[1:]) for d in range(len(devices) - r + 1)
    )


def rank(cutting: Cutting, goal: Goal) -> tuple[float, int, float]:
    if goal.objective == "throughput":
        return cutting.bottleneck, len(cutting.stages), cutting.latency
    return cutting.latency, len(cutting.stages), 0.0


def best(positions: list[int], cost: Cost, fleet: Fleet, goal: Goal, pinned: tuple[int, ...] = ()) -> Cutting | None:
    allowed = [
        c
        for c in cuttings(positions, cost, fleet, pinned)
        if c.latency <= goal.max_latency
        and c.bottleneck <= goal.max_bottleneck
        and goal.at_least <= len(c.stages) <= (goal.at_most or len(c.stages))
    ]
    return min(allowed, key=lambda c: rank(c, goal), default=None)
