"""A graph and a target → what each contiguous segment costs, the best cuts, and the best use of several Edge TPUs.

The costs are the numbers that :func:`atoll.timing.time_model` gives for a segment on its own
(:meth:`SegmentCosts.timing`), in a fraction of the time: what does not depend on the segment is computed once, from the
timing of each single operator.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from atoll.check import check
from atoll.cut import Cutting, Fleet, Goal, Stage, arrange, legal_cuts, optimal_cuts
from atoll.errors import PartitionError
from atoll.ir.graph import Graph
from atoll.ir.subgraph import boundary
from atoll.mapping import map_operators
from atoll.memory import LayerKind, LayerParameters, ModelParameters, model_parameters, plan_memory
from atoll.memory.reserve import reserve_rows
from atoll.params import parameter_size
from atoll.plan import Plan, plan_counts
from atoll.target.chip import EDGE_TPU
from atoll.target.host import Target
from atoll.timing import ParameterUse, RegionTiming, Timing, time_model

Floats = npt.NDArray[np.float64]

_GOAL = Goal()
CLOSE = 0.01
"""A plan compares numbers of devices by a model with an error of several percent: the last percent is not searched."""


class SegmentCosts:
    """Costs of the segments of one graph on one target, each computed once.

    Every operator that is mapped in the whole graph is taken to be mapped in each segment.
    """

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph, self.target = graph, target
        self.mapped = {i for region in map_operators(graph, check(graph)).regions for i in region}
        layers = model_parameters(graph, sorted(self.mapped), parameter_size).layers
        self.layers: Mapping[int, LayerParameters] = {layer.operator: layer for layer in layers}
        self._stage_ms, self._boundary = target.host.stage_ms, 1.0
        self._costs: dict[tuple[int, int], float] = {}
        self._segments: dict[tuple[int, int], tuple[float, float, frozenset[int]]] = {}
        self._tensors()
        self._single_operators()

    def in_pipeline(self, stages: int) -> SegmentCosts:
        """The costs in a pipeline of that many stages, as :func:`atoll.timing.pipeline_timing` has them: a single
        stage has no serial work on the host, and of two and more the transfers take another time."""
        host = self.target.host
        other = copy.copy(self)  # what is known of the segments is shared
        other._stage_ms = host.stage_ms if stages > 1 else 0.0
        other._boundary = (1.0, host.boundary_2, host.boundary_3, host.boundary_4)[min(stages, 4) - 1]
        other._costs = {}
        return other

    def _tensors(self) -> None:
        """Who writes each activation, who reads it last, and what sending it to the chip takes (ms)."""
        graph, end = self.graph, len(self.graph.operators)
        self._writer = {t: n for n, op in enumerate(graph.operators) for t in op.outputs}
        self._reads = [[t for t in op.inputs if t >= 0 and not graph.tensors[t].is_constant] for op in graph.operators]
        self._last = {t: n for n, reads in enumerate(self._reads) for t in reads} | dict.fromkeys(graph.outputs, end)
        self._input_ms = {
            t: graph.tensors[t].nbytes / self.target.bus.input_mb_s / 1e3 for reads in self._reads for t in reads
        }

    def _single_operators(self) -> None:
        """Per operator: seconds to compute, to stream its parameters, to send its instructions and its outputs."""
        streamed = {n: ParameterUse(streamed=layer.nbytes) for n, layer in self.layers.items()}
        alone = [self._alone(n, streamed) for n in range(len(self.graph.operators))]
        regions: list[RegionTiming | None] = [timing.regions[0] if timing.regions else None for timing in alone]
        base = self.target.instructions.base / self.target.bus.parameters_mb_s / 1e3
        self.compute_ms = np.array([timing.operators[0].compute_ms for timing in alone])
        self.stream_ms = np.array([timing.operators[0].stream_ms for timing in alone])
        self.operators = self.compute_ms / 1e3
        self._output_ms = np.array([r.output_ms + r.relayout_ms if r else 0.0 for r in regions])
        self._first_input_ms = np.array([r.input_ms if r else 0.0 for r in regions])
        self._computed = np.concatenate([[0.0], np.cumsum(self.compute_ms)])
        self._instructions = np.concatenate([[0.0], np.cumsum([r.instructions_ms - base if r else 0 for r in regions])])
        sizes = [self.layers[n].nbytes if n in self.layers else 0 for n in range(len(alone))]
        self._stored = np.concatenate([[0], np.cumsum(sizes)])
        self._fixed_ms = self.target.host.floor_ms + base

    def _alone(self, index: int, uses: Mapping[int, ParameterUse]) -> Timing:
        return self._time(index, index + 1, {0: uses[index]} if index in uses else {})

    def _time(self, start: int, end: int, uses: Mapping[int, ParameterUse]) -> Timing:
        entering, leaving = boundary(self.graph, range(start, end))
        part = replace(self.graph, operators=self.graph.operators[start:end], inputs=entering, outputs=leaving)
        region = [i - start for i in range(start, end) if i in self.mapped]
        return time_model(part, [region] if region else [], uses, self.target)

    def timing(self, start: int, end: int) -> Timing:
        """The modelled times of operators ``start ... end - 1``; operator indices count from 0 within the segment."""
        _, _, streamed = self._segment(start, end)
        uses = {
            n - start: ParameterUse(streamed=layer.nbytes) if n in streamed else ParameterUse(cached=layer.nbytes)
            for n, layer in self.layers.items()
            if start <= n < end
        }
        return self._time(start, end, uses)

    def streamed_bytes(self, start: int, end: int) -> int:
        """Bytes of parameters that cross the bus with every inference, as laid out for the chip."""
        return sum(self.layers[n].nbytes for n in self._segment(start, end)[2])

    def _segment(self, start: int, end: int) -> tuple[float, float, frozenset[int]]:
        """What a segment takes beside its operators and transfers (ms), its transfers (ms), and the operators whose
        parameters are streamed."""
        if (start, end) not in self._segments:
            entering = dict.fromkeys(
                t for n in range(start, end) for t in self._reads[n] if self._writer.get(t, -1) < start
            )
            leaving = (
                n
                for n in range(start, end)
                if any(self._last.get(t, n) >= end for t in self.graph.operators[n].outputs)
            )
            fixed, transfer = 0.0, sum(self._output_ms[n] for n in leaving)
            if any(n in self.mapped for n in range(start, end)):
                fixed = self._fixed_ms + self._instructions[end] - self._instructions[start]
                transfer += sum(self._input_ms[t] for t in entering)
            streamed = self._streamed(start, end, [self.graph.tensors[t].shape for t in entering])
            self._segments[start, end] = float(fixed), float(transfer), streamed
        return self._segments[start, end]

    def _streamed(self, start: int, end: int, shapes: Sequence[tuple[int, ...]]) -> frozenset[int]:
        layers = tuple(self.layers[n] for n in range(start, end) if n in self.layers)
        reserve = reserve_rows(shapes)
        always = frozenset(layer.operator for layer in layers if layer.kind is LayerKind.CONSTANT)
        room = EDGE_TPU.tiles * (EDGE_TPU.rows_per_tile - reserve)
        if sum(layer.rows for layer in layers) <= room and all(layer.kind is not LayerKind.DENSE for layer in layers):
            return always
        plan = plan_memory([ModelParameters("", layers, reserve)]).models[0]
        return frozenset(item.layer.operator for item in plan.layers if not item.cached)

    def cost(self, start: int, end: int, _kind: str = "any") -> float:
        """Seconds per inference, with the host's serial work for a stage."""
        if (start, end) not in self._costs:
            self._costs[start, end] = self.disturbed(start, end)
        return self._costs[start, end]

    def disturbed(self, start: int, end: int, factors: Floats | None = None) -> float:
        """The cost if each operator (of the whole graph) took that many times what is modelled."""
        fixed, transfer, streamed = self._segment(start, end)
        compute = self.compute_ms[start:end] if factors is None else self.compute_ms[start:end] * factors[start:end]
        total = self._stage_ms + fixed + self._boundary * transfer + float(compute.sum())
        if streamed:
            which = np.fromiter(streamed, dtype=np.intp)
            scale = np.ones(len(which)) if factors is None else factors[which]
            streaming = float((self.stream_ms[which] * scale).sum())
            total += max(0.0, streaming - float((self.compute_ms[which] * scale).sum()))
        return total / 1e3

    def bound(self, start: int, ends: npt.NDArray[np.intp], _kind: str = "any") -> Floats:
        """No segment costs less: its first inputs, its last output, its instructions, and the longer of computing and
        of streaming what the largest cache cannot hold."""
        computing = self._computed[ends] - self._computed[start]
        capacity = EDGE_TPU.tiles * EDGE_TPU.rows_per_tile * EDGE_TPU.row_bytes
        excess = np.maximum(0, self._stored[ends] - self._stored[start] - capacity)
        streaming = excess / self.target.bus.parameters_mb_s / 1e3
        fixed = self._stage_ms + self._boundary * (self._first_input_ms[start] + self._output_ms[ends - 1])
        if start in self.mapped:
            fixed = fixed + self._fixed_ms + self._instructions[ends] - self._instructions[start]
        lower: Floats = (np.maximum(computing, streaming) + fixed) * (1 - 1e-9) / 1e3
        return lower


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


