"""Our compilation and the vendor's report of the same segments → where the two agree and where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atoll.compiler.emit.compiled_segment import CompiledSegment
from atoll.products.units import size
from atoll.support.operator_rows import OperatorRow, vendor_rows
from atoll.support.operators import Status

if TYPE_CHECKING:  # most read no report: the parser's patterns take a while
    from atoll.compiler.external.report_parser import ParsedModel, Size


@dataclass(frozen=True, slots=True)
class Figures:
    """What a compiler says of one file; None where it does not say. Of the vendor, bytes are as exact as it prints."""

    operators: int | None
    mapped_operators: int | None
    subgraphs: int | None
    """Custom operators for the Edge TPU."""
    on_chip_bytes: int | None
    remaining_bytes: int | None
    off_chip_bytes: int | None
    runtime: int | None
    """The oldest Edge TPU runtime that can run it; None when nothing is mapped."""
    mapped: Mapping[str, int]
    """How many operators of each kind are mapped; empty when it lists none."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure on which the two disagree, as people read it."""

    what: str
    predicted: str
    vendor: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """One segment: what we predicted, what the vendor's compiler says, and whether it had to stop earlier."""

    file: str
    predicted: Figures
    vendor: Figures
    differences: tuple[Difference, ...]
    searched: bool
    """The vendor's compiler failed at first, and mapped fewer operators than it was asked to."""
    seconds: float


_TITLES = {
    "operators": "operators",
    "mapped_operators": "operators on the Edge TPU",
    "subgraphs": "Edge TPU operators",
    "on_chip_bytes": "on-chip memory",
    "remaining_bytes": "on-chip memory left",
    "off_chip_bytes": "off-chip memory",
    "runtime": "minimum runtime",
}


def predicted_figures(segment: CompiledSegment) -> Figures:
    """The figures of a segment that we compiled."""
    return Figures(
        operators=len(segment.source.main.operators),
        mapped_operators=sum(len(region) for region in segment.regions),
        subgraphs=len(segment.regions),
        on_chip_bytes=segment.on_chip_bytes,
        remaining_bytes=segment.remaining_bytes,
        off_chip_bytes=segment.off_chip_bytes,
        runtime=segment.mapping.runtime if segment.regions else None,
        mapped=_mapped(vendor_rows(segment.source.main, segment.mapping.statuses)),
    )


def vendor_figures(said: ParsedModel, subgraphs: int, runtime: int | None) -> Figures:
    """The figures of a report, and what only the file itself tells."""
    mapped, total = said.mapped_operators, said.total_operators
    rows = said.operators
    if mapped is None and rows:
        mapped = sum(row.count for row in rows if row.status == Status.MAPPED.value)
    if total is None and rows:
        total = sum(row.count for row in rows)
    return Figures(
        operators=total,
        mapped_operators=mapped,
        subgraphs=subgraphs,
        on_chip_bytes=_bytes(said.on_chip_used),
        remaining_bytes=_bytes(said.on_chip_remaining),
        off_chip_bytes=_bytes(said.off_chip_used),
        runtime=runtime,
        mapped=_mapped(rows),
    )


def differences(predicted: Figures, vendor: Figures) -> tuple[Difference, ...]:
    """Figures that both give and that differ, bytes as printed: to two decimals of their unit."""
    found = []
    for name, title in _TITLES.items():
        ours, theirs = getattr(predicted, name), getattr(vendor, name)
        if ours is not None and theirs is not None:
            show = size if name.endswith("_bytes") else str
            if show(ours) != show(theirs):
                found.append(Difference(title, show(ours), show(theirs)))
    if vendor.mapped or vendor.mapped_operators == 0:
        for kind in sorted(predicted.mapped.keys() | vendor.mapped.keys()):
            counts = predicted.mapped.get(kind, 0), vendor.mapped.get(kind, 0)
            if counts[0] != counts[1]:
                found.append(Difference(f"{kind} on the Edge TPU", *map(str, counts)))
    return tuple(found)


def sentences(segments: Sequence[Agreement]) -> list[str]:
    """What agrees, what differs, and what was avoided by an earlier stop."""
    lines = [
        f"{segment.file}: the vendor's compiler failed at first and was asked to stop earlier: "
        f"{segment.vendor.mapped_operators} of {segment.vendor.operators} operators run on the Edge TPU."
        for segment in segments
        if segment.searched
    ]
    for segment in segments:
        for item in segment.differences:
            lines.append(f"{segment.file}: {item.what}: predicted {item.predicted}, the vendor's {item.vendor}")
    agreeing = sum(not segment.differences for segment in segments)
    whole = "every figure" if agreeing == len(segments) else f"every figure of {agreeing} of {len(segments)} files"
    if agreeing:
        lines.append(f"Our prediction and the vendor's compiler agree on {whole}.")
    return lines


def _mapped(rows: Iterable[OperatorRow]) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        if row.status == Status.MAPPED.value:
            counts[row.operator] += row.count
    return dict(sorted(counts.items()))


def _bytes(printed: Size | None) -> int | None:
    return None if printed is None else printed.nbytes
