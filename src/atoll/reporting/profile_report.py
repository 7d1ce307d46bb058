"""What ``atoll profile`` says: where the time of an inference goes, modelled, and measured beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from atoll.estimate.accuracy import Accuracy, error_sentence
from atoll.products.result import Result
from atoll.products.table import Column, Table
from atoll.reporting.measure_report import MeasureReport
from atoll.reporting.profile_parts import PARTS, OperatorProfile, SegmentProfile

_WORDS = {
    "fixed": "what every inference takes",
    "transfer": "inputs and outputs on the bus",
    "instructions": "instructions on the bus",
    "compute": "computing",
    "stream": "streamed parameters on the bus",
    "cpu": "operators on the CPU",
}


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """A simulated run of the pipeline, filling and draining included; times in ms."""

    inferences: int
    total_ms: float
    mean_latency_ms: float
    max_latency_ms: float
    device_utilization: tuple[float, ...]
    """Per segment, 0 to 1."""
    host_utilization: float
    """0 to 1."""


@dataclass(frozen=True, slots=True, repr=False)
class ProfileReport(Result):
    """What ``atoll profile`` says: what one inference of a model takes, and how that was found out; times in ms."""

    schema: ClassVar[str] = "profile/1"

    model: str
    target: str
    """The host profile that the times are modelled with."""
    description: str
    """A sentence about the target."""
    bus: str
    clock_mhz: float
    segments: tuple[SegmentProfile, ...]
    operators: tuple[OperatorProfile, ...]
    latency_ms: float
    """One inference through the empty pipeline."""
    interval_ms: float
    """Between two results in steady state; one device: the latency."""
    bottleneck: int | None
    """The slowest segment; None when the host is."""
    simulated: SimulatedRun
    how: tuple[str, ...]
    """How each number was obtained."""
    accuracy: Accuracy | None
    """None: nobody has compared this target with measurements."""
    measured: MeasureReport | None = None
    """What was measured on a device, if one was named."""

    @property
    def throughput(self) -> float | None:
        """Inferences per second in steady state; None when nothing in the model takes any time."""
        return 1e3 / self.interval_ms if self.interval_ms else None

    def to_dict(self) -> dict[str, Any]:
        """Every field, with the throughput and what bounds each segment."""
        content = Result.to_dict(self)
        for segment, item in zip(content["segments"], self.segments):
            segment["bound"] = item.bound
        return {**content, "throughput": self.throughput}

    def answer(self) -> tuple[str, ...]:
        """What an inference takes, and what most of it is."""
        measured = self.measured.answer() if self.measured else ()
        if len(self.segments) == 1:
            (segment,) = self.segments
            first = f" The first inference takes {segment.load_ms:.2f} ms more, to load the parameters."
            return (
                f"{self.latency_ms:.3f} ms per inference on {self.target}, most of it {_WORDS[segment.bound]}."
                f"{first if segment.load_ms else ''}",
                *measured,
            )
        slowest = "the host" if self.bottleneck is None else f"segment {self.bottleneck}"
        return (
            f"{self.interval_ms:.3f} ms between results on {len(self.segments)} x {self.target}, bound by {slowest}; "
            f"{self.latency_ms:.3f} ms through the empty pipeline; {self.simulated.inferences} inferences take "
            f"{self.simulated.total_ms / 1e3:.3f} s.",
            *measured,
        )

    def tables(self) -> tuple[Table, ...]:
        """Measured beside modelled, if that was asked for; the segments; their operators."""
        measured = self.measured.tables() if self.measured else ()
        return (*measured, self._segment_table(), self._operator_table())

    def basis(self) -> tuple[str, ...]:
        """How the numbers were obtained, and what is known about their error."""
        measured = self.measured.basis() if self.measured else ()
        return (*measured, *self.how, f"Error: {error_sentence(self.accuracy)}.")

    def _segment_table(self) -> Table:
        several = len(self.segments) > 1
        importance = {"fixed": 1, "cpu": 1}
        columns = (
            Column("segment", "number"),
            Column("file", "name", importance=4),
            *(Column(part, "number", unit="ms", digits=3, importance=importance.get(part, 0)) for part in PARTS),
            Column("total", "number", unit="ms", digits=3),
            Column("load", "number", unit="ms", digits=2, importance=2),
            Column("bound by", importance=3),
        )
        rows = [
            (
                number if several else None,
                item.name,
                *(item.part(part) or None for part in PARTS),
                item.total_ms,
                item.load_ms,
                item.bound,
            )
            for number, item in enumerate(self.segments)
        ]
        return Table.of(columns, rows, "Segments (load comes on top in the first inference)")

    def _operator_table(self) -> Table:
        columns = (
            Column("segment", "number"),
            Column("operator", "name"),
            Column("runs on", "name"),
            Column("MACs", "number", importance=5),
            Column("parameters", "number", importance=4),
            Column("placement", importance=3),
            Column("compute", "number", unit="ms", digits=4, importance=2),
            Column("stream", "number", unit="ms", digits=4, importance=1),
            Column("transfer", "number", unit="ms", digits=4, importance=1),
            Column("total", "number", unit="ms", digits=4),
            Column("bound by"),
        )
        rows = [
            (
                item.segment if len(self.segments) > 1 else None,
                f"#{item.index} {item.kind}",
                "Edge TPU" if item.on_tpu else f"CPU ({item.how})",
                item.macs,
                item.parameter_bytes or None,
                item.placement,
                item.compute_ms,
                item.stream_ms or None,
                item.transfer_ms or None,
                item.ms,
                item.bound,
            )
            for item in self.operators
        ]
        return Table.of(columns, rows, "Operators")
