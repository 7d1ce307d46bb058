"""A compiled segment → what people and programs want to know of its file, operator by operator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from atoll.compiler.emit.compiled_segment import CompiledSegment
from atoll.compiler.external.report_text import VendorBlock
from atoll.findings import Finding
from atoll.model.tflite import model_bytes
from atoll.products.table import Column, Table, Value
from atoll.support.operator_rows import OperatorRow, vendor_rows


@dataclass(frozen=True, slots=True)
class OperatorReport:
    """One operator: where it runs, and where its parameters lie."""

    index: int
    kind: str
    name: str
    """Its first output."""
    on_tpu: bool
    status: str
    """The vendor's status string."""
    parameter_bytes: int
    parameter_rows: int
    """Rows of 256 bytes of on-chip memory."""
    placement: str
    """``on-chip``, ``off-chip`` (sent with every inference), or empty: no parameters on the Edge TPU."""
    tiles: tuple[int, ...]
    findings: tuple[Finding, ...]
    """Every reason why it stays on the CPU."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """One compiled file; bytes."""

    input: str
    """The model as it was named, or the segment of it."""
    output: str
    """File name."""
    input_bytes: int
    output_bytes: int
    total_operators: int
    mapped_operators: int
    """How many of them run on the Edge TPU."""
    on_chip_bytes: int
    remaining_bytes: int
    off_chip_bytes: int
    subgraphs: int
    """Custom operators for the Edge TPU."""
    runtime: int
    """The oldest Edge TPU runtime that can run it."""
    milliseconds: int
    rows: tuple[OperatorRow, ...]
    """The vendor's table."""
    operators: tuple[OperatorReport, ...]

    @property
    def streams(self) -> bool:
        """Whether parameters that could be cached are sent with every inference."""
        return any(item.placement == "off-chip" and item.parameter_rows for item in self.operators)

    @property
    def log(self) -> str:
        """Name of the log file."""
        return self.output.removesuffix(".tflite") + ".log"

    def block(self, directory: str) -> VendorBlock:
        """The vendor's report of it, the files being in ``directory`` ("" for the current one)."""
        return VendorBlock(
            input_model=self.input,
            input_bytes=self.input_bytes,
            output_model=joined(directory, self.output),
            output_bytes=self.output_bytes,
            on_chip_used=self.on_chip_bytes,
            on_chip_remaining=self.remaining_bytes,
            off_chip_used=self.off_chip_bytes,
            subgraphs=self.subgraphs,
            operators=self.rows,
            operation_log=joined(directory, self.log),
        )


def joined(directory: str, name: str) -> str:
    """The path as the vendor prints it: ``-o .`` gives ``./name``."""
    return f"{directory.rstrip('/') if directory != '/' else ''}/{name}" if directory else name


def file_report(segment: CompiledSegment, output_bytes: int, input_bytes: int | None = None) -> FileReport:
    """``input_bytes``: size of the file that was compiled; None for a segment, which never was a file."""
    source = segment.name.removesuffix("_edgetpu.tflite") + ".tflite"
    return FileReport(
        input=source if input_bytes is None else segment.source.path,
        output=segment.name,
        input_bytes=len(model_bytes(segment.source)) if input_bytes is None else input_bytes,
        output_bytes=output_bytes,
        total_operators=len(segment.source.main.operators),
        mapped_operators=sum(len(region) for region in segment.regions),
        on_chip_bytes=segment.on_chip_bytes,
        remaining_bytes=segment.remaining_bytes,
        off_chip_bytes=segment.off_chip_bytes,
        subgraphs=len(segment.regions),
        runtime=segment.mapping.runtime,
        milliseconds=round(segment.seconds * 1e3),
        rows=vendor_rows(segment.source.main, segment.mapping.statuses),
        operators=tuple(_operators(segment)),
    )


def _operators(segment: CompiledSegment) -> Iterable[OperatorReport]:
    graph, mapping = segment.source.main, segment.mapping
    planned = {item.layer.operator: item for item in segment.memory.layers}
    for index, operator in enumerate(graph.operators):
        plan = planned.get(index)
        yield OperatorReport(
            index=index,
            kind=operator.name,
            name=graph.tensors[operator.outputs[0]].name if operator.outputs else "",
            on_tpu=not mapping.findings[index],
            status=mapping.statuses[index],
            parameter_bytes=plan.layer.nbytes if plan else 0,
            parameter_rows=plan.layer.rows if plan else 0,
            placement="" if plan is None else "on-chip" if plan.cached else "off-chip",
            tiles=tuple(sorted({place[0] for place in plan.placements})) if plan else (),
            findings=mapping.findings[index],
        )


def operators_table(files: Iterable[FileReport]) -> Table:
    """One row per operator of every file."""
    columns = (
        Column("file", "name"), Column("operator", "number"), Column("kind"), Column("name", "name"),
        Column("device"), Column("status"), Column("parameter bytes", "bytes"), Column("parameter rows", "number"),
        Column("placement"), Column("tiles"), Column("why"), Column("remedy"),
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for file in files:
        for item in file.operators:
            device, tiles = "Edge TPU" if item.on_tpu else "CPU", " ".join(map(str, item.tiles))
            why, remedy = (" ".join(getattr(f, name) for f in item.findings) for name in ("why", "remedy"))
            rows.append(
                (file.output, item.index, item.kind, item.name, device, item.status, item.parameter_bytes,
                 item.parameter_rows, item.placement, tiles, why, remedy)
            )  # fmt: skip
    return Table(columns, tuple(rows))
