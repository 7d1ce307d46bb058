"""Layers of one or more models → :class:`MemoryPlan`, by the compiler's greedy order.

Source: ../shared/facts/memory.md, "Which layers are cached" (cached sets of real files, exact up to ties).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from atoll.memory.plan import (
    LayerKind,
    LayerParameters,
    LayerPlan,
    MemoryPlan,
    ModelParameters,
    ModelPlan,
    Placement,
)
from atoll.target.chip import EDGE_TPU, Chip
from atoll.target.generations import CachePool

Key = tuple[int, int]
"""A layer: index of its model, index within the model."""

_FIRST = (LayerKind.DEPTHWISE, LayerKind.DENSE, LayerKind.TABLE)


def plan_memory(
    models: Sequence[ModelParameters], pool: CachePool = CachePool.SHARED, chip: Chip = EDGE_TPU
) -> MemoryPlan:
    """Decide what stays on the chip and give each cached row a place.

    Pure and fast (well under a millisecond per 100 layers); a search that needs the sums only can call
    :func:`select_cached`.
    """
    reserve = max((model.reserve for model in models), default=0)
    cached = select_cached(models, pool, chip)
    rows_per_tile = max(0, chip.rows_per_tile - reserve)
    placements = _place([(key, models[key[0]].layers[key[1]]) for key in sorted(cached)], chip, rows_per_tile)
    taken = [
        chip.row_bytes * sum(layer.rows for n, layer in enumerate(model.layers) if (m, n) in cached)
        for m, model in enumerate(models)
    ]
    capacity = chip.tiles * rows_per_tile * chip.row_bytes
    shared = pool is CachePool.SHARED
    plans = tuple(
        ModelPlan(
            model.name,
            tuple(
                LayerPlan(layer, (m, n) in cached, placements.get((m, n), ()))
                for n, layer in enumerate(model.layers)
            ),
            available=capacity if shared else capacity - sum(taken[:m]),
            remaining=capacity - sum(taken),
        )
        for m, model in enumerate(models)
    )
    return MemoryPlan(plans, reserve, chip)


def select_cached(
    models: Sequence[ModelParameters], pool: CachePool = CachePool.SHARED, chip: Chip = EDGE_TPU
) -> frozenset[Key]:
    """The layers that stay on the chip.

    Whole layers, greedily: depthwise and dense ones in graph order, then the others by falling blob bytes (ties in
    graph order), skipping what does not fit. A dense layer must fit tile by tile, the others anywhere.
    """
    rows_per_tile = max(0, chip.rows_per_tile - max((model.reserve for model in models), default=0))
    free = chip.tiles * rows_per_tile
    dense_load = [0] * chip.tiles
    cached: set[Key] = set()
    for key, layer in _caching_order(models, pool):
        rows = layer.rows
        if layer.kind is LayerKind.CONSTANT or rows > free:
            continue
        if layer.kind is LayerKind.DENSE:
            load = dense_load.copy()
            for block, height in enumerate(layer.block_rows):
                load[block % chip.tiles] += height
            if max(load) > rows_per_tile:
                continue
            dense_load = load
        free -= rows
        cached.add(key)
    return frozenset(cached)


def _caching_order(
    models: Sequence[ModelParameters], pool: CachePool
) -> Iterable[tuple[Key, LayerParameters]]:
    layers = [((m, n), layer) for m, model in enumerate(models) for n, layer in enumerate(model.layers)]

    def rank(item: tuple[Key, LayerParameters]) -> tuple[int, bool, int]:
        (model, _), layer = item
        first = layer.kind in _FIRST
        return (0 if pool is CachePool.SHARED else model), not first, 0 if first else -layer.nbytes

    return sorted(layers, key=rank)  # stable: graph order among equals


def _place(
    layers: Sequence[tuple[Key, LayerParameters]], chip: Chip, rows_per_tile: int
) -> dict[Key, tuple[Placement, ...]]:
    """Rows for the cached layers: dense ones where they have to be, then the others from the largest down.

    A layer goes whole to the emptiest tile; what is too big for it fills that tile and goes on to the next, as in
    the vendor's files (two full tiles of 1,981 rows and 150 rows of a third for 4,112 rows of MobileNetV1).
    """
    load = [0] * chip.tiles
    places = {key: _place_blocks(layer, load) for key, layer in layers if layer.kind is LayerKind.DENSE}
    emptiest = [(rows, tile) for tile, rows in enumerate(load)]
    heapq.heapify(emptiest)
    others = [(key, layer) for key, layer in layers if layer.kind is not LayerKind.DENSE]
    for key, layer in sorted(others, key=lambda item: -item[1].rows):
        parts, done = [], 0
        while done < layer.rows:
            used, tile = heapq.heappop(emptiest)
            rows = min(layer.rows - done, rows_per_tile - used)
            assert rows > 0, "more rows were selected than the chip has"
            parts.append(Placement(tile, used, rows, done))
            done += rows
            if used + rows < rows_per_tile:
                heapq.heappush(emptiest, (used + rows, tile))
        places[key] = tuple(parts)
    return places


def _place_blocks(layer: LayerParameters, load: list[int]) -> tuple[Placement, ...]:
    """Block j of a dense layer on tile j; ``load`` (rows used per tile) is brought up to date."""
    parts, first = [], 0
    for block, rows in enumerate(layer.block_rows):
        tile = block % len(load)
        parts.append(Placement(tile, load[tile], rows, first))
        load[tile] += rows
        first += rows
    return tuple(parts)
