"""A limit on the memory of a segment: from what a user writes, and what can be had where it cannot be kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from atoll.errors import PartitionError, UsageError
from atoll.partitioning.search.contiguous import optimal_cuts
from atoll.partitioning.search.fleet import Fleet, Goal
from atoll.partitioning.segment_costs import CAPACITY, Floats, MemoryLimit, SegmentCosts
from atoll.products.units import parse_size


def parse_memory_limit(value: int | str | None) -> MemoryLimit:
    """The limit from bytes, a text such as ``6MiB``, or ``fit``. Raises :class:`UsageError` for anything else."""
    if value is None or value == "fit":
        return value  # type: ignore[return-value]
    limit = parse_size(value) if isinstance(value, str) else value
    if limit is None or limit < 1:
        raise UsageError(f"--memory-limit is '{value}'", "Write bytes (6000000), a size such as 6MiB, or fit.")
    return limit


def memory_refused(
    costs: SegmentCosts, positions: Sequence[int], segments: int, pinned: Sequence[int]
) -> PartitionError:
    """No way to cut at ``positions`` into at most ``segments`` keeps to the memory limit of ``costs``."""
    limit = costs.memory_limit
    taken = np.concatenate([[0.0], np.cumsum(costs.parameter_bytes)])
    most = float(CAPACITY) if limit == "fit" or limit is None else float(limit)

    def allowed(start: int, end: int, _kind: str) -> float:
        return 1.0 if math.isfinite(costs.cost(start, end)) else math.inf

    def maybe(start: int, ends: npt.NDArray[np.intp], _kind: str) -> Floats:
        return np.where(taken[ends] - taken[start] <= most, 1.0, math.inf)

    def nbytes(start: int, end: int, _kind: str) -> float:
        return float(taken[end] - taken[start])

    def every(start: int, ends: npt.NDArray[np.intp], _kind: str) -> Floats:
        return np.asarray(taken[ends] - taken[start], dtype=np.float64)

    what = "parameters that stay on the chip" if limit == "fit" else f"at most {most:,.0f} bytes of parameters each"
    message = f"{segments} segment{'s' * (segments != 1)} with {what} cannot be had"
    fewest = optimal_cuts(positions, allowed, Fleet.of(len(positions) - 1), bound=maybe, goal=Goal(), pinned=pinned)
    if fewest is None:
        largest = max(range(len(positions) - 1), key=lambda n: nbytes(positions[n], positions[n + 1], ""))
        where = costs.graph.where(positions[largest])
        size = nbytes(positions[largest], positions[largest + 1], "")
        return PartitionError(message, f"However it is cut: operator {where} alone takes {size:,.0f} bytes.")
    hint = f"In execution order it takes {len(fewest.stages)} segments at least"
    least = optimal_cuts(positions, nbytes, Fleet.of(segments), bound=every, goal=Goal(), pinned=pinned)
    if least is not None and limit != "fit":
        hint += f"; of {segments} the largest takes {least.bottleneck:,.0f} bytes at least"
    return PartitionError(message, f"{hint}.")
