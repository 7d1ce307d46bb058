"""Input shapes of an executable → rows per tile that are not available for parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from atoll.hardware.chip import EDGE_TPU
from atoll.hardware.generations import DEFAULT, Generation


def input_rows(shapes: Sequence[tuple[int, ...]]) -> float:
    """Rows per tile that the largest input takes when it is spread over the 4×4 tiles (bytes / 256)."""
    most = 0.0
    for shape in shapes:
        *_, y, x, z = (1, 1, 1, *shape)
        most = max(most, math.ceil(y / EDGE_TPU.tile_rows) * math.ceil(x / EDGE_TPU.tile_columns) * z)
    return most / EDGE_TPU.row_bytes


def reserve_rows(shapes: Sequence[tuple[int, ...]], generation: Generation = DEFAULT) -> int:
    """R for an executable with these input shapes.

    No formula is known; this one is fitted (benchmarks/fit_reserve.py). One row per tile is 4 KiB of capacity.
    Error on observations held out from the fit: compiler 16, mean 12 rows and worst 35, but 28 in the fit itself for
    convolutions on a small image (R > 54, where fully connected nets have R < 37); 2.0, mean 40 and worst 172. 14 and
    15 borrow the rule of 16 and miss their three observations by 0, 52 and 137, 1.0 and 2.1 borrow that of 2.0. The
    rule knows nothing of large outputs, nor of models that spill activations (SR-GAN keeps back 1,683 rows).
    """
    rule, x = generation.reserve, input_rows(shapes)
    rows = rule.floor if x <= 0 else max(rule.floor, rule.constant + rule.slope * math.log(x))
    return min(round(rows), EDGE_TPU.rows_per_tile)
