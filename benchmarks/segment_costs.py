"""A graph and a target → what each contiguous segment costs by the timing model, and quick lower bounds of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from atoll.check import check
from atoll.ir.graph import Graph
from atoll.ir.subgraph import boundary
from atoll.mapping import map_operators
from atoll.memory import LayerParameters, ModelParameters, model_parameters, plan_memory
from atoll.memory.reserve import reserve_rows
from atoll.params import parameter_size
from atoll.target.host import Target
from atoll.timing import Demand, ParameterUse, Timing, demand, price

Floats = npt.NDArray[np.float64]


class SegmentCosts:
    """Costs of the segments of one graph on one target, each computed once.

    All that does not depend on the segment (work of each operator, its parameters' size) is computed in the beginning.
    """

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph, self.target = graph, target
        mapped = map_operators(graph, check(graph)).regions
        self.mapped = {index for region in mapped for index in region}
        self.whole = demand(graph, [sorted(self.mapped)], {})
        layers = model_parameters(graph, sorted(self.mapped), parameter_size).layers
        self.layers: Mapping[int, LayerParameters] = {layer.operator: layer for layer in layers}
        self._timings: dict[tuple[int, int], Timing] = {}
        plain = price(self.whole, target)
        self.operators = np.array([op.compute_ms / 1e3 for op in plain.operators])
        """Seconds of each operator when its parameters are cached."""
        self._computed = np.concatenate([[0.0], np.cumsum(self.operators)])
        sizes = [self.layers[i].nbytes if i in self.layers else 0 for i in range(len(graph.operators))]
        self._stored = np.concatenate([[0], np.cumsum(sizes)])

    def timing(self, start: int, end: int) -> Timing:
        """The modelled times of operators ``start ... end - 1``, operator indices from 0 within the segment."""
        if (start, end) not in self._timings:
            self._timings[start, end] = price(self._demand(start, end), self.target)
        return self._timings[start, end]

    def _demand(self, start: int, end: int) -> Demand:
        graph = replace(self.graph, operators=self.graph.operators[start:end])
        entering, leaving = boundary(self.graph, range(start, end))
        graph = replace(graph, inputs=entering, outputs=leaving)
        region = [i - start for i in range(start, end) if i in self.mapped]
        shapes = [graph.tensors[i].shape for i in entering]
        layers = tuple(self.layers[i] for i in range(start, end) if i in self.layers)
        plan = plan_memory([ModelParameters("", layers, reserve_rows(shapes))]).models[0]
        uses = {
            item.layer.operator - start: ParameterUse(cached=item.layer.nbytes)
            if item.cached
            else ParameterUse(streamed=item.layer.nbytes)
            for item in plan.layers
        }
        return demand(graph, [region] if region else [], uses)

    def cost(self, start: int, end: int, _kind: str = "any") -> float:
        """Seconds per inference, with the host's serial work for a stage."""
        return (self.timing(start, end).total_ms + self.target.host.stage_ms) / 1e3

    def disturbed(self, start: int, end: int, factors: Sequence[float]) -> float:
        """The cost if each operator (of the whole graph) took that many times what is modelled."""
        timing = self.timing(start, end)
        seconds = timing.total_ms + self.target.host.stage_ms
        for region in timing.regions:
            operators = [(timing.operators[i], factors[start + i]) for i in region.operators]
            seconds -= region.cached_compute_ms + region.streamed_ms
            seconds += sum(op.compute_ms * f for op, f in operators if not op.stream_ms)
            streamed = [(op, f) for op, f in operators if op.stream_ms]
            seconds += max(sum(op.stream_ms * f for op, f in streamed), sum(op.compute_ms * f for op, f in streamed))
        seconds += sum(op.compute_ms * (factors[start + op.index] - 1) for op in timing.operators if not op.on_tpu)
        return seconds / 1e3

    def bound(self, start: int, ends: npt.NDArray[np.intp], _kind: str = "any") -> Floats:
        """No segment costs less: computing alone, or streaming what the largest cache cannot hold."""
        computing = self._computed[ends] - self._computed[start]
        capacity = 16 * 2048 * 256  # ../shared/facts/memory.md: 8 MiB of wide memory
        excess = np.maximum(0, self._stored[ends] - self._stored[start] - capacity)
        streaming = excess / (self.target.bus.parameters_mb_s * 1e6)
        fixed = (self.target.host.floor_ms + self.target.host.stage_ms) / 1e3
        return (np.maximum(computing, streaming) + fixed) * (1 - 1e-9)
