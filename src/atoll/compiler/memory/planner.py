"""Layers of one or more models → :class:`MemoryPlan`, by the compiler's greedy order.

Source: ../shared/facts/memory.md, "Which layers are cached" (cached sets of real files, exact up to ties).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from atoll.compiler.memory.memory_plan import (
    LayerKind,
    LayerParameters,
    LayerPlan,
    MemoryPlan,
    ModelParameters,
    ModelPlan,
    Placement,
)
from atoll.hardware.chip import EDGE_TPU, Chip
from atoll.hardware.generations import DEFAULT, CachePool, DensePlacement, Generation

Key = tuple[int, int]
"""A layer: index of its model, index within the model."""

_Places = dict[Key, tuple[Placement, ...]]
_FIRST = (LayerKind.DEPTHWISE, LayerKind.DENSE, LayerKind.TABLE)


def plan_memory(
    models: Sequence[ModelParameters], generation: Generation = DEFAULT, chip: Chip = EDGE_TPU
) -> MemoryPlan:
    """Decide what stays on the chip and give every row of it a place.

    Whole layers, greedily: depthwise and dense ones in graph order, then the others by falling blob bytes (ties in
    graph order), skipping what does not fit; over all models at once or model by model, as the generation does.
    Pure and fast, so that a search may call it thousands of times.
    """
    reserve = max((model.reserve for model in models), default=0)
    rows_per_tile = max(0, chip.rows_per_tile - reserve)
    cached = _select(models, generation, chip.tiles, rows_per_tile)
    _place(cached, models, chip.tiles, rows_per_tile)
    taken = [
        chip.row_bytes * sum(layer.rows for n, layer in enumerate(model.layers) if (m, n) in cached)
        for m, model in enumerate(models)
    ]
    capacity = chip.tiles * rows_per_tile * chip.row_bytes
    is_shared = generation.cache_pool is CachePool.SHARED
    plans = tuple(
        ModelPlan(
            model.name,
            tuple(LayerPlan(layer, (m, n) in cached, cached.get((m, n), ())) for n, layer in enumerate(model.layers)),
            available=capacity if is_shared else capacity - sum(taken[:m]),
            remaining=capacity - sum(taken),
            chip=chip,
        )
        for m, model in enumerate(models)
    )
    return MemoryPlan(plans, reserve, chip)


def uncached_operators(
    model: ModelParameters, generation: Generation = DEFAULT, chip: Chip = EDGE_TPU
) -> frozenset[int]:
    """The operators whose layers :func:`plan_memory` streams when the model is alone; no places are sought."""
    rows_per_tile = max(0, chip.rows_per_tile - model.reserve)
    kinds = {layer.kind for layer in model.layers}
    if LayerKind.DENSE not in kinds and sum(layer.rows for layer in model.layers) <= chip.tiles * rows_per_tile:
        # All that can be cached is: what may be split over the tiles fits wherever there is room.
        return frozenset(layer.operator for layer in model.layers if layer.kind is LayerKind.CONSTANT)
    cached = _select([model], generation, chip.tiles, rows_per_tile)
    return frozenset(layer.operator for n, layer in enumerate(model.layers) if (0, n) not in cached)


def _select(models: Sequence[ModelParameters], generation: Generation, tiles: int, rows_per_tile: int) -> _Places:
    """The layers to cache, dense ones with their places; the others fit anywhere, since they may be split."""
    free = tiles * rows_per_tile
    load = [0] * tiles
    cached: _Places = {}
    for key in _caching_order(models, generation.cache_pool):
        layer = models[key[0]].layers[key[1]]
        places: tuple[Placement, ...] | None = ()
        if layer.kind is LayerKind.CONSTANT or layer.rows > free:
            continue
        if layer.kind is LayerKind.DENSE:
            places = _place_blocks(layer, load, rows_per_tile, generation.dense_placement)
        if places is None:
            continue
        free -= layer.rows
        cached[key] = places
    return cached


def _caching_order(models: Sequence[ModelParameters], pool: CachePool) -> list[Key]:
    """By model, unless all share one pool; the kinds of ``_FIRST`` in graph order, then the others by falling bytes."""
    ranked = []
    for m, model in enumerate(models):
        for n, layer in enumerate(model.layers):
            first = layer.kind in _FIRST
            rank = (0 if pool is CachePool.SHARED else m), not first, 0 if first else -layer.nbytes
            ranked.append((*rank, m, n))
    return [(m, n) for *_, m, n in sorted(ranked)]


def _place_blocks(
    layer: LayerParameters, load: list[int], rows_per_tile: int, rule: DensePlacement
) -> tuple[Placement, ...] | None:
    """Places for the blocks of a dense layer, None when one has no room; brings ``load`` (rows per tile) up to date."""
    before, places, first = load.copy(), [], 0
    for block, rows in enumerate(layer.block_rows):
        tile = block % len(load)
        if load[tile] + rows > rows_per_tile and rule is DensePlacement.MOVABLE:
            tile = load.index(min(load))
        if load[tile] + rows > rows_per_tile:
            load[:] = before
            return None
        places.append(Placement(tile, load[tile], rows, first))
        load[tile] += rows
        first += rows
    return tuple(places)


def _place(cached: _Places, models: Sequence[ModelParameters], tiles: int, rows_per_tile: int) -> None:
    """Fill in the places of the layers that are not dense, from the largest down.

    A layer goes whole to the emptiest tile; what is too big for it fills that tile and goes on to the next, as in
    the vendor's files (two full tiles of 1,981 rows and 150 rows of a third for 4,112 rows of MobileNetV1).
    """
    load = [0] * tiles
    for places in cached.values():
        for part in places:
            load[part.tile] += part.rows
    emptiest = [(rows, tile) for tile, rows in enumerate(load)]
    heapq.heapify(emptiest)
    rest = [(models[m].layers[n].rows, (m, n)) for (m, n), places in cached.items() if not places]
    for rows, key in sorted(rest, key=lambda item: -item[0]):
        parts, done = [], 0
        while done < rows:
            used, tile = heapq.heappop(emptiest)
            piece = min(rows - done, rows_per_tile - used)
            assert piece >= 0, "a tile holds more than it can"
            if piece:
                parts.append(Placement(tile, used, piece, done))
                done += piece
                heapq.heappush(emptiest, (used + piece, tile))
        cached[key] = tuple(parts)
