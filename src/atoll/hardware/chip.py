"""The Edge TPU as data: tiles and memories."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chip:
    """One accelerator. Parameters live in wide memory, activations in narrow memory, both per tile.

    A row of wide memory has one 4-byte word for each of the 64 lanes (output channels) of a tile.
    """

    name: str
    """As the packages' ``chip`` field has it; the runtime refuses others."""
    tile_rows: int
    tile_columns: int
    rows_per_tile: int
    lanes: int
    narrow_bytes_per_tile: int

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.tile_rows * self.tile_columns

    @property
    def row_bytes(self) -> int:
        """Of wide memory: four bytes for each lane."""
        return 4 * self.lanes

    @property
    def parameter_bytes(self) -> int:
        """Wide memory of all tiles in bytes."""
        return self.tiles * self.rows_per_tile * self.row_bytes


EDGE_TPU = Chip(
    name="beagle",
    tile_rows=4,
    tile_columns=4,
    rows_per_tile=2048,
    lanes=64,
    narrow_bytes_per_tile=192 * 1024,
)
"""../shared/facts/memory.md: 16 tiles, each 512 KiB wide and 192 KiB narrow memory; 8 MiB of parameters in all."""
