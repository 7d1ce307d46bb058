"""What ``atoll run`` says: whether the outputs are right, how fast the pipeline was, and what each segment did."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from atoll.compiler.deployment import Deployment, SegmentFile
from atoll.compiler.external.agreement import Agreement, sentences
from atoll.estimate.accuracy import Accuracy, error_sentence, held_out_error
from atoll.hardware.host import Target
from atoll.products.partition import EQUAL_PARAMETERS
from atoll.products.result import Result
from atoll.products.run_result import RunResult, SegmentRun
from atoll.products.stage_stats import StageStats
from atoll.products.table import Column, Table, Value
from atoll.reporting.agreement_table import agreement_table
from atoll.reporting.comparison import Deviation

LATE = 0.05
"""The share of late inferences from which on a segment is not in real time."""


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One stage of the pipeline; bytes and milliseconds."""

    file: str
    device: str
    """Paths of its devices."""
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
    """What a device took for one inference: the CPU's kernels, a modelled time that was waited for, or a real one."""
    p95_ms: float
    modelled_ms: float | None
    """What the Edge TPU and its bus are modelled to take, without the host of a pipeline; None without a target."""
    late_share: float
    """Share of inferences in real time that this CPU was too slow for."""
    share_of_bottleneck: float
    """This stage's time per inference, with all its devices, over that of the slowest stage."""


@dataclass(frozen=True, slots=True, repr=False)
class RunReport(Result):
    """A whole run of ``atoll run``."""

    schema: ClassVar[str] = "run/1"

    model: str
    strategy: str
    """How the model was cut."""
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
    accuracies: tuple[Accuracy | None, ...]
    """What is known about the error of the model for each of them."""
    virtual: bool
    """Whether any device was a virtual one."""
    real_time: bool
    """Virtual devices took as long as modelled, or longer."""
    interpreters_per_device: int
    segments: tuple[SegmentReport, ...]
    stages: tuple[StageStats, ...]
    """What each device did."""
    agreements: tuple[Agreement, ...] = ()
    """What the vendor's compiler says of each segment, beside our prediction."""
    segments_dir: str = ""
    """Where the compiled segments are kept; empty: nowhere."""

    @property
    def efficiency(self) -> float:
        """The throughput as a share of what the slowest segment alone would allow."""
        return self.throughput / self.ideal_throughput if self.ideal_throughput else 0.0

    @property
    def bottleneck(self) -> int:
        """Index of the slowest segment."""
        return max(range(len(self.segments)), key=lambda i: self.segments[i].share_of_bottleneck)

    @property
    def late_segments(self) -> tuple[int, ...]:
        """Segments whose kernels take longer on this CPU than the Edge TPU is modelled to take, in real time."""
        return tuple(n for n, segment in enumerate(self.segments) if self.real_time and segment.late_share > LATE)

    def to_dict(self) -> dict[str, Any]:
        """Every field, and which segment limits the throughput to what."""
        return {**Result.to_dict(self), "efficiency": self.efficiency, "bottleneck": self.bottleneck}

    def answer(self) -> tuple[str, ...]:
        """Whether the outputs are right, and how many of them came a second."""
        where = " on this machine's CPU" if self.virtual and not self.real_time else ""
        speed = (
            f"{self.throughput:.1f} inferences/s{where} over {self.inferences} inferences; segment {self.bottleneck} "
            f"is the slowest and alone would allow {self.ideal_throughput:.1f}/s ({self.efficiency:.0%} reached)."
        )
        return (self._proof(), speed, *self._late())

    def _proof(self) -> str:
        if not self.verified:
            return "Outputs were not compared: give the uncompiled model with --original."
        first = f"Outputs of the first {self.verified} inferences"
        if not self.deviations:
            return (
                f"{first} equal those of the uncut model bit for bit (both on LiteRT's built-in kernels, without "
                "XNNPACK)."
            )
        worst = max(self.deviations, key=lambda item: item.most)
        return (
            f"{first} differ from those of the uncut model on this CPU by at most {worst.most:g} steps "
            f"('{worst.output}', {worst.count} of {worst.size} values of inference {worst.inference}). The chip's "
            "arithmetic is its own."
        )

    def _late(self) -> tuple[str, ...]:
        if not self.late_segments:
            return ()
        which = f"segment{'s' if len(self.late_segments) > 1 else ''} {', '.join(map(str, self.late_segments))}"
        return (
            f"NOT in real time: this CPU takes longer than the Edge TPU for {which}; the column 'modelled' has the "
            "Edge TPU's times.",
        )

    def tables(self) -> tuple[Table, ...]:
        """Segments, devices, and the vendor's compiler's figures beside our prediction, where it compiled."""
        replicated = any(segment.replicas > 1 for segment in self.segments)
        columns = (
            Column("segment", "number"),
            Column("on TPU", importance=2),
            Column("on-chip", "bytes"),
            Column("off-chip", "bytes"),
            Column("input", "bytes", importance=3),
            Column("output", "bytes", importance=3),
            Column(self._clock(), "number", unit="ms", digits=2),
            Column("modelled", "number", unit="ms", digits=3),
            Column("of slowest", "share"),
            Column("Edge TPUs", "number"),
            Column("file", "name", importance=4),
        )
        rows: list[tuple[Value, ...]] = [
            (
                number,
                f"{segment.mapped_operators} of {segment.operators}",
                segment.on_chip_bytes,
                segment.off_chip_bytes,
                segment.input_bytes,
                segment.output_bytes,
                segment.mean_ms,
                segment.modelled_ms,
                segment.share_of_bottleneck,
                segment.replicas if replicated else None,
                segment.file,
            )
            for number, segment in enumerate(self.segments)
        ]
        tables = (Table.of(columns, rows, "Segments"), self._devices())
        return (*tables, agreement_table(self.agreements)) if self.agreements else tables

    def _devices(self) -> Table:
        columns = (
            Column("device", "name"),
            Column("segment", "number"),
            Column("inferences", "number"),
            Column("mean", "number", unit="ms", digits=2),
            Column("p95", "number", unit="ms", digits=2, importance=2),
            Column("busy", "share"),
            Column("waits for input", "share"),
            Column("for room", "share"),
        )
        rows = [
            (
                stage.device,
                stage.segment,
                stage.count,
                stage.mean_s * 1e3,
                stage.p95_s * 1e3,
                stage.busy_share,
                stage.wait_input_share,
                stage.wait_output_share,
            )
            for stage in self.stages
        ]
        return Table.of(columns, rows, "Devices: what they took, and how they spent the time")

    def _clock(self) -> str:
        """Whose time the measured column holds."""
        if not self.virtual:
            return "measured"
        return "real-time" if self.real_time else "CPU"

    def basis(self) -> tuple[str, ...]:
        """What the times are times of, how far off the modelled ones may be, and what would help."""
        lines = [f"Times: {self.times}."]
        lines += [
            f"Modelled for {name}: each segment by itself, without a pipeline's host (atoll profile --tpus has that). "
            f"Error: {error_sentence(accuracy)}."
            for name, accuracy in zip(self.targets, self.accuracies)
        ]
        if self.advice and not self.late_segments and (self.real_time or not self.virtual):  # else it is of this CPU
            lines.append(f"{self.advice[0].upper()}{self.advice[1:]}")
        if len(self.segments) > 1 and self.strategy == EQUAL_PARAMETERS:
            lines.append(
                "Cut into equal parameter bytes, as the vendor's compiler does; atoll partition finds better cuts."
            )
        if self.interpreters_per_device > 1:
            lines.append(
                f"{self.interpreters_per_device} interpreters per Edge TPU: tensors are copied while it works "
                "(--per-device 1 for one, as on real devices by default)."
            )
        if self.segments_dir:
            lines.append(f"The compiled segments are in {self.segments_dir}.")
        return (*lines, *(sentences(self.agreements) if self.agreements else ()))


