"""Graph and a cost function over sets of operators → the best cuts into ordered convex pieces, with bound and gap.

Where a graph has branches, a cut need not follow the execution order: what lies before it may be any ideal, a set of
operators that holds with an operator all it reads from. A pipeline is a chain of ideals, each segment the difference
of two, so the search of ``bounded_search`` over the family of all ideals is exact. There may be exponentially
many; beyond a limit the family holds the prefixes of several execution orders and what lies near the best cuts found,
and the result comes with a lower bound for all pieces that exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from atoll.model.graph import Graph
from atoll.partitioning.search.bounded_search import Path, best_path
from atoll.partitioning.search.edges import Floats
from atoll.partitioning.search.fleet import Fleet, Goal
from atoll.partitioning.search.ideals import (
    Blocks,
    Ideal,
    all_ideals,
    as_words,
    blocks_of,
    nearby,
    orders,
    prefixes,
)
from atoll.partitioning.search.min_cut_bound import slowest_piece_at_least

PieceCost = Callable[[tuple[int, ...], str], float]
"""``cost(operators, kind)`` in seconds, inf where the piece is impossible; operators in execution order."""

MAX_IDEALS = 2000
"""Up to this many the search is exact. Its tables grow with the square: about 2 million segments."""


_GOAL = Goal()


@dataclass(frozen=True, slots=True)
class PieceBound:
    """A lower bound of a piece's cost from sums over its operators.

    ``weights``: (operators, features) float64, at least 0: seconds of computing, bytes of parameters, ...
    ``seconds(sums, kind)``: (pieces, features) → (pieces,) lower bounds; must not fall when a sum grows, and must be
    convex (a sum of terms such as ``a`` and ``max(0, a - capacity) / rate`` is).
    ``crossing(kind)``: two arrays (operators,) of seconds, at least 0, that a piece takes beyond that for receiving
    what an operator before it wrote, and for sending on what an operator in it wrote.
    ``linear(kind)``: seconds that any piece takes, and (operators,) seconds, at least 0, for each operator in it, the
    sum of which is no more than its cost without ``crossing``.
    """

    weights: Floats
    seconds: Callable[[Floats, str], Floats]
    crossing: Callable[[str], tuple[Floats, Floats]] | None = None
    linear: Callable[[str], tuple[float, Floats]] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One stage: its operators in execution order, what runs it, and its seconds per inference on one device."""

    operators: tuple[int, ...]
    kind: str
    replicas: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ConvexCutting:
    """Pieces in pipeline order; ``lower_bound`` holds for every way to cut into ordered convex pieces (seconds).

    Without pieces, and with an objective of inf, where nothing was found that is as good as what was known before.
    """

    pieces: tuple[Piece, ...]
    lower_bound: float
    objective: float
    exact: bool
    """Whether all ideals were searched: then the bound is the objective."""
    ideals: int
    evaluations: int

    @property
    def bottleneck(self) -> float:
        """Seconds between two results: the slowest piece, divided by its replicas."""
        return max(piece.seconds / piece.replicas for piece in self.pieces)

    @property
    def latency(self) -> float:
        """Seconds from input to output of one item."""
        return sum(piece.seconds for piece in self.pieces)

    @property
    def gap(self) -> float:
        """By how much the result may be worse than the best there is, as a fraction of the bound."""
        return self.objective / self.lower_bound - 1 if self.lower_bound else math.inf


