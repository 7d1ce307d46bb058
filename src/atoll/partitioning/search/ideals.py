"""Graph → its ideals (downsets), the sets of operators that can lie before a cut: all, or those of some orders."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atoll.model.graph import Graph
from atoll.products.partition import legal_cuts

Ideal = int
"""A set of blocks as a bit mask; with a block it holds every block that the block reads from."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The operators of a graph in groups that no cut may part (one each, as a rule), and who reads from whom."""

    operators: tuple[range, ...]
    readers: tuple[tuple[int, ...], ...]
    sources: tuple[Ideal, ...]
    """For every block the blocks it reads from directly."""
    operator_readers: tuple[frozenset[int], ...]
    """For every operator the blocks that read what it writes; -1 stands for the outputs of the graph."""

    @property
    def everything(self) -> Ideal:
        """All blocks."""
        return (1 << len(self.operators)) - 1

    def operators_of(self, blocks: Ideal) -> tuple[int, ...]:
        """Operator indices in execution order."""
        return tuple(i for n in members(blocks) for i in self.operators[n])

    def before(self, operator: int) -> Ideal:
        """The blocks all of whose operators come before one of them in execution order."""
        return sum(1 << n for n, group in enumerate(self.operators) if group.stop <= operator)

    def ready(self, done: Ideal) -> list[int]:
        """The blocks that can come next."""
        return [n for n, needs in enumerate(self.sources) if not done >> n & 1 and not needs & ~done]

    def last(self, done: Ideal) -> list[int]:
        """The blocks of an ideal that none of the others reads from."""
        read = 0
        for n in members(done):
            read |= self.sources[n]
        return members(done & ~read)


def members(blocks: Ideal) -> list[int]:
    """The block numbers in a mask, ascending."""
    return [n for n, bit in enumerate(f"{blocks:b}"[::-1]) if bit == "1"]


def blocks_of(graph: Graph) -> Blocks:
    """Operators between two neighbouring legal cuts stay together: they share a state or pass what is no array."""
    bounds = [0, *legal_cuts(graph), len(graph.operators)]
    operators = tuple(range(a, b) for a, b in itertools.pairwise(bounds))
    block = {i: n for n, group in enumerate(operators) for i in group}
    writer = {tensor: block[i] for i, operator in enumerate(graph.operators) for tensor in operator.outputs}
    sources = [0] * len(operators)
    readers: list[set[int]] = [set() for _ in operators]
    for i, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            source = writer.get(tensor)
            if source is not None and source != block[i]:
                sources[block[i]] |= 1 << source
                readers[source].add(block[i])
    operator_readers: list[set[int]] = [set() for _ in graph.operators]
    number = {tensor: i for i, operator in enumerate(graph.operators) for tensor in operator.outputs}
    for i, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            if tensor in number:
                operator_readers[number[tensor]].add(block[i])
    for tensor in graph.outputs:
        if tensor in number:
            operator_readers[number[tensor]].add(-1)
    return Blocks(
        operators,
        tuple(tuple(sorted(r)) for r in readers),
        tuple(sources),
        tuple(frozenset(r) for r in operator_readers),
    )


def all_ideals(blocks: Blocks, limit: int) -> list[Ideal] | None:
    """Every ideal, or None when there are more than ``limit``."""
    seen = {0}
    frontier = [(0, tuple(blocks.ready(0)))]
    while frontier:
        reached: dict[Ideal, tuple[int, ...]] = {}
        for done, ready in frontier:
            for n in ready:
                larger = done | 1 << n
                if larger in seen or larger in reached:
                    continue
                fresh = (r for r in blocks.readers[n] if not blocks.sources[r] & ~larger)
                reached[larger] = (*(r for r in ready if r != n), *fresh)
                if len(seen) + len(reached) > limit:
                    return None
        seen.update(reached)
        frontier = list(reached.items())
    return sorted(seen, key=lambda d: (d.bit_count(), d))


def orders(blocks: Blocks, bytes_between: Sequence[int]) -> list[list[int]]:
    """Several execution orders that cut branches differently: as given, branch by branch from either side, level by
    level, and keeping what would cross a cut small (``bytes_between``: what each block gives to its readers)."""
    level = [0] * len(blocks.operators)
    for n, needs in enumerate(blocks.sources):
        level[n] = 1 + max((level[m] for m in members(needs)), default=0)

    def growth(n: int, done: Ideal) -> int:
        """Bytes by which the tensors alive grow when block ``n`` runs."""
        after = done | 1 << n
        ended = sum(
            bytes_between[m] for m in members(blocks.sources[n]) if all(after >> r & 1 for r in blocks.readers[m])
        )
        return bytes_between[n] - ended

    return [
        list(range(len(blocks.operators))),
        _order(blocks, lambda n, _done, when: (-when[n], n)),
        _order(blocks, lambda n, _done, when: (-when[n], -n)),
        _order(blocks, lambda n, _done, _when: (level[n], n)),
        _order(blocks, lambda n, done, when: (growth(n, done), -when[n], n)),
    ]


Key = Callable[[int, Ideal, Sequence[int]], tuple[int, ...]]


def _order(blocks: Blocks, key: Key) -> list[int]:
    """Always the ready block with the smallest ``key(block, done, when it became ready)``."""
    ready, done, order = blocks.ready(0), 0, []
    when = [0] * len(blocks.operators)
    while ready:
        n = min(ready, key=lambda n: key(n, done, when))
        ready.remove(n)
        done |= 1 << n
        order.append(n)
        for reader in blocks.readers[n]:
            if not blocks.sources[reader] & ~done:
                when[reader] = len(order)
                ready.append(reader)
    return order


def prefixes(order: Sequence[int]) -> list[Ideal]:
    """The ideals that an order passes through."""
    return list(itertools.accumulate((1 << n for n in order), lambda done, bit: done | bit, initial=0))


def nearby(blocks: Blocks, done: Ideal) -> set[Ideal]:
    """Ideals a small step away: one block more or less, and a whole run of blocks along one branch."""
    found = set()
    for n in blocks.ready(done):
        larger = done
        while not larger >> n & 1:
            larger |= 1 << n
            found.add(larger)
            following = [r for r in blocks.readers[n] if not blocks.sources[r] & ~larger]
            n = following[0] if len(following) == 1 else n
    for n in blocks.last(done):
        smaller = done
        while smaller >> n & 1 and all(not smaller >> r & 1 for r in blocks.readers[n]):
            smaller &= ~(1 << n)
            found.add(smaller)
            before = members(blocks.sources[n])
            n = before[0] if len(before) == 1 else n
    return found


def as_words(ideals: Sequence[Ideal], size: int) -> npt.NDArray[np.uint64]:
    """Masks as rows of 64-bit words, for comparing many at once."""
    words = max(1, -(-size // 64))
    data = b"".join(d.to_bytes(words * 8, "little") for d in ideals)
    return np.frombuffer(data, dtype="<u8").reshape(len(ideals), words).astype(np.uint64)