def run_report(
    deployment: Deployment,
    result: RunResult,
    deviations: Sequence[Deviation] | None,
    targets: Sequence[Target] = (),
) -> RunReport:
    """Everything that a run showed.

    Args:
        deployment: What ran.
        result: How it ran.
        deviations: Outputs that differ from those of the uncut model; None: nothing was compared.
        targets: The hosts that latencies may be modelled for.
    """
    slowest = max(segment.period_s for segment in result.segments)
    used = {target.name: target for target in targets if target.name in result.targets}
    return RunReport(
        model=deployment.name,
        strategy=deployment.strategy,
        compiler=deployment.compiler,
        inferences=result.inferences,
        verified=0 if deviations is None else len(result.sample),
        deviations=tuple(deviations or ()),
        first_result_s=result.first_result_s,
        wall_s=result.wall_s,
        throughput=result.inferences / result.wall_s,
        ideal_throughput=1 / slowest,
        advice=result.advice,
        times=_times(result),
        targets=result.targets,
        accuracies=tuple(held_out_error(used[name], 1) for name in result.targets),
        virtual=result.virtual,
        real_time=result.virtual and result.real_time,
        interpreters_per_device=result.interpreters_per_device,
        segments=tuple(_segment_report(file, own, slowest) for file, own in zip(deployment.segments, result.segments)),
        stages=tuple(stage for segment in result.segments for stage in segment.stages),
        agreements=deployment.agreements,
    )


def _times(result: RunResult) -> str:
    if not result.virtual:
        return "measured on real Edge TPUs"
    if result.real_time:
        return "virtual devices in real time: each takes as long as modelled, or longer"
    return (
        f"virtual devices: wall-clock times of CPU kernels on this machine's {os.cpu_count()} cores, "
        "not those of an Edge TPU (what that would take: atoll plan, atoll profile, or --real-time)"
    )


def _segment_report(file: SegmentFile, own: SegmentRun, slowest_s: float) -> SegmentReport:
    return SegmentReport(
        file=file.path.name,
        device=", ".join(own.devices),
        replicas=len(own.devices),
        operators=file.operators,
        mapped_operators=file.mapped_operators,
        on_chip_bytes=file.on_chip_bytes,
        off_chip_bytes=file.off_chip_bytes,
        input_bytes=file.input_bytes,
        output_bytes=file.output_bytes,
        mean_ms=own.mean_s * 1e3,
        p95_ms=own.p95_s * 1e3,
        modelled_ms=None if own.modelled_s is None else own.modelled_s * 1e3,
        late_share=own.late_share,
        share_of_bottleneck=own.period_s / slowest_s,
    )
