"""Modelled times of a model's segments → the profile as rows for people and fields for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from atoll.estimate.accuracy import Accuracy, error_sentence

PARTS = ("fixed", "transfer", "instructions", "compute", "stream", "cpu")
"""What the time of a segment consists of, in the order of the bar."""
_MARKS = dict(zip(PARTS, "·▒-█▓c"))
_BAR_CELLS = 40


@dataclass(frozen=True, slots=True)
class OperatorProfile:
    """One operator of a segment; times in ms per inference."""

    segment: int
    index: int
    kind: str
    name: str
    """Its first output."""
    on_tpu: bool
    macs: int
    parameter_bytes: int
    """As laid out for the chip; 0 on the CPU."""
    placement: str
    """``cached``, ``streamed``, or empty: no parameters on the Edge TPU."""
    compute_ms: float
    stream_ms: float
    """Its streamed parameters on the bus, while streamed operators compute."""
    transfer_ms: float
    """Its part of the inputs and outputs of the Edge TPU, and of the host's work on them."""
    ms: float
    """What it adds to the segment's total: of compute and stream only the one that the Edge TPU waits for."""
    bound: str
    """What keeps it from being faster: ``compute``, ``stream``, ``transfer``, ``cpu`` or ``nothing``."""
    how: str
    """``modelled``, or for operators of the CPU ``estimated`` or ``measured``."""


@dataclass(frozen=True, slots=True)
class SegmentProfile:
    """One segment on one Edge TPU; times in ms per inference. The parts in :data:`PARTS` add up to the total."""

    name: str
    cached_bytes: int
    streamed_bytes: int
    instruction_bytes: float
    fixed_ms: float
    """An inference of next to nothing."""
    transfer_ms: float
    instructions_ms: float
    compute_ms: float
    """Of the Edge TPU, as far as nothing is waited for but itself."""
    stream_ms: float
    """Streamed parameters, where the Edge TPU waits for them."""
    cpu_ms: float
    total_ms: float
    """With the parameters cached, on a single device."""
    load_ms: float
    """The first inference after another model takes this much longer."""
    stage_ms: float
    """Device time as a stage of its pipeline, where transfers take another time than on a single device."""

    @property
    def bound(self) -> str:
        """The largest part."""
        return max(PARTS, key=self.part)

    def part(self, name: str) -> float:
        """A part in ms, by its name in :data:`PARTS`."""
        return float(getattr(self, f"{name}_ms"))


@dataclass(frozen=True, slots=True)
class Run:
    """A simulated run of the pipeline, filling and draining included."""

    inferences: int
    total_ms: float
    mean_latency_ms: float
    max_latency_ms: float
    device_utilization: tuple[float, ...]
    """Per segment, 0 to 1."""
    host_utilization: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What one inference of a model takes, and how that was found out."""

    model: str
    target: str
    description: str
    """Of the target."""
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
    simulated: Run
    how: tuple[str, ...]
    """How each number was obtained."""
    accuracy: Accuracy | None
    """None: nobody has compared this target with measurements."""

    @property
    def throughput(self) -> float | None:
        """Inferences per second in steady state; None when nothing in the model takes any time."""
        return 1e3 / self.interval_ms if self.interval_ms else None

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        for segment, item in zip(content["segments"], self.segments):
            segment["bound"] = item.bound
        return {**content, "throughput": self.throughput}

    def provenance(self) -> list[str]:
        """The sentences that go with every prediction."""
        return [*self.how, f"Error: {error_sentence(self.accuracy)}."]


OPERATOR_COLUMNS = (
    "operator", "runs on", ">MACs", ">parameters", "placement", ">compute", ">stream", ">transfer", ">ms", "bound by",
)  # fmt: skip
SEGMENT_COLUMNS = ("segment", *(f">{part}" for part in PARTS), ">total ms", ">load ms", "bar")
LEGEND = "bar: " + "  ".join(f"{mark} {part}" for part, mark in _MARKS.items())


def operator_rows(operators: Sequence[OperatorProfile]) -> list[tuple[str, ...]]:
    """In the order of :data:`OPERATOR_COLUMNS`; times in ms."""
    return [
        (
            f"#{item.index} {item.kind}",
            "Edge TPU" if item.on_tpu else f"CPU ({item.how})",
            f"{item.macs:,}",
            f"{item.parameter_bytes:,}" if item.parameter_bytes else "",
            item.placement,
            f"{item.compute_ms:.4f}",
            f"{item.stream_ms:.4f}" if item.stream_ms else "",
            f"{item.transfer_ms:.4f}" if item.transfer_ms else "",
            f"{item.ms:.4f}",
            item.bound,
        )
        for item in operators
    ]


def segment_rows(segments: Sequence[SegmentProfile]) -> list[tuple[str, ...]]:
    """In the order of :data:`SEGMENT_COLUMNS`; bars have one scale, that of the slowest segment."""
    longest = max((segment.total_ms for segment in segments), default=0.0)
    return [
        (
            segment.name,
            *(f"{segment.part(part):.3f}" for part in PARTS),
            f"{segment.total_ms:.3f}",
            f"{segment.load_ms:.2f}",
            bar([segment.part(part) for part in PARTS], longest),
        )
        for segment in segments
    ]


def bar(parts: Sequence[float], longest: float, cells: int = _BAR_CELLS) -> str:
    """The parts side by side as marks; ``longest`` would fill all the cells.

    Cells are shared out by where the parts end, so that rounding errors do not add up.
    """
    if longest <= 0:
        return ""
    text, end = "", 0.0
    for part, mark in zip(parts, _MARKS.values()):
        end += part
        text += mark * (round(end / longest * cells) - len(text))
    return text


CSV_COLUMNS = tuple(OperatorProfile.__dataclass_fields__)


def operators_csv(profile: Profile) -> str:
    """One row per operator, with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows([getattr(item, name) for name in CSV_COLUMNS] for item in profile.operators)
    return text.getvalue()
