"""A limit → a path of segments that all cost less than it, or the certainty that there is none.

Depth first from the start of the model, the longest segments first, as the vendor's partitioner does; a node from
which the end was not reached is dead for that state of the fleet and never entered again. Edges to dead nodes, and to
nodes from which not even the lower bounds lead to the end, are not asked for their cost. With costs that mostly grow
with the segment that leaves the few edges that overshoot; nothing but the number of costs asked for depends on it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atoll.partitioning.search.edges import Edges, Ints, ends
from atoll.partitioning.search.fleet import State, Transition

Taken = tuple[int, int, int, int]
"""(tail, head, kind, replicas)"""
Flags = dict[State, npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class _EdgesBelow:
    """The edges whose value is below a limit, sorted by tail and then by head."""

    edges: Ints
    heads: Ints
    starts: Ints
    """Where the edges out of each node begin."""

    @classmethod
    def of(cls, edges: Edges, order: Ints, kind: int, limit: float) -> _EdgesBelow:
        """``order`` sorts the edges by tail."""
        cheap = order[edges.values[kind, order] < limit]
        return cls(cheap, edges.head[cheap], np.searchsorted(edges.tail[cheap], np.arange(edges.nodes + 1)))

    def longest_first(self, tail: int, alive: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """The edges out of a node to the nodes that are alive, with these nodes."""
        row = slice(self.starts[tail], self.starts[tail + 1])
        kept = alive[self.heads[row]]
        return zip(self.edges[row][kept][::-1].tolist(), self.heads[row][kept][::-1].tolist())


def feasible_path(
    edges: Edges, layers: list[list[Transition]], limit: float, at_least: int
) -> Generator[tuple[int, int], None, list[Taken] | None]:
    """A path from the start whose edges, divided by their replicas, all cost less than ``limit``; None: there is none.

    Each item is an (edge, kind) whose cost is not known yet: ``edges`` have to learn it before the next item.
    """
    order = np.argsort(edges.tail, kind="stable")
    uses = {(step.kind, step.replicas) for layer in layers for step in layer}
    cheap = {(kind, r): _EdgesBelow.of(edges, order, kind, limit * r) for kind, r in uses}
    alive = _leading_to_the_end(edges, layers, limit, at_least)
    start, end = layers[0][0].source, edges.nodes - 1
    if not alive[0][start][0]:
        return None
    # What the path has reached so far: a node, the state of the fleet there, and the edges that are still to be tried.
    reached = [(0, start, _onward(cheap, layers[0], alive[1], 0, start))]
    path: list[Taken] = []
    while reached:
        node, state, onward = reached[-1]
        count = len(path)
        for edge, head, step in onward:
            if not alive[count + 1][step.target][head]:  # found out since
                continue
            if not edges.known[step.kind, edge]:
                yield edge, step.kind
            if edges.values[step.kind, edge] < limit * step.replicas:
                path.append((node, head, step.kind, step.replicas))
                break
        else:
            alive[count][state][node] = False
            reached.pop()
            del path[-1:]
            continue
        if head == end:
            return path
        reached.append((head, step.target, _onward(cheap, layers[count + 1], alive[count + 2], head, step.target)))
    return None


def _onward(
    cheap: Mapping[tuple[int, int], _EdgesBelow], layer: list[Transition], alive: Flags, node: int, state: State
) -> Iterator[tuple[int, int, Transition]]:
    """The edges that may follow in a path which has reached a node, the longest first, with their heads and steps."""
    for step in (step for step in layer if step.source == state):
        for edge, head in cheap[step.kind, step.replicas].longest_first(node, alive[step.target]):
            yield edge, head, step


def _leading_to_the_end(edges: Edges, layers: list[list[Transition]], limit: float, at_least: int) -> list[Flags]:
    """By number of edges taken and state: the nodes from which the end may be reached, going by lower bounds."""
    alive: list[Flags] = [{} for _ in range(len(layers) + 1)]
    for count in range(len(layers), -1, -1):
        states = {step.target for step in layers[count - 1]} if count else {layers[0][0].source}
        final = ends(layers[count - 1]) if count else []
        for state in states:
            flags = np.zeros(edges.nodes, dtype=np.bool_)
            flags[-1] = count >= at_least and state in final
            alive[count][state] = flags
        for step in layers[count] if count < len(layers) else ():
            cheap = edges.values[step.kind] < limit * step.replicas
            alive[count][step.source][edges.tail[cheap & alive[count + 1][step.target][edges.head]]] = True
    return alive
