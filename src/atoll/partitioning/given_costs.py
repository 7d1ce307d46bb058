"""A function that says what segments cost → costs for the searches, in place of those of the timing model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import SupportsFloat

import numpy as np
import numpy.typing as npt

from atoll.errors import UsageError
from atoll.hardware.host import Target
from atoll.model.graph import Graph
from atoll.partitioning.search.contiguous import Stage
from atoll.partitioning.search.convex import Piece
from atoll.partitioning.segment_costs import Floats, MemoryLimit, Operators, SegmentCosts

CostFunction = Callable[[range], float]
"""``cost(operators)``: seconds per inference of a segment, everything included; inf where it is impossible."""


class GivenCosts(SegmentCosts):
    """Costs of contiguous segments as a function says; their bytes are those of :class:`SegmentCosts`.

    The function is asked once at most for each segment. It may have any values: nothing is known of segments that it
    was not asked for, so that the searches ask for more of them than under the timing model.
    """

    def __init__(self, graph: Graph, target: Target, cost: CostFunction, memory_limit: MemoryLimit = None) -> None:
        super().__init__(graph, target, memory_limit)
        self._given = cost

    def source(self, _targets: str) -> str:
        """Whose times these are."""
        return "Times are those of the cost function given. The memory is planned as atoll's compiler does."

    def in_pipeline(self, _stages: int) -> GivenCosts:
        """The function has the last word on what a pipeline adds."""
        return self

    def host_seconds(self, _stages: Sequence[Stage | Piece]) -> float:
        """Nothing is known of the host's work beside the costs."""
        return 0.0

    def piece_cost(self, operators: Operators) -> float:
        """What the function says, or inf beyond the memory limit.

        Raises:
            UsageError: it says what is no cost.
        """
        assert isinstance(operators, range), "segments are contiguous here"
        if operators not in self._costs:
            said = self._given(operators) if self.is_allowed(operators) else math.inf
            if not isinstance(said, SupportsFloat) or not (seconds := float(said)) >= 0:
                raise UsageError(
                    f"the cost function says {said!r} of operators {operators.start} to {operators.stop - 1}",
                    "A cost is in seconds, 0 or more; math.inf where a segment is impossible.",
                )
            self._costs[operators] = seconds
        return self._costs[operators]

    def bound(self, start: int, ends: npt.NDArray[np.intp], _kind: str = "any") -> Floats:
        """No segment costs less than nothing."""
        return np.where(self._taken[ends] - self._taken[start] > self._limit, math.inf, 0.0)
