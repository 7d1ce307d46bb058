"""Graph and a cost function over sets of operators → the best cuts into ordered convex pieces, with bound and gap.

Where a graph has branches, a cut need not follow the execution order: what lies before it may be any downset, a set of
operators that holds with an operator all it reads from. A pipeline is a chain of downsets, each segment the difference
of two, so the search of :mod:`atoll.cut.search` over the family of all downsets is exact. There may be exponentially
many; beyond a limit the family holds the prefixes of several execution orders and what lies near the best cuts found,
and the result comes with a lower bound for all pieces that exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from atoll.cut.edges import Floats
from atoll.cut.fleet import Fleet, Goal
from atoll.cut.lattice import (
    Blocks,
    Downset,
    all_downsets,
    as_words,
    blocks_of,
    nearby,
    orders,
    prefixes,
)
from atoll.cut.search import Path, best_path
from atoll.errors import PartitionError
from atoll.ir.graph import Graph

PieceCost = Callable[[tuple[int, ...], str], float]
"""``cost(operators, kind)`` in seconds, inf where the piece is impossible; operators in execution order."""

MAX_DOWNSETS = 2000
"""Up to this many the search is exact. Its tables grow with the square: about 2 million segments."""


@dataclass(frozen=True, slots=True)
class PieceBound:
    """A lower bound of a piece's cost from sums over its operators.

    ``weights``: (operators, features) float64, at least 0: seconds of computing, bytes of parameters, ...
    ``seconds(sums, kind)``: (pieces, features) → (pieces,) lower bounds; must not fall when a sum grows, and must be
    convex (a sum of terms such as ``a`` and ``max(0, a - capacity) / rate`` is).
    """

    weights: Floats
    seconds: Callable[[Floats, str], Floats]


@dataclass(frozen=True, slots=True)
class Piece:
    """One stage: its operators in execution order, what runs it, and its seconds per inference on one device."""

    operators: tuple[int, ...]
    kind: str
    replicas: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ConvexCutting:
    """Pieces in pipeline order; ``lower_bound`` holds for every way to cut into ordered convex pieces (seconds)."""

    pieces: tuple[Piece, ...]
    lower_bound: float
    objective: float
    exact: bool
    """Whether all downsets were searched: then the bound is the objective."""
    downsets: int
    evaluations: int

    @property
    def bottleneck(self) -> float:
        return max(piece.seconds / piece.replicas for piece in self.pieces)

    @property
    def latency(self) -> float:
        return sum(piece.seconds for piece in self.pieces)

    @property
    def gap(self) -> float:
        """By how much the result may be worse than the best there is, as a fraction of the bound."""
        return self.objective / self.lower_bound - 1 if self.lower_bound else math.inf


def optimal_pieces(
    graph: Graph,
    cost: PieceCost,
    fleet: Fleet,
    *,
    bound: PieceBound | None = None,
    goal: Goal | None = None,
    max_downsets: int = MAX_DOWNSETS,
) -> ConvexCutting:
    """The best way to cut a graph into ordered convex pieces and to give each its devices.

    Raises:
        PartitionError: more segments are wanted than there are blocks or devices, or no way to cut fulfils the goal.
    """
    goal = goal or Goal()
    blocks = blocks_of(graph)
    most = min(len(fleet.devices), len(blocks.operators))
    if not 1 <= goal.at_least <= most:
        raise PartitionError(
            f"the model cannot be cut into {goal.at_least} segments: it has {len(blocks.operators) - 1} places to cut, "
            f"and there are {len(fleet.devices)} devices",
            f"Ask for 1 to {most} segments.",
        )
    bound = bound or PieceBound(np.zeros((len(graph.operators), 1)), lambda sums, _kind: np.zeros(len(sums)))
    search = _Family(blocks, cost, fleet, bound, goal, most)
    family = all_downsets(blocks, max_downsets)
    path = (
        search.best(family)
        if family is not None
        else search.improve(_bytes_between(graph, blocks), max(1, max_downsets // 2))
    )
    if path is None:
        raise PartitionError(
            "no way was found to cut the model within the limits given",
            "A piece exceeds the device's memory or does not compile, or a limit is too low; allow more segments.",
        )
    objective = path.bottleneck if goal.objective == "throughput" else path.latency
    lower = path.lower_bound if family is not None else min(objective, search.lower_bound())
    return ConvexCutting(
        search.pieces(path), lower, objective, family is not None, len(search.family), len(search.costs)
    )


def _bytes_between(graph: Graph, blocks: Blocks) -> list[int]:
    return [
        sum(t.nbytes for i in group for t in graph.outputs_of(graph.operators[i])) if blocks.readers[n] else 0
        for n, group in enumerate(blocks.operators)
    ]


class _Family:
    """Searches over families of downsets that share their costs."""

    def __init__(self, blocks: Blocks, cost: PieceCost, fleet: Fleet, bound: PieceBound, goal: Goal, most: int) -> None:
        self.blocks, self.fleet, self.bound, self.goal, self.most = blocks, fleet, bound, goal, most
        self.costs: dict[tuple[Downset, str], float] = {}
        self.family: list[Downset] = []
        self._cost = cost
        self._weights = np.stack([bound.weights[list(group)].sum(axis=0) for group in blocks.operators])

    def best(self, family: Iterable[Downset], worst: float = math.inf) -> Path | None:
        """The best chain of downsets of the family (which holds the empty set and everything)."""
        self.family = sorted(set(family), key=lambda d: (d.bit_count(), d))
        size = len(self.blocks.operators)
        words = as_words(self.family, size)
        member = np.unpackbits(words.astype("<u8").view(np.uint8), axis=1, bitorder="little")[:, :size]
        sums = member.astype(np.float64) @ self._weights

        def row(tail: int, kind: int) -> Floats:
            values = self.bound.seconds(sums[tail + 1 :] - sums[tail], self.fleet.kinds[kind])
            nested = ~(words[tail] & ~words[tail + 1 :]).any(axis=1)
            return np.where(nested, values * (1 - 1e-12), math.inf)  # sums over another order round differently

        def cost(tail: int, head: int, kind: int) -> float:
            return self._look_up(self.family[head] & ~self.family[tail], self.fleet.kinds[kind])

        return best_path(len(self.family), row, cost, self.fleet, self.goal, self.most, worst)

    def _look_up(self, blocks: Downset, kind: str) -> float:
        if (blocks, kind) not in self.costs:
            self.costs[blocks, kind] = self._cost(self.blocks.operators_of(blocks), kind)
        return self.costs[blocks, kind]

    def improve(self, bytes_between: Sequence[int], limit: int) -> Path | None:
        """The best chain of several execution orders, then of their surroundings, until nothing is better.

        What is found is not the optimum, so the last percent is not worth the many costs it takes to prove it.
        """
        self.goal = replace(self.goal, tolerance=max(self.goal.tolerance, _CLOSE))
        chains = [prefixes(order) for order in orders(self.blocks, bytes_between)]
        paths = []
        for chain in chains:
            path = self.best(chain)
            if path is not None:
                paths.append((path, [chain[e.head] for e in path.edges]))
        near = {n for _, cuts in paths for cut in cuts for n in nearby(self.blocks, cut)}
        found = min(paths, key=lambda p: self._objective(p[0]), default=None)
        for _ in range(_ROUNDS):
            worst = self._objective(found[0]) if found else math.inf
            family = {*chains[0], *(cut for _, cuts in paths for cut in cuts)}
            family |= set(sorted(near - family)[:: len(near) // limit + 1])  # the limit keeps the tables small
            path = self.best(family, worst)
            if path is None or self._objective(path) >= worst * (1 - 1e-9):
                break
            cuts = [self.family[e.head] for e in path.edges]
            found = (path, cuts)
            paths.append(found)
            near = {n for cut in cuts for m in nearby(self.blocks, cut) for n in (m, *nearby(self.blocks, m))}
        if found is None:
            return None
        path, cuts = found
        self.family = [0, *cuts]
        edges = tuple(e._replace(tail=n, head=n + 1) for n, e in enumerate(path.edges))
        return replace(path, edges=edges)

    def _objective(self, path: Path) -> float:
        return path.bottleneck if self.goal.objective == "throughput" else path.latency

    def pieces(self, path: Path) -> tuple[Piece, ...]:
        return tuple(
            Piece(
                self.blocks.operators_of(self.family[e.head] & ~self.family[e.tail]),
                self.fleet.kinds[e.kind],
                e.replicas,
                e.seconds,
            )
            for e in path.edges
        )

    def lower_bound(self) -> float:
        """What no chain of downsets undercuts: the costliest block, and everything spread evenly over the devices.

        For a convex bound b, pieces S1 ... Sk of the whole S have max b(Si) ≥ b(S / k), and for the sum k · b(S / k).
        A stage with r replicas counts b(Si) / r ≥ b'(Si / r) for b' = b - b(0). Where devices differ, one of them has
        at least an even share of any single feature.
        """
        total = self._weights.sum(axis=0)
        single = max(self._least(weights) for weights in self._weights)
        if self.goal.objective == "latency":
            if len(self.fleet.kinds) > 1:
                return single
            return max(single, min(k * self._least(total / k) for k in range(self.goal.at_least, self.most + 1)))
        replicas = self.fleet.max_replicas
        single /= replicas
        idle = self._least(np.zeros_like(total)) if replicas > 1 else 0.0
        return max(single, self._least(total / len(self.fleet.devices)) - idle)

    def _least(self, sums: Floats) -> float:
        """The least bound over the kinds of device; with several kinds feature by feature."""
        kinds = self.fleet.kinds
        vectors = sums[None] if len(kinds) == 1 else np.diag(sums)
        return max(min(float(self.bound.seconds(v[None], kind)[0]) for kind in kinds) for v in vectors)


_ROUNDS = 6
"""Improvements of the best chain by its surroundings; mostly the first two find something."""
_CLOSE = 0.01
"""Within this share of the best of a family an incomplete search goes on to the next one."""
