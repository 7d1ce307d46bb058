"""A graph and a target → what each of its segments costs on an Edge TPU, in seconds and in bytes.

The costs are the numbers that :func:`atoll.estimate.time_model` gives for a segment on its own
(:meth:`SegmentCosts.timing`), in a fraction of the time: what does not depend on the segment is computed once, from the
timing of each single operator. A segment is a range of operators, or a tuple of them where branches allow pieces that
are not contiguous in execution order.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from atoll.compiler.memory import LayerKind, LayerParameters, ModelParameters, model_parameters, uncached_operators
from atoll.compiler.memory.reserve import reserve_rows
from atoll.estimate import ParameterUse, RegionTiming, Timing, time_model
from atoll.hardware.chip import EDGE_TPU
from atoll.hardware.host import Target
from atoll.model.graph import Graph
from atoll.model.subgraph import boundary
from atoll.partitioning.search.contiguous import Stage
from atoll.partitioning.search.convex import Piece
from atoll.support import operator_support
from atoll.support.regions import choose_regions

Floats = npt.NDArray[np.float64]
Operators = range | tuple[int, ...]
"""A segment: operator indices in execution order."""
MemoryLimit = int | Literal["fit"] | None
"""Bytes that a segment's parameters may take, or ``fit``: nothing is streamed that could be on the chip."""

CAPACITY = EDGE_TPU.tiles * EDGE_TPU.rows_per_tile * EDGE_TPU.row_bytes
"""Bytes of parameter memory on one chip, before anything is reserved."""


