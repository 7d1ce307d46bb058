"""Costs of segments and the devices there are → the best pipeline, cut in execution order or along branches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from atoll.errors import PartitionError
from atoll.model.graph import Graph
from atoll.partitioning import legal_cuts
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.memory_limit import memory_refused
from atoll.partitioning.search.contiguous import Cutting, Stage, optimal_cuts
from atoll.partitioning.search.convex import ConvexCutting, Piece, optimal_pieces
from atoll.partitioning.search.fleet import Fleet, Goal
from atoll.partitioning.search.ideals import all_ideals, blocks_of

_GOAL = Goal()


@dataclass(frozen=True, slots=True)
class Found:
    """The best pipeline there is, or the best that was found."""

    pieces: tuple[Piece, ...]
    lower_bound: float
    """Seconds: of the interval, or of the latency where that was the objective. Nothing undercuts it."""
    objective: float
    exact: bool
    """Whether every way to cut was looked at: then the bound is the objective."""
    cuttings: int
    """How many sets of operators were looked at as what lies before a cut."""
    contiguous: bool
    """Whether the cuts are cuts of the execution order."""

    @property
    def gap(self) -> float:
        """By how much the result may be worse than the best there is, as a fraction of the bound."""
        return max(0.0, self.objective / self.lower_bound - 1) if self.lower_bound else math.inf


def cut_places(graph: Graph, segments: int) -> list[int]:
    """0, the places where the graph may be cut, and its number of operators.

    Raises:
        PartitionError: there are too few of them for so many segments.
    """
    places = legal_cuts(graph)
    if not 1 <= segments <= len(places) + 1 or not graph.operators:
        raise PartitionError(
            f"the model cannot be cut into {segments} segments: its {len(graph.operators)} operators have "
            f"{len(places)} places to cut",
            f"Ask for 1 to {len(places) + 1} segments."
            if graph.operators
            else "A model without operators runs nowhere.",
        )
    return [0, *places, len(graph.operators)]


def interval(costs: FleetCosts, stages: Sequence[Stage | Piece]) -> float:
    """Seconds between two results: of the slowest stage, or of the host that serves all stages in turn."""
    return max(*(stage.seconds / stage.replicas for stage in stages), 1 / host_rate(costs, stages))


def host_rate(costs: FleetCosts, stages: Sequence[Stage | Piece]) -> float:
    """Items per second that the host can serve; a single device alone waits for nobody."""
    several = len(stages) > 1 or stages[0].replicas > 1
    work = costs.host_seconds(stages) if several else 0.0
    return 1 / work if work else math.inf


def best_cuts(
    costs: FleetCosts,
    positions: Sequence[int],
    fleet: Fleet,
    goal: Goal = _GOAL,
    pinned: Sequence[int] = (),
) -> Cutting:
    """The best pipeline of contiguous segments by the pipeline model (:func:`atoll.estimate.pipeline_timing`).

    What a transfer takes depends on the number of stages, up to four: there is one search for each. From four stages
    on, and with replicas, the host's own limit is only known when the results are compared. Among equals the fewest
    stages are taken.

    Raises:
        PartitionError: more devices than segments are possible, or the limits cannot be met: it says what can.
    """
    found: list[Cutting] = []
    possible: list[Cutting] = []
    # Most stages first: fewer have to be as good, which mostly takes no search.
    for search in reversed([*_searches(costs, fleet, goal, len(positions) - 1, len(pinned))]):
        known = min((_objective(costs, goal, cutting.stages) for cutting in found), default=math.inf) * (1 + 1e-9)
        worst = known if math.isinf(goal.max_latency) else math.inf
        places = (positions[0], positions[-1]) if search.goal.at_most == 1 else positions
        free, own = replace(search.goal, max_latency=math.inf), search.own.kinds
        # The best; if that takes too long, the quickest, to be told what is possible, and the best within the limit.
        for wanted in (free, replace(free, objective="latency"), search.goal):
            cutting = optimal_cuts(
                places,
                lambda start, end, kind, own=own: own[kind].piece_cost(range(start, end)),  # type: ignore[misc]
                search.fleet,
                bound=lambda start, ends, kind, own=own: own[kind].bound(start, ends),  # type: ignore[misc]
                goal=wanted,
                pinned=pinned,
                worst=worst,
            )
            if cutting is None:
                break
            cutting = replace(cutting, stages=_priced(costs, cutting.stages))
            possible.append(cutting)
            if wanted is search.goal or (wanted is free and cutting.latency <= goal.max_latency):
                found.append(cutting)
                break
    if not found:
        raise _unreachable(costs, positions, possible, fleet, goal, pinned)
    return min(found, key=lambda cutting: _worth(costs, goal, cutting.stages))


def best_pieces(
    costs: FleetCosts,
    positions: Sequence[int],
    fleet: Fleet,
    goal: Goal = _GOAL,
    pinned: Sequence[int] = (),
    *,
    in_order: bool = False,
) -> Found:
    """The best pipeline of all ways to cut the graph into ordered convex pieces, or of those that were looked at.

    Where the graph has branches, more sets of operators can lie before a cut than those of the execution order. All of
    them are searched when they are few enough (``convex.MAX_IDEALS``); otherwise the result is the
    best that was found, at least as good as the best cuts of the execution order, with a bound on all there are.

    Args:
        in_order: only cuts of the execution order are looked at.

    Raises:
        PartitionError: as :func:`best_cuts`.
    """
    refused: PartitionError | None = None
    found, worst = [], math.inf
    try:
        cutting = best_cuts(costs, positions, fleet, goal, pinned)
        found, worst = [_as_pieces(cutting)], _objective(costs, goal, cutting.stages)
    except PartitionError as error:
        if in_order:
            raise
        refused = error  # pieces along branches may do what cuts of the execution order cannot
    if found and (in_order or not has_branches(costs.graph)):
        return Found(found[0], worst, worst, True, len(positions), True)
    bounds, exact, most = [], True, 0
    for search in _searches(costs, fleet, goal, len(positions) - 1, len(pinned)):
        convex = search.pieces(costs.graph, pinned, worst * (1 + 1e-9))
        host = search.least_host_seconds() if goal.objective == "throughput" else 0.0
        bounds.append(max(convex.lower_bound, host))
        exact, most = exact and convex.exact, max(most, convex.ideals)
        if convex.pieces:
            found.append(convex.pieces)
    if refused is not None and not found:
        raise refused
    best = min(found, key=lambda pieces: (*_worth(costs, goal, pieces), not is_contiguous(pieces)))
    value = _objective(costs, goal, best)
    return Found(best, min(value, *bounds), value, exact, most, is_contiguous(best))


def fewer_devices(
    costs: FleetCosts,
    positions: Sequence[int],
    found: Found,
    fleet: Fleet,
    goal: Goal,
    share: float,
    pinned: Sequence[int],
) -> tuple[Piece, ...] | None:
    """The best pipeline of the fewest devices that is worse than ``found`` by no more than a share, None where every
    device of ``found`` is worth more than that. Where not all pieces were searched, it is one of contiguous pieces."""
    enough = None
    limit = replace(goal, max_bottleneck=interval(costs, found.pieces) * (1 + share))
    for devices in range(sum(piece.replicas for piece in found.pieces) - 1, 0, -1):
        some = replace(fleet, limit=devices)
        try:
            if found.exact:
                fewer = best_pieces(costs, positions, some, limit, pinned).pieces
            else:
                fewer = _as_pieces(best_cuts(costs, positions, some, limit, pinned))
        except PartitionError:  # too few for the goal
            break
        if interval(costs, fewer) > limit.max_bottleneck:  # the host's own limit is no limit of the search
            break
        enough = fewer
    return enough


@dataclass(frozen=True, slots=True)
class _FixedCosts:
    """Pipelines of a number of stages for which transfers cost the same."""

    costs: FleetCosts
    own: FleetCosts
    """What a stage costs in such a pipeline."""
    fleet: Fleet
    goal: Goal

    def pieces(self, graph: Graph, pinned: Sequence[int], worst: float) -> ConvexCutting:
        """The best pieces found that are no worse than ``worst``."""
        bound = self.own.piece_bound()
        return optimal_pieces(graph, self.own.piece_cost, self.fleet, bound, self.goal, worst=worst, pinned=pinned)

    def least_host_seconds(self) -> float:
        """The host's work on an item in the shortest of these pipelines."""
        if self.goal.at_most == 1:
            return 0.0
        least = min(self.costs.host_seconds([Stage(0, 1, kind, 1, 0.0)]) for kind in self.fleet.kinds)
        return self.goal.at_least * least


