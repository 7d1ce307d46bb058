"""Lower bounds of segment costs and a function that computes one cost → the best path of segments, and its proof.

The nodes are places to cut, in an order in which every segment leads forward; node 0 is the start of the model and the
last node its end. Every edge (a segment, on a kind of device) carries a value: its cost once that was asked for, a
lower bound until then. Each round finds the best path under these values, in the lexicographic order of the goal, and
asks for the costs on it that are not known yet; the search ends when there are none.

Why that is exact: the values are never above the costs, and raising values never improves the best path, so the value
of each round's path is a lower bound on every path's cost. When all values of that path are costs, the bound is
reached. No property of the costs is used, neither additivity nor monotonicity. The number of costs asked for depends
on how tight the bounds are; at worst every segment that could be part of a better path is asked for, once. (Lazy
shortest-path search: Dellin and Srinivasa, "A Unifying Formalism for Shortest Path Problems with Expensive Edge
Evaluations via Lazy Best-First Search over Paths with Edge Selectors", ICAPS 2016.)
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from atoll.partitioning.search.edges import Edges, Floats, PathTables
from atoll.partitioning.search.feasibility import Taken, feasible_path
from atoll.partitioning.search.fleet import Fleet, Goal, Transition


class Edge(NamedTuple):
    """One segment of a path: from node to node, on ``replicas`` devices of a kind, ``seconds`` per inference."""

    tail: int
    head: int
    kind: int
    replicas: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Path:
    """The best path found; none has a smaller objective than ``lower_bound`` (seconds)."""

    edges: tuple[Edge, ...]
    lower_bound: float
    evaluations: int
    """How many costs were computed."""

    @property
    def bottleneck(self) -> float:
        """Seconds between two results, as far as it depends on the slowest stage."""
        return max(edge.seconds / edge.replicas for edge in self.edges)

    @property
    def latency(self) -> float:
        """Seconds that one item spends in the segments."""
        return sum(edge.seconds for edge in self.edges)


def best_path(
    nodes: int,
    bound: Callable[[int, int], Floats],
    cost: Callable[[int, int, int], float],
    fleet: Fleet,
    goal: Goal,
    most: int,
    worst: float = math.inf,
) -> Path | None:
    """The best path of at most ``most`` edges from node 0 to the last, or None when no path fulfils the goal.

    Args:
        bound: ``bound(tail, kind)`` gives lower bounds for the edges to the nodes ``tail + 1, ...`` (float64), inf
            for edges that do not exist.
        cost: ``cost(tail, head, kind)`` in seconds, inf when the segment is impossible; asked once at most for each.
        worst: the objective of a known solution; paths that are not better need not be found.

    Raises:
        TooManyEdgesError: there are more than :data:`atoll.partitioning.search.edges.MAX_EDGES`.
    """
    search = _LazySearch(fleet, goal, most, worst)
    search.edges = Edges.build(nodes, bound, len(fleet.kinds), search.edge_limit())
    for edge, kind in search.unknown_costs():
        search.learn(edge, kind, cost(int(search.edges.tail[edge]), int(search.edges.head[edge]), kind))
    return search.result


_ROUNDS_ALONE = 6
"""Rounds that ask for the costs of the best path only; with tight bounds there are no more."""
_CLOSE = 1e-3
"""Bounds this near each other (relatively) are not halved any more: most likely the upper one is the answer."""

Unknown = tuple[int, int]
"""An edge and a kind of device whose cost is wanted: by their numbers in the current edges."""


class _LazySearch:
    """What is known between two rounds."""

    edges: Edges

    def __init__(self, fleet: Fleet, goal: Goal, most: int, worst: float) -> None:
        self.goal = goal
        self.layers: list[list[Transition]] = fleet.layers(most)
        self.replicas = max(step.replicas for layer in self.layers for step in layer)
        self.worst = worst
        self.lower = 0.0
        self.evaluations = 0
        self.rounds = 0
        self.result: Path | None = None
        """The best path there is, once :meth:`unknown_costs` has ended."""
        self._best: Path | None = None
        """The best path so far all of whose costs are known."""

    def unknown_costs(self) -> Iterator[Unknown]:
        """Search. Each cost that it takes is asked for by an item, and has to be learnt before the next one."""
        alone = self.goal.objective == "throughput" and math.isinf(self.goal.max_latency)
        while (path := self.next_path()) is not None:
            if all(self.is_known(edge) for edge in path):
                self.result = self.as_path(path)
                return
            yield from self.look_up(path)
            if self.is_close_enough():
                break
            self.rounds += 1
            if self.rounds == _ROUNDS_ALONE and alone:
                yield from self.settle_bottleneck()
            elif self.rounds > _ROUNDS_ALONE:
                yield from self.promising()
        self.result = self._best and Path(self._best.edges, self.lower, self.evaluations)

    def learn(self, edge: int, kind: int, cost: float) -> None:
        """Take in a cost that was asked for."""
        self.evaluations += 1
        self.edges.learn(edge, kind, cost)

    def edge_limit(self) -> float:
        """The largest cost of one edge in a solution no worse than the best that is known."""
        slowest = min(self.goal.max_bottleneck, self.worst if self.goal.objective == "throughput" else math.inf)
        longest = min(self.goal.max_latency, self.worst if self.goal.objective == "latency" else math.inf)
        return min(slowest * self.replicas, longest)

    def next_path(self) -> list[Taken] | None:
        """The best path under the current values, unless it cannot be better than what is known; raises ``lower`` to
        its objective."""
        goal, worst = self.goal, self.worst * (1 + 1e-12)  # sums in another order round differently
        if goal.objective == "latency":
            sums = self._tables(np.add, goal.max_bottleneck)
            lengths = sums.at_end(goal.at_least)
            self.lower = max(self.lower, min(lengths))
            limit = min(lengths)
            return (
                self._shortest(sums, limit) if limit <= min(goal.max_latency, worst) and math.isfinite(limit) else None
            )
        if self.lower > goal.max_bottleneck:  # proven by `settle_bottleneck`
            return None
        sums = self._tables(np.add, self.lower)  # most rounds leave the bottleneck as it is
        if not self._fits(sums):
            fastest = self._tables(np.maximum, goal.max_bottleneck)
            self.lower = max(self.lower, min(fastest.at_end(goal.at_least)))
            if math.isinf(self.lower) or self.lower > worst:
                return None
            sums = self._tables(np.add, self.lower)
            if not self._fits(sums):
                return self._within_latency()
        return self._shortest(sums, goal.max_latency)

    def _within_latency(self) -> list[Taken] | None:
        """The least bottleneck at which the sum is small enough: a bisection over the values there are."""
        uses = {step.replicas for layer in self.layers for step in layer}
        values = np.unique(np.concatenate([self.edges.values.ravel() / r for r in uses]))
        higher = values[(values > self.lower) & (values <= self.goal.max_bottleneck) & np.isfinite(values)].tolist()
        first = bisect_left(higher, True, key=lambda value: self._fits(self._tables(np.add, value)))
        if first == len(higher):
            return None
        self.lower = higher[first]
        return self._shortest(self._tables(np.add, self.lower), self.goal.max_latency)

    def _tables(self, combine: np.ufunc, limit: float) -> PathTables:
        return PathTables.fill(self.edges, self.layers, combine, limit, self.goal.at_least)

    def _fits(self, sums: PathTables) -> bool:
        least = min(sums.at_end(self.goal.at_least))
        return math.isfinite(least) and least <= self.goal.max_latency

    def _shortest(self, sums: PathTables, limit: float) -> list[Taken]:
        """Among the paths whose sum is within the limit: the fewest edges, then the least sum."""
        lengths = enumerate(sums.at_end(self.goal.at_least), start=self.goal.at_least)
        return sums.trace(next(count for count, length in lengths if length <= limit and math.isfinite(length)))

    def look_up(self, path: Sequence[Taken]) -> Iterator[Unknown]:
        """Ask for the costs of the path that are not known, and keep it if it is the best so far."""
        for tail, head, kind, replicas in path:
            edge = self.edges.index(tail, head)
            if not self.edges.known[kind, edge]:
                yield edge, kind
                if self.goal.objective == "throughput" and self.edges.values[kind, edge] / replicas > self.worst:
                    return  # refuted: the other costs of this path need not be known
        self.offer(self.as_path(path))

    def settle_bottleneck(self) -> Iterator[Unknown]:
        """Find the least bottleneck, then the fewest edges it can be had with: what is left to do is the sum.

        With loose bounds very many paths look better than the best and have to be refuted one by one; a bisection over
        limits refutes them together. It ends with equal bounds, or within the tolerance of the goal.
        """
        ceiling, upper = math.nextafter(self.goal.max_bottleneck, math.inf), self.worst
        while upper > self.lower * (1 + self.goal.tolerance):
            is_last = math.isinf(upper) or upper - self.lower <= _CLOSE * upper
            limit = upper if is_last else (self.lower + upper) / 2
            taken = yield from feasible_path(self.edges, self.layers, min(limit, ceiling), self.goal.at_least)
            if taken is None:
                self.lower = limit
            else:
                path = self.as_path(taken)
                self.offer(path)
                upper = path.bottleneck
        while self._best is not None and self.lower == upper and len(self._best.edges) > self.goal.at_least:
            layers = self.layers[: len(self._best.edges) - 1]
            limit = math.nextafter(upper, math.inf)
            fewer = yield from feasible_path(self.edges, layers, limit, self.goal.at_least)
            if fewer is None:
                break
            self.offer(self.as_path(fewer))

    def promising(self) -> Iterator[Unknown]:
        """Ask for costs beside those of the best path, more of them the longer it takes.

        A round for each path that looks better than the best would take longer than computing the costs. Which costs
        are asked for has no influence on the result.
        """
        proven = self.goal.objective == "latency" or self.lower >= self.worst
        limit = self.lower if self.goal.objective == "throughput" and proven else self.goal.max_bottleneck
        tables = self._tables(np.add if proven else np.maximum, limit)
        value = tables.through(self.goal.at_least)
        candidate = ~tables.edges.known & np.isfinite(value)
        if self._best is not None:
            candidate &= value <= (self._best.latency if proven else self._best.bottleneck)
        count = int(2 ** (self.rounds - _ROUNDS_ALONE))
        best = np.argsort(np.where(candidate, value, math.inf), axis=None, kind="stable")[:count]
        kinds, edges = np.unravel_index(best[candidate.ravel()[best]], value.shape)
        yield from zip(self.edges.indices(tables.edges, edges).tolist(), kinds.tolist())

    def is_known(self, edge: Taken) -> bool:
        return bool(self.edges.known[edge[2], self.edges.index(edge[0], edge[1])])

    def as_path(self, path: Sequence[Taken]) -> Path:
        values = self.edges.values
        edges = (Edge(*edge, float(values[edge[2], self.edges.index(edge[0], edge[1])])) for edge in path)
        return Path(tuple(edges), self.lower, self.evaluations)

    def offer(self, path: Path) -> None:
        """Keep the path if it is the best so far, and forget the edges that no better one can have."""
        goal = self.goal
        if not (path.latency <= goal.max_latency and path.bottleneck <= goal.max_bottleneck):
            return
        if math.isinf(path.latency) or (self._best and self._rank(path) >= self._rank(self._best)):
            return
        self._best = path
        self.worst = min(self.worst, self._rank(path)[0])
        self.edges = self.edges.below(self.edge_limit())

    def _rank(self, path: Path) -> tuple[float, int, float]:
        if self.goal.objective == "throughput":
            return path.bottleneck, len(path.edges), path.latency
        return path.latency, len(path.edges), path.bottleneck

    def is_close_enough(self) -> bool:
        return self.goal.tolerance > 0 and self.worst <= self.lower * (1 + self.goal.tolerance)