def optimal_pieces(
    graph: Graph,
    cost: PieceCost,
    fleet: Fleet,
    bound: PieceBound | None = None,
    goal: Goal = _GOAL,
    *,
    worst: float = math.inf,
    pinned: Sequence[int] = (),
) -> ConvexCutting:
    """The best way to cut a graph into ordered convex pieces and to give each its devices.

    Args:
        worst: only what is no worse than this objective (seconds) is looked for.
        pinned: operators before which there must be a cut, with all before them on one side and the others on the
            other side; they must be legal cuts.
    """
    blocks = blocks_of(graph)
    most = goal.most(fleet, len(blocks.operators))
    if not max(goal.at_least, len(pinned) + 1) <= most:
        return ConvexCutting((), math.inf, math.inf, True, 0, 0)
    bound = bound or PieceBound(np.zeros((len(graph.operators), 1)), lambda sums, _kind: np.zeros(len(sums)))
    search = _Family(blocks, cost, fleet, bound, goal, most, [blocks.before(place) for place in pinned])
    lower, family = search.lower_bound(), all_ideals(blocks, MAX_IDEALS)
    exact = family is not None
    if lower > worst:
        path = None
    elif family is not None:
        path = search.best(family, worst)
    elif (lower := max(lower, search.min_cut_bound(lower))) > worst:
        path = None
    else:
        path = search.improve(_bytes_between(graph, blocks), max(1, MAX_IDEALS // 2), worst)
    if path is None:
        return ConvexCutting((), worst if exact else lower, math.inf, exact, len(search.seen), len(search.costs))
    objective = path.bottleneck if goal.objective == "throughput" else path.latency
    lower = path.lower_bound if exact else min(objective, lower)
    return ConvexCutting(search.pieces(path), lower, objective, exact, len(search.seen), len(search.costs))


def _bytes_between(graph: Graph, blocks: Blocks) -> list[int]:
    return [
        sum(t.nbytes for i in group for t in graph.outputs_of(graph.operators[i])) if blocks.readers[n] else 0
        for n, group in enumerate(blocks.operators)
    ]


class _Family:
    """Searches over families of ideals that share their costs."""

    def __init__(
        self,
        blocks: Blocks,
        cost: PieceCost,
        fleet: Fleet,
        bound: PieceBound,
        goal: Goal,
        most: int,
        pinned: Sequence[Ideal],
    ) -> None:
        self.blocks, self.fleet, self.bound, self.goal, self.most = blocks, fleet, bound, goal, most
        self.pinned = pinned
        self.costs: dict[tuple[Ideal, str], float] = {}
        self.family: list[Ideal] = []
        self.seen: set[Ideal] = set()
        self._cost = cost
        self._weights = np.stack([bound.weights[list(group)].sum(axis=0) for group in blocks.operators])

    def best(self, family: Iterable[Ideal], worst: float = math.inf) -> Path | None:
        """The best chain of ideals of the family (which holds the empty set and everything)."""
        self.family = sorted(set(family), key=lambda d: (d.bit_count(), d))
        self.seen.update(self.family)
        size = len(self.blocks.operators)
        words = as_words(self.family, size)
        member = np.unpackbits(words.astype("<u8").view(np.uint8), axis=1, bitorder="little")[:, :size]
        sums = member.astype(np.float64) @ self._weights
        transfers = self._transfers(member)
        # A piece lies before every pin, or behind it.
        before = np.array([[d | pin == pin for pin in self.pinned] for d in self.family], dtype=np.bool_)
        behind = np.array([[d | pin == d for pin in self.pinned] for d in self.family], dtype=np.bool_)

        def row(tail: int, kind: int) -> Floats:
            values = self.bound.seconds(sums[tail + 1 :] - sums[tail], self.fleet.kinds[kind])
            if transfers is not None:
                values = values + transfers(tail, self.fleet.kinds[kind])
            nested = ~(words[tail] & ~words[tail + 1 :]).any(axis=1)
            nested &= (before[tail + 1 :] | behind[tail]).all(axis=1)
            return np.where(nested, values * (1 - 1e-12), math.inf)  # sums over another order round differently

        def cost(tail: int, head: int, kind: int) -> float:
            return self._look_up(self.family[head] & ~self.family[tail], self.fleet.kinds[kind])

        return best_path(len(self.family), row, cost, self.fleet, self.goal, self.most, worst)

    def _transfers(self, member: npt.NDArray[np.uint8]) -> Callable[[int, str], Floats] | None:
        """For one ideal of the family: lower bounds of what is received and sent by the pieces that begin there.

        What lies open before a piece and no more behind it was read by it. What lies open behind it and did not before
        was written by it: what an operator in both writes lies open behind the piece only if it does so before it.
        """
        crossing = self.bound.crossing
        if crossing is None:
            return None
        lies_open = self._open_after(member).astype(np.float64)
        priced = {}
        for kind in self.fleet.kinds:
            receive, send = crossing(kind)
            # Open at both ends of a piece: one product of matrices, since products row by row are many times slower.
            kept = (lies_open * receive @ lies_open.T, lies_open * send @ lies_open.T)
            priced[kind] = (*kept, lies_open @ receive, lies_open @ send)

        def from_tail(tail: int, kind: str) -> Floats:
            kept_received, kept_sent, received, sent = priced[kind]
            read: Floats = received[tail] - kept_received[tail, tail + 1 :]
            written: Floats = sent[tail + 1 :] - kept_sent[tail, tail + 1 :]
            return np.maximum(read, 0.0) + np.maximum(written, 0.0)

        return from_tail

    def _open_after(self, member: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """(ideals, operators): whether the operator is in the ideal and something outside reads what it writes."""
        blocks = self.blocks
        result = np.zeros((len(member), len(self.bound.weights)), dtype=np.bool_)
        for n, group in enumerate(blocks.operators):
            for operator in group:
                readers = blocks.operator_readers[operator]
                if -1 in readers:  # the graph gives it out
                    result[:, operator] = member[:, n]
                elif outside := sorted(readers - {n}):
                    result[:, operator] = (member[:, n] == 1) & (member[:, outside] == 0).any(axis=1)
        return result

    def _look_up(self, blocks: Ideal, kind: str) -> float:
        if (blocks, kind) not in self.costs:
            self.costs[blocks, kind] = self._cost(self.blocks.operators_of(blocks), kind)
        return self.costs[blocks, kind]

    def improve(self, bytes_between: Sequence[int], limit: int, worst: float) -> Path | None:
        """The best chain of several execution orders, then of their surroundings, until nothing is better.

        What is found is not the optimum, so the last percent is not worth the many costs it takes to prove it.
        """
        self.goal = replace(self.goal, tolerance=max(self.goal.tolerance, _CLOSE))
        chains = [prefixes(order) for order in orders(self.blocks, bytes_between)]
        paths = []
        for chain in chains:
            path = self.best(chain, worst)
            if path is not None:
                paths.append((path, [chain[e.head] for e in path.edges]))
        near = {n for _, cuts in paths for cut in cuts for n in nearby(self.blocks, cut)}
        found = min(paths, key=lambda p: self._objective(p[0]), default=None)
        for _ in range(_ROUNDS):
            worst = self._objective(found[0]) if found else worst
            family = {*chains[0], *(cut for _, cuts in paths for cut in cuts)}
            family |= set(sorted(near - family)[:: len(near) // limit + 1])  # the limit keeps the tables small
            path = self.best(family, worst)
            if path is None or (found and self._objective(path) >= worst * (1 - 1e-9)):
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
        """What no chain of ideals undercuts: the costliest block, and everything spread evenly over the devices.

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
        devices = min(self.fleet.size, self.most * replicas)
        return max(single, self._least(total / devices) - idle)

    def min_cut_bound(self, lower: float) -> float:
        """What the slowest piece takes at least because of what it receives and sends; ``lower``: what is known."""
        crossing, linear = self.bound.crossing, self.bound.linear
        if crossing is None or linear is None:
            return 0.0
        kinds = self.fleet.kinds
        always = min(linear(kind)[0] for kind in kinds)
        weights = np.min([linear(kind)[1] for kind in kinds], axis=0)
        receive, send = np.min([crossing(kind) for kind in kinds], axis=0)
        each = np.array([weights[list(group)].sum() for group in self.blocks.operators])
        replicas = self.fleet.max_replicas if self.goal.objective == "throughput" else 1
        least = slowest_piece_at_least(self.blocks, each, receive, send, lower * replicas - always)
        return (least + always) / replicas * (1 - 1e-9)

    def _least(self, sums: Floats) -> float:
        """The least bound over the kinds of device; with several kinds feature by feature."""
        kinds = self.fleet.kinds
        vectors = sums[None] if len(kinds) == 1 else np.diag(sums)
        return max(min(float(self.bound.seconds(v[None], kind)[0]) for kind in kinds) for v in vectors)


_ROUNDS = 6
"""Improvements of the best chain by its surroundings; mostly the first two find something."""
_CLOSE = 0.01
"""Within this share of the best of a family an incomplete search goes on to the next one."""
