"""A segment cost like that of a real model, for tests and benchmarks of the search."""

from __future__ import annotations

import random

import numpy as np

from atoll.partitioning.search.contiguous import Bound, Cost


def spilling_chain(operators: int, seed: int, loose: float) -> tuple[Cost, Bound]:
    """A chain with transfers at each cut and a cache into which the largest weights go first; the bound is short of
    the cost by up to the share ``loose``."""
    rng = random.Random(seed)
    compute = np.cumsum([0.0, *(rng.lognormvariate(0, 1) for _ in range(operators))])
    weights = [rng.lognormvariate(0, 1) for _ in range(operators)]
    stored = np.cumsum([0.0, *weights])
    transfer = np.array([rng.lognormvariate(0, 0.5) for _ in range(operators + 1)])

    def cost(start: int, end: int, kind: str) -> float:
        space, streamed = 6.0 - transfer[start], 0.0
        for weight in sorted(weights[start:end], reverse=True):
            if weight <= space:
                space -= weight
            else:
                streamed += weight
        return float(transfer[start] + transfer[end] + compute[end] - compute[start] + 2 * streamed)

    def bound(start: int, ends: np.ndarray, kind: str) -> np.ndarray:
        streamed = np.maximum(0.0, stored[ends] - stored[start] - 6.0 + transfer[start])
        return (transfer[start] + transfer[ends] + compute[ends] - compute[start] + 2 * streamed) * (1 - loose)

    return cost, bound
