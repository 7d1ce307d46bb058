"""Lower bounds and costs of segments → tables of the least value with which every place to cut is reached."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.partitioning.search.fleet import State, Transition

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Reached = dict[State, Floats]
"""By state of the fleet: the least value with which each node is reached."""

MAX_EDGES = 20_000_000
"""About 600 MB of tables."""


class TooManyEdgesError(Exception):
    """The tables would not fit into memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """The segments that may still be part of the best path, sorted by head and then by tail."""

    nodes: int
    tail: Ints
    head: Ints
    values: Floats
    """(kinds, edges): the cost in seconds where it is known, else a lower bound; inf where there is no edge."""
    known: npt.NDArray[np.bool_]
    starts: Ints
    """Where the edges into one head begin."""

    @classmethod
    def build(cls, nodes: int, bound: Callable[[int, int], Floats], kinds: int, limit: float) -> Edges:
        """All edges whose lower bound is at most ``limit``. Raises :class:`TooManyEdgesError`."""
        tails, heads, values, total = [], [], [], 0
        for tail in range(nodes - 1):
            rows = np.stack([np.asarray(bound(tail, kind), dtype=np.float64) for kind in range(kinds)])
            least = rows.min(axis=0)
            kept = np.flatnonzero((least <= limit) & np.isfinite(least))
            total += len(kept) * kinds
            if total > MAX_EDGES:
                raise TooManyEdgesError
            tails.append(np.full(len(kept), tail, dtype=np.intp))
            heads.append(kept + tail + 1)
            values.append(rows[:, kept])
        head = np.concatenate(heads)
        order = np.argsort(head, kind="stable")
        value = np.maximum(np.concatenate(values, axis=1)[:, order], 0.0)
        head = head[order]
        starts = np.flatnonzero(np.diff(head, prepend=-1))
        return cls(nodes, np.concatenate(tails)[order], head, value, np.isinf(value), starts)

    def below(self, limit: float) -> Edges:
        """Without the edges that cost more than ``limit`` on every kind of device (rounding errors aside)."""
        kept = np.flatnonzero(self.values.min(axis=0) <= limit * (1 + 1e-12))
        head = self.head[kept]
        starts = np.flatnonzero(np.diff(head, prepend=-1))
        return Edges(self.nodes, self.tail[kept], head, self.values[:, kept], self.known[:, kept], starts)

    def into(self, head: int) -> slice:
        """The edges that end in ``head``."""
        return slice(*(int(i) for i in np.searchsorted(self.head, (head, head + 1))))

    def index(self, tail: int, head: int) -> int:
        """The position of one edge that exists."""
        span = self.into(head)
        first: int = span.start
        return first + int(np.searchsorted(self.tail[span], tail))

    def indices(self, some: Edges, which: Ints) -> Ints:
        """The positions here of edges ``which`` of ``some``, all of which exist here."""
        keys = self.head * self.nodes + self.tail
        return np.searchsorted(keys, some.head[which] * self.nodes + some.tail[which])

    def learn(self, index: int, kind: int, cost: float) -> None:
        """Replace a lower bound by the cost."""
        lower = self.values[kind, index]
        # Otherwise the proof is void, and the fault is with whoever supplied the bound.
        assert cost >= lower * (1 - 1e-9) - 1e-12, f"a cost of {cost} s is below its lower bound, {lower} s"
        self.values[kind, index] = cost
        self.known[kind, index] = True

    def relax(self, reached: Floats, values: Floats, combine: Callable[..., Any]) -> Floats:
        """One edge further: for every node the least of ``combine(value of the tail, value of the edge)``."""
        result = np.full(self.nodes, math.inf)
        if len(self.starts):
            result[self.head[self.starts]] = np.minimum.reduceat(combine(reached[self.tail], values), self.starts)
        return result


def ends(layer: list[Transition]) -> list[State]:
    """The states in which a path whose last segment is of this layer may end."""
    return list(dict.fromkeys(step.target for step in layer if step.may_end))


