"""What ``atoll zoo`` says: the standard networks, and the file of the one that was built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atoll.networks import ZooEntry
from atoll.products.result import Result
from atoll.products.table import Column, Table


@dataclass(frozen=True, slots=True, repr=False)
class ZooReport(Result):
    """The networks on offer, or the one that was built."""

    schema: ClassVar[str] = "zoo/1"

    networks: tuple[ZooEntry, ...]
    output: str | None = None
    """The file that was written."""
    seed: int | None = None
    """Seed of the random weights in it."""

    def answer(self) -> tuple[str, ...]:
        """The file alone, so that other commands can take it from here; or what is on offer."""
        offer = f"{len(self.networks)} standard networks; their weights are random, so their answers mean nothing."
        return (offer,) if self.output is None else (self.output,)

    def tables(self) -> tuple[Table, ...]:
        """The networks with their sizes."""
        columns = (
            Column("network"),
            Column("input", importance=1),
            Column("parameters", "number", unit="M", digits=2),
            Column("MACs", "number", unit="M"),
            Column("description"),
        )
        rows = [
            (e.name, "×".join(map(str, e.input_shape)), e.parameters / 1e6, round(e.macs / 1e6), e.description)
            for e in self.networks
        ]
        return (Table.of(columns, rows),) if self.output is None else ()