def interval(costs: SegmentCosts, stages: Sequence[Stage]) -> float:
    """Seconds between two results: of the slowest stage, or of the host that serves all stages in turn."""
    return max(*(stage.seconds / stage.replicas for stage in stages), 1 / host_rate(costs, stages))


def host_rate(costs: SegmentCosts, stages: Sequence[Stage]) -> float:
    """Items per second that the host can serve; a single device alone waits for nobody."""
    several = len(stages) > 1 or stages[0].replicas > 1
    work = len(stages) * costs.target.host.stage_ms / 1e3 if several else 0.0
    return 1 / work if work else math.inf


def best_cuts(
    costs: SegmentCosts,
    positions: Sequence[int],
    devices: int,
    goal: Goal = _GOAL,
    pinned: Sequence[int] = (),
    max_replicas: int = 1,
) -> Cutting:
    """The best pipeline on at most ``devices`` by the pipeline model (:func:`atoll.timing.pipeline_timing`).

    What a transfer takes depends on the number of stages, up to four: there is one search for each. With replicas that
    is exact as long as transfers take no longer in a longer pipeline (from two stages on; so it is on all hosts of the
    package). From four stages on, and with replicas, the host's own limit is only known when the results are
    compared. Among equals the fewest stages are taken.

    Raises:
        PartitionError: more devices than segments are possible, or the limits cannot be met: it says what can.
    """
    most = min(devices, len(positions) - 1)
    first = max(1, len(pinned) + 1)
    found, possible = [], []
    for count in range(first, max(first, min(most, 4)) + 1) if first <= most else ():
        exactly = count == 1 or (count < 4 and max_replicas == 1)
        fleet = Fleet.of(count if exactly else devices, max_replicas=max_replicas)
        own = costs.in_pipeline(count)

        def search(wanted: Goal, own: SegmentCosts = own, fleet: Fleet = fleet) -> Cutting:
            cutting = optimal_cuts(positions, own.cost, fleet, bound=own.bound, goal=wanted, pinned=pinned)
            return _priced(costs, cutting)

        free = replace(goal, at_least=count, max_latency=math.inf)
        cutting = search(free)
        possible.append(cutting)
        if cutting.latency > goal.max_latency:
            quickest = search(replace(free, objective="latency"))
            possible.append(quickest)
            if quickest.latency > goal.max_latency:
                continue
            cutting = search(replace(goal, at_least=count))
        found.append(cutting)
    if not found:
        raise _unreachable(costs, possible, devices, goal, len(pinned))

    def worth(cutting: Cutting) -> tuple[float, int, float]:
        main, other = interval(costs, cutting.stages), cutting.latency
        if goal.objective == "latency":
            main, other = other, main
        return float(f"{main:.9g}"), len(cutting.stages), other  # sums in another order round differently

    return min(found, key=worth)


