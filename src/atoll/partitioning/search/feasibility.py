"""A limit → a path of segments that all cost less than it, or the certainty that there is none.

Depth first from the start of the model, the longest segments first, as the vendor's partitioner does; a node from
which the end was not reached is dead for that state of the fleet and never entered again. Edges to dead nodes, and to
nodes from which not even the lower bounds lead to the end, are not asked for their cost. With costs that mostly grow
with the segment that leaves the few edges that overshoot; nothing but the number of costs asked for depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atoll.partitioning.search.edges import Edges, Ints, ends
from atoll.partitioning.search.fleet import State, Step

Taken = tuple[int, int, int, int]
"""(tail, head, kind, replicas)"""
Flags = dict[State, npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class _Cheap:
    """The edges whose value is below a limit, sorted by tail and then by head."""

    edges: Ints
    heads: Ints
    starts: Ints
    """Where the edges out of each node begin."""

    @classmethod
    def of(cls, edges: Edges, order: Ints, kind: int, limit: float) -> _Cheap:
        """``order`` sorts the edges by tail."""
        cheap = order[edges.values[kind, order] < limit]
        return cls(cheap, edges.head[cheap], np.searchsorted(edges.tail[cheap], np.arange(edges.nodes + 1)))

    def longest_first(self, tail: int, alive: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """The edges out of a node to the nodes that are alive, with these nodes."""
        row = slice(self.starts[tail], self.starts[tail + 1])
        kept = alive[self.heads[row]]
        return zip(self.edges[row][kept][::-1].tolist(), self.heads[row][kept][::-1].tolist())


class Decision:
    """One question: is there a path whose edges, divided by their replicas, all cost less than ``limit``?"""

    def __init__(
        self, edges: Edges, layers: list[list[Step]], limit: float, at_least: int, ask: Callable[[int, int], float]
    ) -> None:
        """``ask(edge, kind)`` computes a cost that is not known yet."""
        self._edges, self._layers, self._limit, self._ask = edges, layers, limit, ask
        order = np.argsort(edges.tail, kind="stable")
        uses = {(step.kind, step.replicas) for layer in layers for step in layer}
        self._cheap = {(kind, r): _Cheap.of(edges, order, kind, limit * r) for kind, r in uses}
        self._alive = self._reachable_from_end(at_least)

    def path(self) -> list[Taken] | None:
        """Such a path, from the start, or None when every path has an edge that costs ``limit`` or more."""
        start = self._layers[0][0].source
        return self._search(0, 0, start) if self._alive[0][start][0] else None

    def _reachable_from_end(self, at_least: int) -> list[Flags]:
        """By number of edges taken and state: the nodes from which the end may be reached, going by lower bounds."""
        edges = self._edges
        alive: list[Flags] = [{} for _ in range(len(self._layers) + 1)]
        for count in range(len(self._layers), -1, -1):
            states = {s.target for s in self._layers[count - 1]} if count else {self._layers[0][0].source}
            final = ends(self._layers[count - 1]) if count else []
            for state in states:
                flags = np.zeros(edges.nodes, dtype=np.bool_)
                flags[-1] = count >= at_least and state in final
                alive[count][state] = flags
            for step in self._layers[count] if count < len(self._layers) else ():
                cheap = edges.values[step.kind] < self._limit * step.replicas
                alive[count][step.source][edges.tail[cheap & alive[count + 1][step.target][edges.head]]] = True
        return alive

    def _search(self, node: int, count: int, state: State) -> list[Taken] | None:
        """Depth first; the depth is the number of segments."""
        edges = self._edges
        if node == edges.nodes - 1:
            return []
        for step in (step for step in self._layers[count] if step.source == state):
            alive = self._alive[count + 1][step.target]
            limit = self._limit * step.replicas
            values, known = edges.values[step.kind], edges.known[step.kind]
            for edge, head in self._cheap[step.kind, step.replicas].longest_first(node, alive):
                if not alive[head]:  # found out since
                    continue
                if (values[edge] if known[edge] else self._ask(edge, step.kind)) >= limit:
                    continue
                rest = self._search(head, count + 1, step.target)
                if rest is not None:
                    return [(node, head, step.kind, step.replicas), *rest]
        self._alive[count][state][node] = False
        return None


_CLOSE = 1e-3
"""Bounds this near each other (relatively) are not halved any more: most likely the upper one is the answer."""


def least_bottleneck(
    lower: float, upper: float, tolerance: float, decide: Callable[[float], float | None]
) -> tuple[float, float]:
    """Bisection for the least bottleneck; the bounds it ends with are equal, or within ``tolerance`` (a fraction).

    ``decide(limit)`` returns a bottleneck below the limit that can be had, or None when there is none.
    """
    while upper > lower * (1 + tolerance):
        limit = upper if math.isinf(upper) or upper - lower <= _CLOSE * upper else (lower + upper) / 2
        found = decide(limit)
        lower, upper = (limit, upper) if found is None else (lower, found)
    return lower, upper
