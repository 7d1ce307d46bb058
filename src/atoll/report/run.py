"""What a pipeline run showed → rows for people and fields for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One stage of the pipeline; bytes and milliseconds."""

    file: str
    device: str
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
    share_of_bottleneck: float
    """This stage's mean time over that of the slowest stage."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run of ``atoll run``."""

    model: str
    strategy: str
    inferences: int
    verified: int
    """How many of the first outputs were compared, and found equal, to those of the uncut model."""
    first_result_s: float
    """From the first push to the first result."""
    wall_s: float
    throughput: float
    """Inferences per second, from the first push to the last result."""
    ideal_throughput: float
    """Inferences per second that the slowest stage alone would allow."""
    times: str
    """What the times are times of."""
    segments: tuple[SegmentReport, ...]

    @property
    def efficiency(self) -> float:
        return self.throughput / self.ideal_throughput if self.ideal_throughput else 0.0

    @property
    def bottleneck(self) -> int:
        """Index of the slowest segment."""
        return max(range(len(self.segments)), key=lambda i: self.segments[i].mean_ms)

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "efficiency": self.efficiency, "bottleneck": self.bottleneck}


COLUMNS = ("segment", ">on TPU", ">on-chip", ">off-chip", ">input", ">output", ">time", ">of slowest")
"""The second is operators on the Edge TPU of operators in the segment."""


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
        )
        for index, segment in enumerate(report.segments)
    ]


def size(count: int) -> str:
    """Bytes as the vendor's compiler prints them: 1024-based, two decimals, ``B``/``KiB``/``MiB``."""
    if count < 1024:
        return f"{count:.2f}B"
    return f"{count / 1024:.2f}KiB" if count < 1024**2 else f"{count / 1024**2:.2f}MiB"
