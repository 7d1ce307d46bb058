"""Co-compiled models and how often each runs → the order on the command line that streams the fewest bytes."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from atoll.compiler.memory.memory_plan import LayerKind, LayerParameters, ModelParameters
from atoll.compiler.memory.planner import _place_blocks
from atoll.hardware.chip import EDGE_TPU
from atoll.hardware.generations import DEFAULT, CachePool, Generation

EXHAUSTIVE = 8
"""Up to so many models the answer is the true optimum; for more, the best that exchanging pairs finds."""


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
        """The cheapest order."""
        return self.orders[0]


def best_order(
    models: Sequence[ModelParameters], rates: Sequence[float], generation: Generation = DEFAULT
) -> OrderSearch:
    """Search the order; ``rates`` says how often each model runs, in any common unit.

    Eight image networks are 40,320 orders, about two seconds.
    """
    evaluate = _evaluator(models, rates, generation)
    count = len(models)
    if count > EXHAUSTIVE:
        return OrderSearch(_ranked(_by_exchange(evaluate, rates)), exhaustive=False)
    return OrderSearch(_ranked(map(evaluate, itertools.permutations(range(count)))), exhaustive=True)


_Sums = tuple[list[int], list[int]]
"""Rows cached and bytes streamed, per model in the order given."""


def _evaluator(
    models: Sequence[ModelParameters], rates: Sequence[float], generation: Generation
) -> Callable[[Sequence[int]], Order]:
    """What an order gives: the sums of :func:`atoll.compiler.memory.plan_memory` without the places."""
    sums = (_pooled if generation.cache_pool is CachePool.SHARED else _one_by_one)(models, generation)

    def evaluate(order: Sequence[int]) -> Order:
        rows, streamed = sums(order)
        cost = sum(rate * nbytes for rate, nbytes in zip(rates, streamed))
        return Order(tuple(order), tuple(EDGE_TPU.row_bytes * n for n in rows), tuple(streamed), cost)

    return evaluate


def _ranked(orders: Iterable[Order]) -> tuple[Order, ...]:
    return tuple(sorted(orders, key=lambda order: (order.cost, order.models)))


_Served = tuple[int, int, tuple[int, ...]]
"""Rows cached, bytes streamed, and the rows of dense layers on each tile."""


def _server(
    models: Sequence[ModelParameters], layers: Sequence[Sequence[LayerParameters]], generation: Generation
) -> Callable[[int, int, tuple[int, ...]], _Served]:
    """What a model caches of its ``layers`` depends on the rows left, and on the dense ones of each tile."""
    tall, rule = _rows_per_tile(models), generation.dense_placement

    @functools.cache
    def serve(model: int, free: int, load: tuple[int, ...]) -> _Served:
        rows, streamed, tiles = 0, 0, list(load)
        for layer in layers[model]:
            fits = layer.kind is not LayerKind.CONSTANT and layer.rows <= free - rows
            if fits and layer.kind is LayerKind.DENSE:
                fits = _place_blocks(layer, tiles, tall, rule) is not None
            if fits:
                rows += layer.rows
            else:
                streamed += layer.nbytes
        return rows, streamed, tuple(tiles)

    return serve


def _one_by_one(models: Sequence[ModelParameters], generation: Generation) -> Callable[[Sequence[int]], _Sums]:
    """First listed, first served, all of a model's layers."""
    return _in_turn(models, [sorted(model.layers, key=_rank) for model in models], generation)


def _in_turn(
    models: Sequence[ModelParameters], layers: Sequence[Sequence[LayerParameters]], generation: Generation
) -> Callable[[Sequence[int]], _Sums]:
    serve = _server(models, layers, generation)

    def sums(order: Sequence[int]) -> _Sums:
        free, load = _capacity(models), (0,) * EDGE_TPU.tiles
        rows, streamed = [0] * len(models), [0] * len(models)
        for model in order:
            rows[model], streamed[model], load = serve(model, free, load)
            free -= rows[model]
        return rows, streamed

    return sums


def _pooled(models: Sequence[ModelParameters], generation: Generation) -> Callable[[Sequence[int]], _Sums]:
    """One pool: what comes first in the models' order, then spatial layers by size, where the order breaks ties."""
    first = _in_turn(models, [list(filter(_is_first, model.layers)) for model in models], generation)
    ranks: dict[int, list[list[LayerParameters]]] = {}
    for number, model in enumerate(models):
        for layer in (item for item in model.layers if not _is_first(item)):
            ranks.setdefault(layer.nbytes, [[] for _ in models])[number].append(layer)
    spatial = [sum(layer.nbytes for layer in model.layers if not _is_first(layer)) for model in models]
    steps = []
    for nbytes, rank in sorted(ranks.items(), reverse=True):
        needed = [sum(layer.rows for layer in own) for own in rank]
        steps.append((nbytes, sum(needed), min(layer.rows for own in rank for layer in own), needed, rank))

    def sums(order: Sequence[int]) -> _Sums:
        rows, streamed = first(order)
        streamed = [own + rest for own, rest in zip(streamed, spatial)]
        free = _capacity(models) - sum(rows)
        for nbytes, total, least, needed, rank in steps:
            if total <= free:
                free -= total
                for model, own in enumerate(rank):
                    rows[model] += needed[model]
                    streamed[model] -= nbytes * len(own)
            elif least <= free:
                for model in order:
                    for layer in rank[model]:
                        if layer.rows <= free:
                            free -= layer.rows
                            rows[model] += layer.rows
                            streamed[model] -= nbytes
        return rows, streamed

    return sums


def _is_first(layer: LayerParameters) -> bool:
    return layer.kind is not LayerKind.SPATIAL


def _rank(layer: LayerParameters) -> float:
    """The planner's order within one model: what comes first, then spatial layers from the largest down."""
    return -math.inf if _is_first(layer) else -layer.nbytes


def _rows_per_tile(models: Sequence[ModelParameters]) -> int:
    return max(0, EDGE_TPU.rows_per_tile - max((model.reserve for model in models), default=0))


def _capacity(models: Sequence[ModelParameters]) -> int:
    return _rows_per_tile(models) * EDGE_TPU.tiles


def _by_exchange(evaluate: Callable[[Sequence[int]], Order], rates: Sequence[float]) -> list[Order]:
    """From the most frequent model on, exchange two models as long as that is cheaper."""
    found = [evaluate(sorted(range(len(rates)), key=lambda i: -rates[i]))]
    while True:
        tries = map(evaluate, _exchanged(found[-1].models))
        better = next((order for order in tries if order.cost < found[-1].cost), None)
        if better is None:
            return found
        found.append(better)


def _exchanged(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for i, j in itertools.combinations(range(len(order)), 2):
        swapped = list(order)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        yield tuple(swapped)
