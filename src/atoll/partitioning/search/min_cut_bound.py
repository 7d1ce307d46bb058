"""Blocks with weights, and prices of what crosses between pieces → what some piece takes, however the graph is cut.

Every block is in some piece. The cheapest set of blocks around it, with what that set computes, receives and sends, is
a minimum cut of a network (a small set sends much, a large one computes much), so no piece that holds the block takes
less. The largest of these minima bounds the slowest piece for any number of pieces.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from atoll.partitioning.search.edges import Floats
from atoll.partitioning.search.ideals import Blocks

MOST_STEPS = 10_000_000
"""Visits of edges, some seconds, after which the bound is what it is by then."""
_TINY = 1e-12
"""Seconds that are not worth a path: a flow that lacks them is a lower bound all the same."""


def slowest_piece_at_least(blocks: Blocks, weights: Floats, receive: Floats, send: Floats, floor: float = 0.0) -> float:
    """Seconds that the slowest piece takes at least, or ``floor`` where that is more.

    Args:
        weights: (blocks,) seconds of computing.
        receive, send: (operators,) seconds for which a piece receives what an operator outside wrote, and sends what
            one inside wrote and one outside reads (or the graph gives out).
    """
    network = _Network(len(blocks.operators))
    for n, weight in enumerate(weights):
        network.connect(n, network.sink, float(weight))
    for n, group in enumerate(blocks.operators):
        for operator in group:
            readers = blocks.operator_readers[operator] - {n}
            if -1 in readers:
                network.connect(n, network.sink, float(send[operator]))
            elif readers:
                sent = network.node()
                network.connect(n, sent, float(send[operator]))
                for reader in readers:
                    network.connect(sent, reader, math.inf)
            if readers := readers - {-1}:
                received = network.node()
                network.connect(received, n, float(receive[operator]))
                for reader in readers:
                    network.connect(reader, received, math.inf)
    known = np.full(len(blocks.operators), math.inf)
    """For every block what some piece that holds it takes: those of at most the bound need no cut of their own."""
    for n in range(len(blocks.operators)):
        if known[n] > floor and network.steps < MOST_STEPS:
            least, side = network.least_cut(n)
            inside = [m for m in side if m < len(known)]
            known[inside] = np.minimum(known[inside], least)
            floor = max(floor, least)
    return floor


class _Network:
    """Directed edges with capacities, one node of which is the sink; maximum flows by Dinic's algorithm."""

    def __init__(self, nodes: int) -> None:
        self.sink = nodes
        self.steps = 0
        self._leaving: list[list[int]] = [[] for _ in range(nodes + 1)]
        self._head: list[int] = []
        self._capacity: list[float] = []
        """Of edge 2 k; edge 2 k + 1 is its reverse."""

    def node(self) -> int:
        self._leaving.append([])
        return len(self._leaving) - 1

    def connect(self, tail: int, head: int, capacity: float) -> None:
        for leaving, entered, value in ((tail, head, capacity), (head, tail, 0.0)):
            self._leaving[leaving].append(len(self._head))
            self._head.append(entered)
            self._capacity.append(value)

    def least_cut(self, source: int) -> tuple[float, set[int]]:
        """The least capacity that parts ``source`` from the sink, and the nodes on its side; less when the steps are
        spent."""
        left, total = list(self._capacity), 0.0
        while True:
            level = self._levels(source, left)
            if self.sink not in level or self.steps >= MOST_STEPS:
                return total, set(level)
            following: dict[int, int] = {}
            while path := self._path(source, left, level, following):
                amount = min(left[edge] for edge in path)
                total += amount
                for edge in path:
                    left[edge] -= amount
                    left[edge ^ 1] += amount

    def _levels(self, source: int, left: list[float]) -> dict[int, int]:
        """By how many edges each node can be reached, up to the sink."""
        level, queue = {source: 0}, deque([source])
        while queue and self.sink not in level:
            node = queue.popleft()
            self.steps += len(self._leaving[node])
            for edge in self._leaving[node]:
                if left[edge] > _TINY and self._head[edge] not in level:
                    level[self._head[edge]] = level[node] + 1
                    queue.append(self._head[edge])
        return level

    def _path(self, source: int, left: list[float], level: dict[int, int], following: dict[int, int]) -> list[int]:
        """Edges to the sink, each one level further; ``following`` says which edge of a node is the next to try."""
        path: list[int] = []
        node = source
        while node != self.sink:
            edges, at = self._leaving[node], following.get(node, 0)
            while at < len(edges) and not (
                left[edges[at]] > _TINY and level.get(self._head[edges[at]]) == level[node] + 1
            ):
                at += 1
            self.steps += at - following.get(node, 0) + 1
            following[node] = at
            if at < len(edges):
                path.append(edges[at])
                node = self._head[edges[at]]
            elif path:
                node = self._head[path.pop() ^ 1]
                following[node] += 1
            else:
                return []
        return path