def _priced(costs: SegmentCosts, cutting: Cutting) -> Cutting:
    """With the costs in a pipeline of as many stages as it has."""
    own = costs.in_pipeline(len(cutting.stages))
    stages = (replace(stage, seconds=own.cost(stage.start, stage.end)) for stage in cutting.stages)
    return replace(cutting, stages=tuple(stages))


def _unreachable(
    costs: SegmentCosts, possible: Sequence[Cutting], devices: int, goal: Goal, pins: int
) -> PartitionError:
    if not possible:
        return PartitionError(
            f"{pins} pinned cuts make {pins + 1} segments, there are {devices} devices", "Pin fewer, or add devices."
        )
    quickest = min(possible, key=lambda cutting: cutting.latency)
    fastest = min(possible, key=lambda cutting: interval(costs, cutting.stages))
    return PartitionError(
        f"a latency of at most {goal.max_latency * 1e3:.3f} ms cannot be met with {devices} devices",
        f"Possible are a latency of {quickest.latency * 1e3:.3f} ms (segments: {len(quickest.stages)}, a result every "
        f"{interval(costs, quickest.stages) * 1e3:.3f} ms), and a result every "
        f"{interval(costs, fastest.stages) * 1e3:.3f} ms (segments: {len(fastest.stages)}, a latency of "
        f"{fastest.latency * 1e3:.3f} ms).",
    )


def best_uses(costs: SegmentCosts, counts: Sequence[int]) -> tuple[Plan, ...]:
    """For each number of devices the best of pipeline, copies of the whole model, and pipelines with replicas.

    The slowest stage is within :data:`CLOSE` of the least there is, under the conditions of :func:`best_cuts`.

    Raises:
        PartitionError: the model has no operators.
    """
    positions = cut_places(costs.graph, 1)

    def search(devices: int, *, max_replicas: int, whole: bool = False) -> Cutting:
        if whole:
            own = costs if devices > 1 else costs.in_pipeline(1)  # the host serves copies in turn, as it serves stages
            return arrange(positions, own.cost, devices, max_replicas=devices, whole=True)
        return best_cuts(costs, positions, devices, Goal(tolerance=CLOSE), max_replicas=max_replicas)

    return plan_counts(search, counts, lambda stages: host_rate(costs, stages))
