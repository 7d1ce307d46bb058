"""Graphs with given edges, for tests that need their shape only; one int8 tensor per operator."""

from __future__ import annotations

import random
from collections.abc import Sequence

from atoll.model.graph import DType, Graph, Operator, Tensor


def graph_of(sources: Sequence[Sequence[int]], sizes: Sequence[int] | None = None) -> Graph:
    """Operator n reads the outputs of the operators ``sources[n]`` (all before n); those without read the input."""
    sizes = sizes or [8] * len(sources)
    tensors = [Tensor("input", (1, 8), DType.INT8), *(Tensor(f"t{n}", (1, s), DType.INT8) for n, s in enumerate(sizes))]
    operators = [Operator("ADD", tuple(s + 1 for s in reads) or (0,), (n + 1,)) for n, reads in enumerate(sources)]
    read = {s for reads in sources for s in reads}
    outputs = tuple(n + 1 for n in range(len(sources)) if n not in read)
    return Graph(tuple(tensors), tuple(operators), (0,), outputs)


def cells(count: int, seed: int = 0) -> list[list[int]]:
    """NASNet's shape: cells of five pairs of branches, each of up to six operators, joined by a concatenation; a cell
    reads the two cells before it."""
    rng = random.Random(seed)
    sources: list[list[int]] = [[], [0]]
    before, last = 0, 1
    for _ in range(count):
        joined = []
        for _ in range(5):
            ends = []
            for length in (rng.choice((1, 2, 4, 6)), rng.choice((0, 1, 4))):
                end = rng.choice((before, last))
                for _ in range(length):
                    sources.append([end])
                    end = len(sources) - 1
                ends.append(end)
            sources.append(ends)
            joined.append(len(sources) - 1)
        sources.append(joined)
        before, last = last, len(sources) - 1
    return sources