@dataclass(frozen=True, slots=True, eq=False)
class PathTables:
    """For every number of edges the least bottleneck, or the least sum, with which each node is reached.

    ``limit`` bounds the value of every edge divided by its replicas, which is what ``combine=np.maximum`` compares;
    ``np.add`` sums the values themselves.
    """

    edges: Edges
    layers: list[list[Transition]]
    combine: Callable[..., Any]
    limit: float
    reached: list[Reached]

    @classmethod
    def fill(
        cls, edges: Edges, layers: list[list[Transition]], combine: Callable[..., Any], limit: float, at_least: int = 1
    ) -> PathTables:
        """``at_least``: smaller numbers of edges are not asked for.

        Layers are left out as soon as one more edge improves nothing: no node was reached with less than by fewer
        edges (by ``at_least`` - 1 or more), so none will be. In a fleet with several states for one number of edges
        that does not follow, since a longer path may have other devices left.
        """
        most = max(step.replicas for layer in layers for step in layer)
        edges = edges.below(limit * most) if math.isfinite(limit) else edges
        start = np.full(edges.nodes, math.inf)
        start[0] = 0.0
        tables = cls(edges, layers, combine, limit, [{layers[0][0].source: start}])
        values = {
            use: tables._values(*use) for use in {(step.kind, step.replicas) for layer in layers for step in layer}
        }
        alike = all(len({step.target for step in layer}) == 1 and ends(layer) for layer in layers)
        least = start if at_least == 1 else np.full(edges.nodes, math.inf)
        for count, layer in enumerate(layers, start=1):
            reached: Reached = {}
            for step in layer:
                new = edges.relax(tables.reached[-1][step.source], values[step.kind, step.replicas], combine)
                reached[step.target] = np.minimum(reached[step.target], new) if step.target in reached else new
            tables.reached.append(reached)
            if alike and count >= at_least - 1:
                if count >= at_least and (least <= new).all():
                    return replace(tables, layers=layers[:count])
                least = np.minimum(least, new)
        return tables

    def _values(self, kind: int, replicas: int) -> Floats:
        values = self.edges.values[kind]
        shared = values / replicas
        return np.where(shared <= self.limit, shared if self.combine is np.maximum else values, math.inf)

    def at_end(self, at_least: int) -> list[float]:
        """The least value of the last node for ``at_least``, ``at_least + 1``, ... edges."""
        return [
            min((float(self.reached[count][state][-1]) for state in ends(self.layers[count - 1])), default=math.inf)
            for count in range(at_least, len(self.reached))
        ]

    def through(self, at_least: int) -> Floats:
        """For every edge and kind, (kinds, edges): the least value of a whole path that takes it.

        A pass from the end, the mirror image of the one that filled the tables, meets them in the middle.
        """
        edges = self.edges
        result = np.full(edges.values.shape, math.inf)
        order = np.argsort(edges.tail, kind="stable")
        starts = np.flatnonzero(np.diff(edges.tail[order], prepend=-1))
        ahead: Reached = {}
        for count in range(len(self.layers), 0, -1):
            here: Reached = {state: np.full(edges.nodes, math.inf) for state in self.reached[count]}
            for state, values in here.items():
                if state in ahead:
                    values[:] = ahead[state]
                if count >= at_least and state in ends(self.layers[count - 1]):
                    values[-1] = 0.0
            ahead = {}
            for step in self.layers[count - 1]:
                onward = self.combine(self._values(step.kind, step.replicas), here[step.target][edges.head])
                whole = self.combine(self.reached[count - 1][step.source][edges.tail], onward)
                np.minimum(result[step.kind], whole, out=result[step.kind])
                best = ahead.setdefault(step.source, np.full(edges.nodes, math.inf))
                if len(starts):
                    tails = edges.tail[order][starts]
                    best[tails] = np.minimum(best[tails], np.minimum.reduceat(onward[order], starts))
        return result

    def trace(self, count: int) -> list[tuple[int, int, int, int]]:
        """A best path of ``count`` edges, from the start: (tail, head, kind, replicas) of each."""
        state = min(ends(self.layers[count - 1]), key=lambda state: float(self.reached[count][state][-1]))
        node, path = self.edges.nodes - 1, []
        for layer in range(count, 0, -1):
            target, span = self.reached[layer][state][node], self.edges.into(node)
            for step in (step for step in self.layers[layer - 1] if step.target == state):
                before = self.reached[layer - 1][step.source][self.edges.tail[span]]
                hits = np.flatnonzero(self.combine(before, self._values(step.kind, step.replicas)[span]) == target)
                if len(hits):
                    break
            tail = int(self.edges.tail[span.start + int(hits[0])])
            path.append((tail, node, step.kind, step.replicas))
            node, state = tail, step.source
        return path[::-1]
