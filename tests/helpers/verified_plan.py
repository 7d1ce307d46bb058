"""A :class:`MemoryPlan` → nothing, or an ``AssertionError`` that names the layer placed wrongly."""

from __future__ import annotations

import itertools

from atoll.compiler.memory.memory_plan import LayerKind, LayerPlan, MemoryPlan


def verify_plan(plan: MemoryPlan) -> None:
    """Every cached row has one place, every place lies inside a tile below the reserve, no two overlap."""
    top = plan.chip.rows_per_tile - plan.reserve
    taken: list[tuple[int, int, int, str]] = []
    for model in plan.models:
        for item in model.layers:
            name = f"'{item.layer.name}' of '{model.name}'"
            _verify_layer(item, name)
            for tile, row, rows, _ in item.placements:
                assert 0 <= tile < plan.chip.tiles, f"{name} lies on tile {tile}, which does not exist"
                assert row >= 0 and row + rows <= top, f"{name} leaves tile {tile}: rows {row} to {row + rows}"
                taken.append((tile, row, rows, name))
    taken.sort()
    for (tile, row, rows, name), (other_tile, other_row, _, other) in itertools.pairwise(taken):
        overlaps = tile == other_tile and row + rows > other_row
        assert not overlaps, f"{name} and {other} overlap on tile {tile} at row {other_row}"
    assert plan.used + plan.remaining == plan.capacity, "used and remaining do not add up"
    assert plan.remaining >= 0, "more is cached than fits"


def _verify_layer(item: LayerPlan, name: str) -> None:
    expected = 0
    for part in item.placements:
        assert part.rows > 0 and part.first == expected, f"{name} has its rows out of order"
        expected += part.rows
    assert expected == (item.layer.rows if item.cached else 0), f"{name} has {expected} rows placed"
    assert not (item.cached and item.layer.kind is LayerKind.CONSTANT), f"{name} cannot be cached"
