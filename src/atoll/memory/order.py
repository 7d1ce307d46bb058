"""Co-compiled models and how often each runs → the order on the command line that streams the fewest bytes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atoll.memory.plan import LayerKind, ModelParameters
from atoll.memory.planner import plan_memory
from atoll.target.chip import EDGE_TPU, Chip
from atoll.target.generations import DEFAULT, CachePool, Generation

EXHAUSTIVE = 8
"""Up to so many models the answer is the true optimum; for more, the best that exchanging pairs finds."""
_LIST_ALL = 4
"""Up to so many models every order is tried, so that each can be shown."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one order gives; bytes per model in the order in which the models were given."""

    models: tuple[int, ...]
    """Indices of the models, the first one first."""
    cached: tuple[int, ...]
    """On-chip memory used, as reports count it."""
    streamed: tuple[int, ...]
    """Sent with every inference of the model."""
    cost: float
    """Streamed bytes, each model's weighted by its rate."""


@dataclass(frozen=True, slots=True)
class OrderSearch:
    """The orders tried, the cheapest first; ``exhaustive`` when none left out is cheaper."""

    orders: tuple[Order, ...]
    exhaustive: bool

    @property
    def best(self) -> Order:
        return self.orders[0]


def best_order(
    models: Sequence[ModelParameters], rates: Sequence[float], generation: Generation = DEFAULT
) -> OrderSearch:
    """Search the order; ``rates`` says how often each model runs, in any common unit.

    Orders that cannot differ are tried once, and the search ends when nothing more could be cached. The worst case,
    eight models that all compete, is 40,320 plans of about half a millisecond each.
    """
    count = len(models)
    if count > EXHAUSTIVE:
        return _by_exchange(models, rates, generation)
    least = _least_cost(models, rates)
    commute = _commuting(models, generation)
    found: list[Order] = []
    for order in itertools.permutations(range(count)):
        if count > _LIST_ALL and any(a > b and commute[a][b] for a, b in itertools.pairwise(order)):
            continue  # the same plan as with these two exchanged, which comes first
        found.append(_evaluate(models, rates, generation, order))
        if count > _LIST_ALL and math.isclose(found[-1].cost, least):
            break
    return OrderSearch(_ranked(found), exhaustive=True)


def _evaluate(
    models: Sequence[ModelParameters], rates: Sequence[float], generation: Generation, order: Sequence[int]
) -> Order:
    plans = plan_memory([models[i] for i in order], generation).models
    by_model = sorted(zip(order, plans))  # indices are unique: plans are never compared
    streamed = tuple(plan.off_chip for _, plan in by_model)
    cost = sum(rate * nbytes for rate, nbytes in zip(rates, streamed))
    return Order(tuple(order), tuple(plan.used for _, plan in by_model), streamed, cost)


def _ranked(orders: Sequence[Order]) -> tuple[Order, ...]:
    return tuple(sorted(orders, key=lambda order: (order.cost, order.models)))


def _least_cost(models: Sequence[ModelParameters], rates: Sequence[float]) -> float:
    """What is streamed even if everything that can be cached is."""
    return sum(
        rate * sum(layer.nbytes for layer in model.layers if layer.kind is LayerKind.CONSTANT)
        for rate, model in zip(rates, models)
    )


def _commuting(models: Sequence[ModelParameters], generation: Generation) -> list[list[bool]]:
    """Which pairs of neighbours may be exchanged without any effect on what is cached.

    A shared pool sorts all layers (:mod:`atoll.memory.planner`), so the models' order breaks ties between spatial
    layers of equal size, and says which depthwise and dense layers come first, should they not all fit.
    """
    contested = not _first_layers_fit(models)
    keys = [
        {layer.nbytes if layer.kind is LayerKind.SPATIAL else 0 for layer in model.layers}
        - ({0} if not contested else set())
        for model in models
    ]
    shared = generation.cache_pool is CachePool.SHARED
    return [[shared and not (a & b) for b in keys] for a in keys]


def _first_layers_fit(models: Sequence[ModelParameters], chip: Chip = EDGE_TPU) -> bool:
    """Whether all layers that are cached first have their room in any order, dense blocks on their own tiles."""
    rows_per_tile = chip.rows_per_tile - max((model.reserve for model in models), default=0)
    first = [layer for model in models for layer in model.layers if layer.kind is not LayerKind.SPATIAL]
    load = [0] * chip.tiles
    for layer in first:
        if layer.kind is LayerKind.DENSE:
            for block, rows in enumerate(layer.block_rows):
                load[block % chip.tiles] += rows
    return max(load) <= rows_per_tile and sum(layer.rows for layer in first) <= rows_per_tile * chip.tiles


def _by_exchange(models: Sequence[ModelParameters], rates: Sequence[float], generation: Generation) -> OrderSearch:
    start = sorted(range(len(models)), key=lambda i: -rates[i])
    found = [_evaluate(models, rates, generation, start)]
    while True:
        best = found[-1]
        better = next(
            (
                order
                for order in _exchanged(best.models)
                if _evaluate(models, rates, generation, order).cost < best.cost
            ),
            None,
        )
        if better is None:
            return OrderSearch(_ranked(found), exhaustive=False)
        found.append(_evaluate(models, rates, generation, better))


def _exchanged(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for i, j in itertools.combinations(range(len(order)), 2):
        swapped = list(order)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        yield tuple(swapped)