class SegmentCosts:
    """Costs of the segments of one graph on one target, each computed once.

    Every operator that is mapped in the whole graph is taken to be mapped in each segment.
    """

    def __init__(self, graph: Graph, target: Target, memory_limit: MemoryLimit = None) -> None:
        """A segment beyond ``memory_limit`` costs inf; what counts is ``parameter_bytes``, or with ``fit`` whether
        layers are streamed that a larger memory would cache."""
        self.graph, self.target, self.memory_limit = graph, target, memory_limit
        self.mapped = {i for region in choose_regions(graph, operator_support(graph)).regions for i in region}
        layers = model_parameters(graph, sorted(self.mapped)).layers
        self.layers: Mapping[int, LayerParameters] = {layer.operator: layer for layer in layers}
        self._stage_ms, self._boundary = target.host.stage_ms, 1.0
        self._costs: dict[Operators, float] = {}
        self._segments: dict[Operators, tuple[float, float, frozenset[int]]] = {}
        self._tensors()
        self._single_operators()
        self._order()
        self._memory()

    @property
    def hosted(self) -> int:
        """How many operators stay on the CPU."""
        return len(self.graph.operators) - len(self.mapped)

    def source(self, targets: str) -> str:
        """Where the times come from, as a sentence; ``targets``: the names of all that there are."""
        return (
            f"Times are modelled (docs/timing.md) with the numbers of {targets}; no Edge TPU was used. The "
            "memory is planned as atoll's compiler does; the size of the instruction stream is estimated."
        )

    def in_pipeline(self, stages: int) -> SegmentCosts:
        """The costs in a pipeline of that many stages, as :func:`atoll.estimate.pipeline_timing` has them: a single
        stage has no serial work on the host, and of two and more the transfers take another time."""
        host = self.target.host
        other = copy.copy(self)  # what is known of the segments is shared
        other._stage_ms = host.stage_ms if stages > 1 else 0.0
        other._boundary = (1.0, host.boundary_2, host.boundary_3, host.boundary_4)[min(stages, 4) - 1]
        other._costs = {}
        return other

    def host_seconds(self, stages: Sequence[Stage | Piece]) -> float:
        """The host's serial work for an item that passes through these stages."""
        return len(stages) * self.target.host.stage_ms / 1e3

    def _tensors(self) -> None:
        """Who writes each activation, who reads it, and what sending it to the chip takes (ms)."""
        graph, end = self.graph, len(self.graph.operators)
        self._writer = {t: n for n, op in enumerate(graph.operators) for t in op.outputs}
        self._reads = [[t for t in op.inputs if t >= 0 and not graph.tensors[t].is_constant] for op in graph.operators]
        self._readers: dict[int, set[int]] = {t: set() for t in self._writer}
        for n, reads in enumerate(self._reads):
            for t in reads:
                self._readers.setdefault(t, set()).add(n)
        for t in graph.outputs:
            self._readers.setdefault(t, set()).add(end)
        self._input_ms = {
            t: graph.tensors[t].nbytes / self.target.bus.input_mb_s / 1e3 for reads in self._reads for t in reads
        }

    def _single_operators(self) -> None:
        """Per operator: seconds to compute, to stream its parameters, to send its instructions and its outputs."""
        streamed = {n: ParameterUse(streamed=layer.nbytes) for n, layer in self.layers.items()}
        every = range(len(self.graph.operators))
        alone = [self._time(range(n, n + 1), {0: streamed[n]} if n in streamed else {}) for n in every]
        regions: list[RegionTiming | None] = [timing.regions[0] if timing.regions else None for timing in alone]
        base = self.target.instructions.base / self.target.bus.parameters_mb_s / 1e3
        self.compute_ms = np.array([timing.operators[0].compute_ms for timing in alone])
        self.stream_ms = np.array([timing.operators[0].stream_ms for timing in alone])
        self.operators = self.compute_ms / 1e3
        self._output_ms = np.array([r.output_ms + r.relayout_ms if r else 0.0 for r in regions])
        self._instructions_ms = np.array([r.instructions_ms - base if r else 0.0 for r in regions])
        self._fixed_ms = self.target.host.floor_ms + base
        self._computed, self._instructions = _summed(self.compute_ms), _summed(self._instructions_ms)

    def _order(self) -> None:
        """What :meth:`_transfers` reads off: every reading of an activation with the reading before it and the writer,
        and how long each operator's outputs are needed."""
        end = len(self.graph.operators)
        rows, before = [], dict[int, int]()
        for n, reads in enumerate(self._reads):
            for t in dict.fromkeys(reads):
                rows.append((n, before.get(t, -1), self._writer.get(t, -1), self._input_ms[t]))
                before[t] = n
        table = np.array(rows, np.float64).reshape(len(rows), 4)
        reader, earlier, writer = table[:, :3].T.astype(np.intp)
        self._first_reads = reader, earlier, writer, table[:, 3]
        outputs = [operator.outputs for operator in self.graph.operators]
        self._operator_readers = [frozenset(r for t in each for r in self._readers[t]) for each in outputs]
        last = [max(readers, default=n) for n, readers in enumerate(self._operator_readers)]
        self._last_read = np.array(last, np.intp)
        self._mapped_before = _summed(np.array([n in self.mapped for n in range(end)], np.float64))
        # Open at a place: written before it, read at it or behind it.
        opened = np.bincount(np.arange(1, end + 1), self._output_ms, end + 1)
        closed = np.bincount(self._last_read + 1, self._output_ms, end + 2)[: end + 1]
        self._open_ms = np.cumsum(opened - closed)

    def _memory(self) -> None:
        """Per operator the bytes of its parameters: as laid out for the chip, and those that the limit counts."""
        every = range(len(self.graph.operators))
        self._stored_bytes = np.array([self.layers[n].nbytes if n in self.layers else 0 for n in every], np.float64)
        self.parameter_bytes = np.array(
            [_takes(self.layers[n], self.memory_limit == "fit") if n in self.layers else 0 for n in every], np.float64
        )
        """On the chip: whole rows of memory, whether they would be streamed or not."""
        limit = self.memory_limit
        self._limit = np.inf if limit is None else float(CAPACITY if limit == "fit" else limit)
        self._stored, self._taken = _summed(self._stored_bytes), _summed(self.parameter_bytes)

    def _time(self, operators: Operators, uses: Mapping[int, ParameterUse]) -> Timing:
        entering, leaving = boundary(self.graph, operators)
        kept = tuple(self.graph.operators[n] for n in operators)
        part = replace(self.graph, operators=kept, inputs=entering, outputs=leaving)
        region = [i for i, n in enumerate(operators) if n in self.mapped]
        return time_model(part, [region] if region else [], uses, self.target)

    def timing(self, start: int, end: int) -> Timing:
        """The modelled times of operators ``start ... end - 1``; operator indices count from 0 within the segment."""
        return self.piece_timing(range(start, end))

    def piece_timing(self, operators: Operators) -> Timing:
        """The modelled times of a segment; operator indices count from 0 within it."""
        _, _, streamed = self._segment(operators)
        layers = {i: self.layers[n] for i, n in enumerate(operators) if n in self.layers}
        uses = {
            i: ParameterUse(streamed=layer.nbytes) if layer.operator in streamed else ParameterUse(cached=layer.nbytes)
            for i, layer in layers.items()
        }
        return self._time(operators, uses)

    def streamed_bytes(self, start: int, end: int) -> int:
        """Bytes of parameters that cross the bus with every inference, as laid out for the chip."""
        return self.piece_streamed_bytes(range(start, end))

    def piece_streamed_bytes(self, operators: Operators) -> int:
        """The same of any segment."""
        return sum(self.layers[n].nbytes for n in self._segment(operators)[2])

    def _segment(self, operators: Operators) -> tuple[float, float, frozenset[int]]:
        """What a segment takes beside its operators and transfers (ms), its transfers (ms), and the operators whose
        parameters are streamed."""
        if operators not in self._segments:
            inside = operators if isinstance(operators, range) else frozenset(operators)
            entering = dict.fromkeys(
                t for n in operators for t in self._reads[n] if self._writer.get(t, -1) not in inside
            )
            fixed, transfer = 0.0, self._sending_ms(operators)
            if any(n in self.mapped for n in operators):
                fixed = self._fixed_ms + _sum_of(self._instructions_ms, operators)
                transfer += sum(self._input_ms[t] for t in entering)
            layers = tuple(self.layers[n] for n in operators if n in self.layers)
            reserve = reserve_rows([self.graph.tensors[t].shape for t in entering])
            self._segments[operators] = (
                float(fixed),
                float(transfer),
                uncached_operators(ModelParameters("", layers, reserve)),
            )
        return self._segments[operators]

    def _sending_ms(self, operators: Operators) -> float:
        if isinstance(operators, range):
            span = slice(operators.start, operators.stop)
            return float(self._output_ms[span][self._last_read[span] >= operators.stop].sum())
        inside = frozenset(operators)
        return float(sum(self._output_ms[n] for n in operators if not self._operator_readers[n] <= inside))

    def cost(self, start: int, end: int, _kind: str = "any") -> float:
        """Seconds per inference, with the host's serial work for a stage; inf beyond the memory limit."""
        return self.piece_cost(range(start, end))

    def piece_cost(self, operators: Operators) -> float:
        """The same of any segment."""
        operators = contiguous(operators)
        if operators not in self._costs:
            seconds = math.inf
            if self.is_allowed(operators):
                fixed, transfer, streamed = self._segment(operators)
                total = self._stage_ms + fixed + self._boundary * transfer + _sum_of(self.compute_ms, operators)
                seconds = (total + self._streaming_ms(streamed)) / 1e3
            self._costs[operators] = seconds
        return self._costs[operators]

    def is_allowed(self, operators: Operators) -> bool:
        """Whether a segment keeps to the memory limit."""
        if _sum_of(self.parameter_bytes, operators) > self._limit:
            return False
        if self.memory_limit != "fit":
            return True
        return all(self.layers[n].kind is LayerKind.CONSTANT for n in self._segment(operators)[2])

    def scaled(self, factors: Floats) -> SegmentCosts:
        """The costs if each operator of the graph took that many times what is modelled; :meth:`bound` stays."""
        other = copy.copy(self)
        other.compute_ms, other.stream_ms = self.compute_ms * factors, self.stream_ms * factors
        other._costs = {}
        return other

    def _streaming_ms(self, streamed: Collection[int]) -> float:
        """By how much streaming these operators' parameters takes longer than computing them."""
        if not streamed:
            return 0.0
        which = np.fromiter(streamed, dtype=np.intp)
        return max(0.0, float(self.stream_ms[which].sum() - self.compute_ms[which].sum()))

    def whole_parameters(self, name: str) -> ModelParameters:
        """What the uncut model asks of the memory."""
        operators = self.graph.operators
        read = dict.fromkeys(t for reads in self._reads for t in reads if t not in self._writer)
        shapes = [self.graph.tensors[t].shape for t in read]
        layers = tuple(self.layers[n] for n in range(len(operators)) if n in self.layers)
        return ModelParameters(name, layers, reserve_rows(shapes))

    def whole_with(self, streamed: Collection[int]) -> float:
        """Seconds per inference of the uncut model on a device of which it has only a part, so that the parameters of
        these operators are streamed."""
        every = range(len(self.graph.operators))
        fixed, transfer, _ = self._segment(every)
        return (fixed + transfer + _sum_of(self.compute_ms, every) + self._streaming_ms(streamed)) / 1e3

    def bound(self, start: int, ends: npt.NDArray[np.intp], _kind: str = "any") -> Floats:
        """No segment costs less: what it receives, sends and runs, and of streaming what the largest cache cannot
        hold."""
        computing = self._computed[ends] - self._computed[start]
        excess = np.maximum(0, self._stored[ends] - self._stored[start] - CAPACITY)
        streaming = excess / self.target.bus.parameters_mb_s / 1e3
        received, sent = self._transfers(start)
        on_tpu = self._mapped_before[ends] > self._mapped_before[start]
        fixed = self._stage_ms + self._boundary * sent[ends]
        own = self._boundary * received[ends] + self._fixed_ms + self._instructions[ends] - self._instructions[start]
        lower: Floats = (np.maximum(computing, streaming) + fixed + np.where(on_tpu, own, 0.0)) * (1 - 1e-9) / 1e3
        lower[self._taken[ends] - self._taken[start] > self._limit] = np.inf
        return lower

    def _transfers(self, start: int) -> tuple[Floats, Floats]:
        """What segments from ``start`` receive and send (ms), by their end: two arrays (operators + 1,)."""
        end = len(self.graph.operators)
        reader, before, writer, ms = self._first_reads
        entering = (reader >= start) & (before < start) & (writer < start)
        received = _summed(np.bincount(reader[entering], ms[entering], end).astype(np.float64))
        # Written in the segment and read behind its end: written before the end at all, less before the start.
        early = np.bincount(self._last_read[:start], self._output_ms[:start], end + 1)
        sent: Floats = self._open_ms - early[::-1].cumsum()[::-1]
        return received, np.maximum(sent, 0.0)

    def crossing(self) -> tuple[Floats, Floats]:
        """Per operator: seconds for which a segment at least receives, or sends on, what it writes."""
        outputs = [[self._input_ms[t] for t in op.outputs if t in self._input_ms] for op in self.graph.operators]
        hosted = len(self.mapped) < len(self.graph.operators)  # a segment of such operators alone receives nothing
        receive = np.array([0.0 if hosted else min(each, default=0.0) for each in outputs])
        scale = self._boundary * (1 - 1e-9) / 1e3
        return receive * scale, self._output_ms * scale

    def linear(self) -> tuple[float, Floats]:
        """Seconds that any segment takes at least, and (operators,) what each operator adds: all but streaming."""
        return float(self.seconds(np.zeros((1, 4)))[0]), (self.compute_ms + self._instructions_ms) * (1 - 1e-9) / 1e3

    def features(self) -> Floats:
        """Per operator (operators, 4): ms of computing, ms of sending instructions, bytes of parameters as they are
        streamed, and as the memory limit counts them."""
        return np.stack([self.compute_ms, self._instructions_ms, self._stored_bytes, self.parameter_bytes], axis=1)

    def seconds(self, sums: Floats) -> Floats:
        """A lower bound from sums of :meth:`features`, (segments, 4) → (segments,)."""
        computing, instructions, stored, taken = sums.T
        streaming = np.maximum(0, stored - CAPACITY) / self.target.bus.parameters_mb_s / 1e3
        fixed = self._stage_ms + (self._fixed_ms if len(self.mapped) == len(self.graph.operators) else 0.0)
        lower: Floats = (np.maximum(computing, streaming) + instructions + fixed) * (1 - 1e-9) / 1e3
        lower[taken > self._limit * (1 + 1e-9)] = np.inf
        return lower


def contiguous(operators: Operators) -> Operators:
    """A range where the operators follow one another, so that a segment has one name."""
    if isinstance(operators, range) or operators[-1] - operators[0] + 1 != len(operators):
        return operators
    return range(operators[0], operators[-1] + 1)


def _takes(layer: LayerParameters, cacheable_only: bool) -> int:
    if layer.kind is LayerKind.CONSTANT and cacheable_only:
        return 0
    return layer.rows * EDGE_TPU.row_bytes if layer.block_rows else layer.nbytes


def _summed(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def _sum_of(values: Floats, operators: Operators) -> float:
    if isinstance(operators, range):
        return float(values[operators.start : operators.stop].sum())
    return float(values[list(operators)].sum())
