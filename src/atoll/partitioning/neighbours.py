"""A pipeline → how much worse it would be if something moved across one of its cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from atoll.partitioning.best_cuts import latency
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.search.contiguous import Cutting, Stage, neighbours
from atoll.partitioning.search.convex import Piece
from atoll.partitioning.search.ideals import blocks_of


@dataclass(frozen=True, slots=True)
class Move:
    """Operators taken from one side of a cut to the other, and what the slowest stage and the latency would be (s)."""

    cut: int
    """Between segments ``cut`` and ``cut + 1``."""
    operators: tuple[int, ...]
    to: int
    """The segment that they would belong to."""
    place: int | None
    """The operator before which the cut would be then; None where segments are not contiguous."""
    bottleneck: float
    latency: float


def moves(costs: FleetCosts, pieces: Sequence[Piece]) -> tuple[Move, ...]:
    """For every cut the least bad move across it in each direction, of one operator or of what cannot be parted.

    Nothing is moved out of a segment that would be empty then.
    """
    own, blocks = costs.in_pipeline(len(pieces)), blocks_of(costs.graph)
    number = {operator: n for n, group in enumerate(blocks.operators) for operator in group}
    inside = [sum(1 << n for n in {number[i] for i in piece.operators}) for piece in pieces]

    def tried(cut: int, block: int, source: int, to: int) -> Move:
        moved = 1 << block
        changed = list(pieces)
        for which, kept in ((source, inside[source] & ~moved), (to, inside[to] | moved)):
            operators = blocks.operators_of(kept)
            seconds = own.piece_cost(operators, pieces[which].kind)
            changed[which] = replace(pieces[which], operators=operators, seconds=seconds)
        slowest = max(piece.seconds / piece.replicas for piece in changed)
        return Move(cut, tuple(blocks.operators[block]), to, None, slowest, latency(changed))

    def every() -> Iterator[Move]:
        done = 0
        for cut in range(len(pieces) - 1):
            done |= inside[cut]
            for source, to, candidates in ((cut, cut + 1, blocks.last(done)), (cut + 1, cut, blocks.ready(done))):
                own_blocks = [n for n in candidates if inside[source] >> n & 1 and inside[source] != 1 << n]
                found = [tried(cut, n, source, to) for n in own_blocks]
                if found:
                    yield min(found, key=lambda move: (move.bottleneck, move.latency))

    return tuple(every())


def shifts(costs: FleetCosts, pieces: Sequence[Piece], positions: Sequence[int]) -> tuple[Move, ...]:
    """For every cut of the execution order what the next place to either side would do."""
    own = costs.in_pipeline(len(pieces))
    stages = tuple(Stage(p.operators[0], p.operators[-1] + 1, p.kind, p.replicas, p.seconds) for p in pieces)
    cutting = Cutting(stages, 0.0, 0)
    found = []
    for item in neighbours(cutting, positions, own.cost):
        cut, back = cutting.cuts.index(item.cut), item.moved_to < item.cut
        moved = tuple(range(*sorted((item.cut, item.moved_to))))
        found.append(Move(cut, moved, cut + back, item.moved_to, item.bottleneck, item.latency))
    return tuple(found)
