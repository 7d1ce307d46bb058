"""What a pipeline run showed → rows for people and fields for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from atoll.products.units import size

if TYPE_CHECKING:
    from atoll.compiler.external.agreement import Agreement


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One stage of the pipeline; bytes and milliseconds."""

    file: str
    device: str
    replicas: int
    """How many devices take turns."""
    operators: int
    mapped_operators: int
    on_chip_bytes: int
    """Parameters cached in the Edge TPU's memory, as its compiler counts them."""
    off_chip_bytes: int
    """Parameters sent to the Edge TPU with every inference."""
    input_bytes: int
    output_bytes: int
    mean_ms: float
    p95_ms: float
    modelled_ms: float | None
    """What the Edge TPU and its bus are modelled to take, without the host of a pipeline; None without a target."""
    late_share: float
    """Share of inferences in real time that this CPU was too slow for."""
    share_of_bottleneck: float
    """This stage's time per inference, with all its devices, over that of the slowest stage."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """An output that is not that of the uncut model on the CPU."""

    inference: int
    output: str
    count: int
    """Values that differ, of ``size``."""
    size: int
    most: float
    """The largest difference, in steps of the output's type."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run of ``atoll run``."""

    model: str
    strategy: str
    compiler: str
    inferences: int
    verified: int
    """How many of the first outputs were compared with those of the uncut model."""
    deviations: tuple[Deviation, ...]
    """The outputs that differed: none on virtual devices, where that is an error."""
    first_result_s: float
    """From the first push to the first result."""
    wall_s: float
    throughput: float
    """Inferences per second, from the first push to the last result."""
    ideal_throughput: float
    """Inferences per second that the slowest stage alone would allow."""
    advice: str
    """What limits the throughput, and what would help."""
    times: str
    """What the times are times of."""
    targets: tuple[str, ...]
    """The hosts that latencies are modelled for."""
    virtual: bool
    """Whether any device was a virtual one."""
    interpreters_per_device: int
    segments: tuple[SegmentReport, ...]
    agreements: tuple[Agreement, ...] = ()
    """What the vendor's compiler says of each segment, beside our prediction."""

    @property
    def efficiency(self) -> float:
        return self.throughput / self.ideal_throughput if self.ideal_throughput else 0.0

    @property
    def bottleneck(self) -> int:
        """Index of the slowest segment."""
        return max(range(len(self.segments)), key=lambda i: self.segments[i].share_of_bottleneck)

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "efficiency": self.efficiency, "bottleneck": self.bottleneck}


COLUMNS = ("segment", ">on TPU", ">on-chip", ">off-chip", ">input", ">output", ">time", ">of slowest")
"""The second is operators on the Edge TPU of operators in the segment."""


def columns(report: RunReport) -> tuple[str, ...]:
    """The titles of :func:`rows`."""
    return (*COLUMNS, *([">Edge TPUs"] if _replicated(report) else []), *([">modelled"] if _modelled(report) else []))


def rows(report: RunReport) -> list[tuple[str, ...]]:
    """The table of segments, in the order of :data:`COLUMNS`."""
    return [
        (
            f"{index}",
            f"{segment.mapped_operators} of {segment.operators}",
            size(segment.on_chip_bytes),
            size(segment.off_chip_bytes),
            size(segment.input_bytes),
            size(segment.output_bytes),
            f"{segment.mean_ms:.2f} ms",
            f"{segment.share_of_bottleneck:.0%}",
            *([str(segment.replicas)] if _replicated(report) else []),
            *([f"{segment.modelled_ms:.3f} ms"] if segment.modelled_ms is not None else []),
        )
        for index, segment in enumerate(report.segments)
    ]


LATE = 0.05
"""The share of late inferences from which on a segment is not in real time."""


def not_in_real_time(report: RunReport) -> list[int]:
    """Segments whose kernels take longer on this CPU than the Edge TPU is modelled to take."""
    return [number for number, segment in enumerate(report.segments) if segment.late_share > LATE]


def _replicated(report: RunReport) -> bool:
    return any(segment.replicas > 1 for segment in report.segments)


def _modelled(report: RunReport) -> bool:
    return all(segment.modelled_ms is not None for segment in report.segments)


def proof(report: RunReport) -> str:
    """Whether the outputs are right."""
    if not report.verified:
        return "Outputs were not compared: give the uncompiled model with --original."
    first = f"Outputs of the first {report.verified} inferences"
    if not report.deviations:
        return (
            f"{first} equal those of the uncut model bit for bit (both on LiteRT's built-in kernels, without XNNPACK)."
        )
    worst = max(report.deviations, key=lambda item: item.most)
    return (
        f"{first} differ from those of the uncut model on this CPU by at most {worst.most:g} steps ('{worst.output}', "
        f"{worst.count} of {worst.size} values of inference {worst.inference}). The chip's arithmetic is its own."
    )
