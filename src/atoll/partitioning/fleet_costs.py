"""Costs of segments for each kind of device → costs of segments on whichever device they are given to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from atoll.hardware.host import Target
from atoll.model.graph import Graph
from atoll.partitioning.search.contiguous import Stage
from atoll.partitioning.search.convex import Piece, PieceBound
from atoll.partitioning.segment_costs import Operators, SegmentCosts

CPU_CORES = "It is assumed that each Edge TPU, copies and replicas too, has a CPU core for the operators on the CPU."
"""What predictions with copies or replicas take to be so, where there are such operators."""


class FleetCosts:
    """:class:`SegmentCosts` by kind of device; the kinds are those of a :class:`atoll.partitioning.search.fleet.Fleet`.

    Each kind has the numbers of its own target, as if the devices of the others hung on another computer; the host's
    serial work is that of all stages together. Pipelines over two kinds were never compared with measurements.
    """

    def __init__(self, kinds: Mapping[str, SegmentCosts]) -> None:
        """``kinds``: at least one, all of the same graph."""
        self.kinds = dict(kinds)
        self.first = next(iter(self.kinds.values()))

    @property
    def graph(self) -> Graph:
        """What is cut."""
        return self.first.graph

    @property
    def targets(self) -> tuple[Target, ...]:
        """The numbers of each kind."""
        return tuple(costs.target for costs in self.kinds.values())

    @property
    def name(self) -> str:
        """The targets' names."""
        return " + ".join(target.name for target in self.targets)

    def basis(self) -> tuple[str, ...]:
        """What the numbers rest on, in sentences."""
        first, every = self.first, len(self.graph.operators)
        texts = [first.source(self.name)]
        if len(self.kinds) > 1:
            texts.append("Each bus has its own host's numbers. Such pipelines were never compared with measurements.")
        if first.hosted:
            texts.append(
                f"{first.hosted} of the model's {every} operators stay on the CPU, each in its segment; their times "
                "are estimated."
            )
        return tuple(texts)

    def in_pipeline(self, stages: int) -> FleetCosts:
        """The costs in a pipeline of that many stages."""
        return FleetCosts({kind: costs.in_pipeline(stages) for kind, costs in self.kinds.items()})

    def host_seconds(self, stages: Sequence[Stage | Piece]) -> float:
        """The host's serial work for an item that passes through these stages."""
        return sum(self.kinds[stage.kind].host_seconds([stage]) for stage in stages)

    def cost(self, start: int, end: int, kind: str) -> float:
        """Seconds per inference of operators ``start ... end - 1``, with the host's serial work for a stage."""
        return self.kinds[kind].cost(start, end)

    def piece_cost(self, operators: Operators, kind: str) -> float:
        """The same of any segment."""
        return self.kinds[kind].piece_cost(operators)

    def piece_bound(self) -> PieceBound:
        """No segment costs less, contiguous or not; where the kinds differ, each operator counts as on the best."""
        features = np.min([costs.features() for costs in self.kinds.values()], axis=0)
        return PieceBound(
            features,
            lambda sums, kind: self.kinds[kind].seconds(sums),
            lambda kind: self.kinds[kind].crossing(),
            lambda kind: self.kinds[kind].linear(),
        )