def _searches(costs: FleetCosts, fleet: Fleet, goal: Goal, pieces: int, pins: int) -> Iterator[_FixedCosts]:
    """One for each number of stages up to three, one for four and more, and one for copies of the whole model."""
    lowest, highest = max(1, pins + 1, goal.at_least), goal.most(fleet, pieces)
    for count in range(lowest, min(highest, 3) + 1):
        if count == 1 and fleet.all_used and fleet.size > 1:
            continue  # copies only
        exactly = replace(goal, at_least=count, at_most=count)
        single = replace(fleet, max_replicas=1) if count == 1 else fleet
        yield _FixedCosts(costs, costs.in_pipeline(count), single, exactly)
    if lowest == 1 and fleet.max_replicas > 1:
        yield _FixedCosts(costs, costs, fleet, replace(goal, at_most=1))
    if highest >= 4:
        yield _FixedCosts(costs, costs.in_pipeline(4), fleet, replace(goal, at_least=max(4, lowest)))


def _priced(costs: FleetCosts, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """With the costs in a pipeline of as many stages as it has; the host serves copies in turn, as it serves stages."""
    own = costs if len(stages) == 1 and stages[0].replicas > 1 else costs.in_pipeline(len(stages))
    return tuple(replace(stage, seconds=own.cost(stage.start, stage.end, stage.kind)) for stage in stages)


def _as_pieces(cutting: Cutting) -> tuple[Piece, ...]:
    return tuple(Piece(tuple(range(s.start, s.end)), s.kind, s.replicas, s.seconds) for s in cutting.stages)


def is_contiguous(pieces: Sequence[Piece]) -> bool:
    """Whether the cuts are cuts of the execution order."""
    return all(piece.operators[-1] - piece.operators[0] + 1 == len(piece.operators) for piece in pieces)


def has_branches(graph: Graph) -> bool:
    """Whether other sets of operators than those of the execution order can lie before a cut."""
    blocks = blocks_of(graph)
    return all_ideals(blocks, len(blocks.operators) + 1) is None


def _objective(costs: FleetCosts, goal: Goal, stages: Sequence[Stage | Piece]) -> float:
    return interval(costs, stages) if goal.objective == "throughput" else latency(stages)


def latency(stages: Sequence[Stage | Piece]) -> float:
    """Seconds that one item takes through the empty pipeline."""
    return sum(stage.seconds for stage in stages)


def _worth(costs: FleetCosts, goal: Goal, stages: Sequence[Stage | Piece]) -> tuple[float, int, float]:
    main, other = interval(costs, stages), latency(stages)
    if goal.objective == "latency":
        main, other = other, main
    return float(f"{main:.9g}"), len(stages), float(f"{other:.9g}")  # sums in another order round differently


def _unreachable(
    costs: FleetCosts,
    positions: Sequence[int],
    possible: Sequence[Cutting],
    fleet: Fleet,
    goal: Goal,
    pinned: Sequence[int],
) -> PartitionError:
    pins, most = len(pinned), goal.most(fleet, len(positions) - 1)
    if pins + 1 > most:
        return PartitionError(
            f"{pins} pinned cuts make {pins + 1} segments, there are {most} devices", "Pin fewer, or add devices."
        )
    if not possible and costs.first.memory_limit is not None:
        return memory_refused(costs.first, positions, most, pinned)
    if not possible and goal.at_least <= most:
        return PartitionError(
            f"every way to cut the model into {goal.at_least} to {most} segments has one whose cost is infinite",
            "Is the cost function right? It says math.inf where a segment is impossible.",
        )
    if not possible:
        return PartitionError(
            f"{goal.at_least} segments cannot be had with {fleet.size} devices", f"Ask for 1 to {most} segments."
        )
    quickest = min(possible, key=lambda cutting: cutting.latency)
    fastest = min(possible, key=lambda cutting: interval(costs, cutting.stages))
    return PartitionError(
        f"a latency of at most {goal.max_latency * 1e3:.3f} ms cannot be met with {fleet.size} devices",
        f"Possible are a latency of {quickest.latency * 1e3:.3f} ms (segments: {len(quickest.stages)}, a result every "
        f"{interval(costs, quickest.stages) * 1e3:.3f} ms), and a result every "
        f"{interval(costs, fastest.stages) * 1e3:.3f} ms (segments: {len(fastest.stages)}, a latency of "
        f"{fastest.latency * 1e3:.3f} ms).",
    )
