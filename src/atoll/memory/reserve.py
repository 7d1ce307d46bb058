"""Input shapes of an executable → rows per tile that are not available for parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from atoll.target.chip import EDGE_TPU
from atoll.target.generations import DEFAULT, Generation


def input_rows(shapes: Sequence[tuple[int, ...]]) -> float:
    """Rows per tile that the largest input takes when it is spread over the 4×4 tiles (bytes / 256)."""

    def rows(shape: tuple[int, ...]) -> float:
        *_, y, x, z = (1, 1, 1, *shape)
        return math.ceil(y / EDGE_TPU.tile_rows) * math.ceil(x / EDGE_TPU.tile_columns) * z / EDGE_TPU.row_bytes

    return max(map(rows, shapes), default=0.0)


def reserve_rows(shapes: Sequence[tuple[int, ...]], generation: Generation = DEFAULT) -> int:
    return 0
