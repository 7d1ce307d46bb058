"""What ``atoll inspect`` says: what is in a compiled file, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from atoll.errors import CorruptPackageError
from atoll.products.result import Result
from atoll.products.table import Column, Table


@dataclass(frozen=True, slots=True)
class LayerReport:
    """An input or output of the Edge TPU."""

    name: str
    y: int
    x: int
    z: int
    data_type: str
    size_bytes: int
    """As transferred, with padding."""
    zero_point: int | None
    scale: float | None
    executions: int


@dataclass(frozen=True, slots=True)
class ExecutableReport:
    """One program of a package; bytes."""

    kind: str
    name: str
    chip: str
    token: str
    batch: int
    parameter_bytes: int
    instruction_bytes: tuple[int, ...]
    """Per chunk."""
    dma_hints: int
    scratch_bytes: int
    narrow_bytes_per_tile: int
    estimated_cycles: int
    inputs: tuple[LayerReport, ...]
    outputs: tuple[LayerReport, ...]


@dataclass(frozen=True, slots=True)
class PlacedOperator:
    """One operator of the original model that has packed parameters, and where the blob has them."""

    index: int
    kind: str
    name: str
    nbytes: int
    placement: str
    """``cached``, ``streamed``, or ``not found``."""
    offset: int
    """In the blob, -1 when not found."""


@dataclass(frozen=True, slots=True)
class RegionReport:
    """One Edge TPU operator; a package that cannot be read has no executables."""

    where: str
    min_runtime: int
    compiler: str
    """Which compiler made it, as far as the package tells."""
    compiler_version: str
    model_identifier: str
    cached_bytes: int
    streamed_bytes: int
    executables: tuple[ExecutableReport, ...]
    mapped: tuple[str, ...] = ()
    """The original operators in it; known with the original only."""
    placed: tuple[PlacedOperator, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class InspectReport(Result):
    """A compiled file."""

    schema: ClassVar[str] = "inspect/1"

    file: str
    description: str
    inputs: tuple[str, ...]
    """``name type[shape]`` of each."""
    outputs: tuple[str, ...]
    cpu_operators: tuple[str, ...]
    min_runtime: int
    """The oldest Edge TPU runtime that can run it."""
    tokens: tuple[str, ...]
    """Files with the same token can keep their parameters on one chip at the same time."""
    regions: tuple[RegionReport, ...]
    problems: tuple[str, ...]
    """What contradicts itself in the file, and where."""

    def require_whole(self) -> None:
        """Raises :class:`CorruptPackageError` when there are problems."""
        if self.problems:
            raise CorruptPackageError(
                f"{self.file} is damaged ({len(self.problems)} problems): {self.problems[0]}",
                "Compile the model again, or copy the file again.",
            )

    def answer(self) -> tuple[str, ...]:
        """What the file is, what it needs, and whether it is whole."""
        needs = f"It needs runtime {self.min_runtime} or newer; caching token {', '.join(self.tokens) or 'none'}."
        return (
            f"{self.file}: {self.description}" if self.description else self.file,
            f"It has {len(self.regions)} Edge TPU operator{'s' * (len(self.regions) != 1)} and "
            f"{len(self.cpu_operators) or 'no'} operator{'s' * (len(self.cpu_operators) != 1)} on the CPU. {needs}",
            *([f"It is damaged: {len(self.problems)} problems."] if self.problems else []),
        )

    def tables(self) -> tuple[Table, ...]:
        """What is wrong, the Edge TPU operators, their executables and boundary layers, where parameters lie, ..."""
        found = (
            Table.of((Column("problem"),), [(text,) for text in self.problems], "Problems"),
            self._region_table(),
            self._executable_table(),
            self._layer_table(),
            self._parameter_table(),
            self._tensor_table(),
            Table.of((Column("operator", "name"),), [(where,) for where in self.cpu_operators], "On the CPU"),
        )
        return tuple(table for table in found if table.rows)

    def _region_table(self) -> Table:
        columns = (
            Column("operator", "name"),
            Column("made by"),
            Column("runtime", "number"),
            Column("parameters cached", "bytes"),
            Column("parameters streamed", "bytes"),
            Column("operators of the original", "number"),
            Column("compiler version", "name"),
        )
        rows = [
            (
                region.where,
                region.compiler,
                region.min_runtime,
                region.cached_bytes,
                region.streamed_bytes,
                len(region.mapped) or None,
                region.compiler_version,
            )
            if region.executables
            else (region.where, region.compiler or "unreadable", *[None] * 5)
            for region in self.regions
        ]
        return Table.of(columns, rows, "Edge TPU operators", records=True)

    def _executables(self) -> Iterator[tuple[str, ExecutableReport]]:
        """Each with a title of its own."""
        for region in self.regions:
            for item in region.executables:
                title = item.kind if len(self.regions) == 1 else f"{item.kind} of {region.where}"
                yield title, item

    def _executable_table(self) -> Table:
        columns = (
            Column("executable"),
            Column("name", "name"),
            Column("chip"),
            Column("batch", "number"),
            Column("token"),
            Column("parameters", "bytes"),
            Column("instructions", "bytes"),
            Column("instruction chunks", "number"),
            Column("DMA hints", "number"),
            Column("scratch memory", "bytes"),
            Column("narrow memory per tile", "bytes"),
            Column("estimated cycles", "number"),
        )
        rows = [
            (
                title,
                item.name,
                item.chip,
                item.batch,
                item.token,
                item.parameter_bytes,
                sum(item.instruction_bytes),
                len(item.instruction_bytes),
                item.dma_hints,
                item.scratch_bytes,
                item.narrow_bytes_per_tile,
                item.estimated_cycles or None,
            )
            for title, item in self._executables()
        ]
        return Table.of(columns, rows, "Executables", records=True)

    def _layer_table(self) -> Table:
        columns = (
            Column("executable", importance=3),
            Column("side"),
            Column("layer", "name"),
            Column("y×x×z"),
            Column("type", importance=2),
            Column("bytes", "number"),
            Column("scale", "number", digits=9, importance=1),
            Column("zero point", "number", importance=1),
            Column("executions", "number", importance=3),
        )
        rows = [
            (
                title,
                side,
                layer.name,
                f"{layer.y}×{layer.x}×{layer.z}",
                layer.data_type.lower(),
                layer.size_bytes,
                layer.scale,
                layer.zero_point,
                layer.executions,
            )
            for title, item in self._executables()
            for side, layers in (("in", item.inputs), ("out", item.outputs))
            for layer in layers
        ]
        return Table.of(columns, rows, "Inputs and outputs of the executables")

    def _parameter_table(self) -> Table:
        columns = (
            Column("region", "name", importance=1),
            Column("operator"),
            Column("output", "name"),
            Column("bytes", "number"),
            Column("placement"),
            Column("offset", "number"),
        )
        several = len(self.regions) > 1
        rows = [
            (
                region.where if several else None,
                f"#{placed.index} {placed.kind}",
                placed.name.partition(";")[0],
                placed.nbytes,
                placed.placement,
                placed.offset if placed.offset >= 0 else None,
            )
            for region in self.regions
            for placed in region.placed
        ]
        return Table.of(columns, rows, "Parameters of the original's operators, in bytes")

    def _tensor_table(self) -> Table:
        columns = (Column("side"), Column("tensor", "name"), Column("type"))
        rows = [
            (side, *_name_and_type(tensor))
            for side, tensors in (("input", self.inputs), ("output", self.outputs))
            for tensor in tensors
        ]
        return Table.of(columns, rows, "Inputs and outputs of the model")


def _name_and_type(tensor: str) -> tuple[str, str]:
    head, _, shape = tensor.rpartition("[")
    name, _, dtype = head.rpartition(" ")
    return name, f"{dtype}[{shape}"
