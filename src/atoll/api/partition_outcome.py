"""Pieces that were chosen, and their costs → :class:`PartitionReport`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.estimate.accuracy import Accuracy, error_sentence, held_out_error
from atoll.model.graph import Graph
from atoll.partitioning import Partition, cut_tensors
from atoll.partitioning.best_cuts import Found, host_rate, interval, is_contiguous, latency
from atoll.partitioning.fleet_costs import CPU_CORES, FleetCosts
from atoll.partitioning.given_costs import GivenCosts
from atoll.partitioning.neighbours import moves, shifts
from atoll.partitioning.search.convex import Piece
from atoll.reporting.partition_report import (
    FewerDevices,
    PartitionCut,
    PartitionNeighbour,
    PartitionReport,
    PartitionSearch,
    PartitionSegment,
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Where a model is to be cut, what runs each piece, and what was asked for."""

    partition: Partition
    pieces: tuple[Piece, ...]
    positions: tuple[int, ...]
    """0, the places where the model may be cut, and its number of operators."""
    objective: str | None
    """None for a partition that was read."""
    tpus: int
    max_replicas: int
    search: PartitionSearch | None = None
    fewer: tuple[Piece, ...] | None = None


def outcome(model: str, costs: FleetCosts, chosen: Chosen, file: str | None) -> PartitionReport:
    """What comes of the pieces that were chosen."""
    pieces = chosen.pieces
    between = interval(costs, pieces)
    each = [piece.seconds / piece.replicas for piece in pieces]
    how, accuracy = _provenance(costs, pieces)
    return PartitionReport(
        model=model,
        target=costs.name,
        strategy=chosen.partition.strategy,
        objective=chosen.objective,
        tpus=chosen.tpus,
        max_replicas=chosen.max_replicas,
        places_to_cut=len(chosen.positions) - 2,
        cuts=_cuts(costs.graph, chosen),
        segments=tuple(_segment(costs, piece, own / between) for piece, own in zip(pieces, each)),
        bottleneck=None if 1 / host_rate(costs, pieces) > max(each) else each.index(max(each)),
        interval_ms=between * 1e3,
        throughput=1 / between,
        latency_ms=latency(pieces) * 1e3,
        search=chosen.search,
        fewer=None if chosen.fewer is None else _fewer(costs, chosen.fewer, between),
        neighbours=_neighbours(costs, chosen) if chosen.objective else (),
        accuracy=accuracy,
        how=how,
        file=file,
    )


def search_report(found: Found, objective: str, *, along_branches: bool) -> PartitionSearch:
    """What was searched and what is proven; the bound is of the time between results, or of the latency."""
    return PartitionSearch(
        exact=found.exact,
        sets_before_a_cut=found.cuttings,
        contiguous=found.contiguous,
        along_branches=along_branches,
        bound_of="latency_ms" if objective == "latency" else "interval_ms",
        lower_bound_ms=found.lower_bound * 1e3,
        gap=found.gap,
    )


def _fewer(costs: FleetCosts, fewer: Sequence[Piece], between: float) -> FewerDevices:
    own = interval(costs, fewer)
    return FewerDevices(sum(piece.replicas for piece in fewer), own * 1e3, latency(fewer) * 1e3, own / between - 1)


def _cuts(graph: Graph, chosen: Chosen) -> tuple[PartitionCut, ...]:
    sizes = {tensor.name: tensor.nbytes for tensor in graph.tensors}
    in_order = is_contiguous(chosen.pieces)
    return tuple(
        PartitionCut(piece.operators[0] if in_order else None, names, sum(sizes[name] for name in names))
        for piece, names in zip(chosen.pieces[1:], cut_tensors(chosen.partition))
    )


def _segment(costs: FleetCosts, piece: Piece, use: float) -> PartitionSegment:
    runs = _runs(piece.operators)
    return PartitionSegment(
        operators=runs[0] if len(runs) == 1 else None,
        runs=runs,
        device=piece.kind,
        replicas=piece.replicas,
        ms=piece.seconds * 1e3,
        use=use,
        parameter_bytes=int(costs.first.parameter_bytes[list(piece.operators)].sum()),
        off_chip_bytes=costs.first.piece_streamed_bytes(piece.operators),
    )


def _runs(operators: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as ranges, from and up to: (0, 1, 4) are ((0, 2), (4, 5))."""
    runs: list[tuple[int, int]] = []
    for n in operators:
        if runs and runs[-1][1] == n:
            runs[-1] = runs[-1][0], n + 1
        else:
            runs.append((n, n + 1))
    return tuple(runs)


def _neighbours(costs: FleetCosts, chosen: Chosen) -> tuple[PartitionNeighbour, ...]:
    """What would be worse, and by how much, with each cut one place to the left or right; where segments are not
    contiguous, with one operator on the other side of it."""
    pieces, graph = chosen.pieces, costs.graph
    slowest = max(piece.seconds / piece.replicas for piece in pieces)
    through = latency(pieces)
    tried = shifts(costs, pieces, chosen.positions) if is_contiguous(pieces) else moves(costs, pieces)
    return tuple(
        PartitionNeighbour(
            cut=move.cut,
            before_operator=move.place,
            tensor=_name(graph, move.operators[-1] if move.place is None else move.place - 1),
            to_segment=move.to,
            slowest_ms=move.bottleneck * 1e3,
            slowest_worse=move.bottleneck / slowest - 1,
            latency_worse=move.latency / through - 1,
        )
        for move in tried
        if math.isfinite(move.bottleneck)  # else it would not be allowed
    )


def _name(graph: Graph, operator: int) -> str:
    """An operator by what it writes."""
    outputs = graph.operators[operator].outputs
    return graph.tensors[outputs[0]].name if outputs else f"#{operator}"


def _provenance(costs: FleetCosts, pieces: Sequence[Piece]) -> tuple[tuple[str, ...], Accuracy | None]:
    """How the numbers were obtained, and what is known about the error."""
    hosted = costs.first.hosted > 0
    shared = hosted and any(piece.replicas > 1 for piece in pieces)
    how = (*costs.basis(), *([CPU_CORES] if shared else []))
    if len(costs.targets) > 1 or isinstance(costs.first, GivenCosts):
        return how, None
    accuracy = held_out_error(costs.first.target, len(pieces), hosted=hosted)
    return (*how, f"Error: {error_sentence(accuracy)}."), accuracy
