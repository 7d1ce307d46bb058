"""What the planner takes and gives: layers by size, and where each of them lies."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from atoll.hardware.chip import EDGE_TPU, Chip


class LayerKind(enum.Enum):
    """How the compiler treats a layer's parameters."""

    DEPTHWISE = "depthwise convolution: cached first, whole on one tile"
    DENSE = "one output position (FullyConnected, 1×1 output): cached first, block j on tile j"
    SPATIAL = "other convolutions: cached last, largest first, whole on one tile if one has the room"
    TABLE = "a lookup table: always on the chip, in no report"
    CONSTANT = "operand of an elementwise operator: always streamed"


@dataclass(frozen=True)
class LayerParameters:
    """One layer as the planner sees it."""

    name: str
    kind: LayerKind
    nbytes: int
    """In the parameter blob."""
    block_rows: tuple[int, ...] = ()
    """Rows of wide memory per block of 64 output channels; empty for tables and constants."""
    operator: int = -1
    """Index in the graph, -1 if it has none."""

    @cached_property
    def rows(self) -> int:
        """Rows of wide memory, as reports count them."""
        return sum(self.block_rows)


@dataclass(frozen=True, slots=True)
class ModelParameters:
    """The layers of one model in graph order; ``reserve`` rows per tile are kept for its executable."""

    name: str
    layers: tuple[LayerParameters, ...]
    reserve: int = 0


class Placement(NamedTuple):
    """``rows`` rows of one layer on one tile, from ``row`` on; ``first`` is the first of them within the layer."""

    tile: int
    row: int
    rows: int
    first: int


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One layer: cached (at ``placements``, in the order of its rows) or streamed."""

    layer: LayerParameters
    cached: bool
    placements: tuple[Placement, ...] = ()


@dataclass(frozen=True)
class ModelPlan:
    """One model's layers in graph order, and the sums that reports print, in bytes."""

    name: str
    layers: tuple[LayerPlan, ...]
    available: int
    """On-chip memory before this model took its share (all of it in a shared pool)."""
    remaining: int
    """On-chip memory left when all models have their share."""
    chip: Chip = EDGE_TPU

    @cached_property
    def used(self) -> int:
        """On-chip memory used for caching model parameters: whole rows of 256 bytes."""
        return self.chip.row_bytes * sum(item.layer.rows for item in self.layers if item.cached)

    @cached_property
    def off_chip(self) -> int:
        """Off-chip memory used for streaming uncached model parameters."""
        return sum(item.layer.nbytes for item in self.layers if not item.cached)

    @cached_property
    def cached_bytes(self) -> int:
        """Bytes of the parameter blob that is loaded once."""
        return sum(item.layer.nbytes for item in self.layers if item.cached)


@dataclass(frozen=True)
class MemoryPlan:
    """Models that share one chip's parameter memory; ``reserve`` is the largest reserve among them."""

    models: tuple[ModelPlan, ...]
    reserve: int
    chip: Chip = EDGE_TPU
    """Rows 0 to ``rows_per_tile - reserve`` of each tile hold parameters."""

    @property
    def capacity(self) -> int:
        """On-chip memory for parameters in bytes."""
        return self.chip.tiles * max(0, self.chip.rows_per_tile - self.reserve) * self.chip.row_bytes

    @property
    def used(self) -> int:
        """Bytes of the capacity that cached parameters of all models take."""
        return sum(model.used for model in self.models)

    @property
    def remaining(self) -> int:
        """Bytes of the capacity that are left."""
        return self.capacity - self.used

    @property
    def off_chip(self) -> int:
        """Bytes of parameters that are sent with the inferences of all models, one of each."""
        return sum(model.off_chip for model in self.models)
