"""What ``atoll partition`` says: where a model is cut, what the segments take, and why there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from atoll.estimate.accuracy import Accuracy
from atoll.products.result import Result
from atoll.products.table import Column, Table
from atoll.reporting.measured_search import MeasuredSearch


@dataclass(frozen=True, slots=True)
class PartitionCut:
    """What crosses from the segments before a cut to those behind it."""

    before_operator: int | None
    """None where segments are not contiguous in execution order."""
    tensors: tuple[str, ...]
    bytes: int

    def describe(self) -> str:
        """The first tensor, and how many more there are."""
        if len(self.tensors) < 2:
            return "".join(self.tensors)
        return f"{self.tensors[0]} and {len(self.tensors) - 1} more"


@dataclass(frozen=True, slots=True)
class PartitionSegment:
    """One segment and what runs it. Times in ms per inference on one device, with the host's work for a stage."""

    operators: tuple[int, int] | None
    """From and up to; None where they are not contiguous."""
    runs: tuple[tuple[int, int], ...]
    """The operators as ranges, from and up to."""
    device: str
    """The kind of Edge TPU, ``any`` where all are alike."""
    replicas: int
    ms: float
    use: float
    """The share of time in which its devices are busy at full rate, 0 to 1."""
    parameter_bytes: int
    """As laid out for the chip, whether they stay on it or not."""
    off_chip_bytes: int
    """Parameters that cross the bus with every inference."""

    def describe(self) -> str:
        """Its operators."""
        return ", ".join(f"{start}-{end - 1}" if end - start > 1 else f"{start}" for start, end in self.runs)


@dataclass(frozen=True, slots=True)
class PartitionSearch:
    """What was searched, and what is proven."""

    exact: bool
    """Whether every way to cut was looked at."""
    sets_before_a_cut: int
    """How many sets of operators were looked at as what lies before a cut."""
    contiguous: bool
    """Whether the cuts are cuts of the execution order."""
    along_branches: bool
    """Whether others were looked at."""
    bound_of: str
    """``interval_ms`` or ``latency_ms``."""
    lower_bound_ms: float
    """No way to cut undercuts it."""
    gap: float
    """By how much the result may be worse than the best there is, as a share of the bound."""

    def describe(self) -> str:
        """How good the result is for certain."""
        count = self.sets_before_a_cut
        if not self.along_branches:
            best = f"No other cuts in execution order are better ({count - 2:,} places to cut)."
            return f"{best} Cuts along branches were not tried."
        if self.exact and self.gap <= 1e-9:
            every = f"all {count:,} sets of operators that can come before a cut were searched"
            return f"Under the model no pipeline of this kind is better: {every}."
        what = "latency" if self.bound_of == "latency_ms" else "time between results"
        how_many = "All" if self.exact else "Not all, but"
        return (
            f"{how_many} {count:,} sets of operators that can come before a cut were searched. With any cuts the "
            f"{what} is at least {self.lower_bound_ms:.3f} ms; the gap is {self.gap:.1%}."
        )


@dataclass(frozen=True, slots=True)
class FewerDevices:
    """What the fewest devices do that are nearly as good."""

    devices: int
    interval_ms: float
    latency_ms: float
    worse: float
    """By how much longer the interval is: 0.1 is 10 %."""

    def describe(self) -> str:
        """Why they may do."""
        return (
            f"{self.devices} Edge TPU{'s' * (self.devices != 1)} may do as well: {self.interval_ms:.3f} ms between "
            f"results ({self.worse:+.1%}), {self.latency_ms:.3f} ms through the empty pipeline. "
            "Predictions are not that exact."
        )


@dataclass(frozen=True, slots=True)
class PartitionNeighbour:
    """What would be, with a cut one place further; where segments are not contiguous, with an operator beyond it."""

    cut: int
    """Between segments ``cut`` and ``cut + 1``."""
    before_operator: int | None
    """The operator before which it would be; None where segments are not contiguous."""
    tensor: str
    """Behind which the cut would be, or what the operator writes that would be in ``to_segment``."""
    to_segment: int
    slowest_ms: float
    slowest_worse: float
    """By how much the slowest stage would take longer: 0.1 is 10 %."""
    latency_worse: float


@dataclass(frozen=True, slots=True, repr=False)
class PartitionReport(Result):
    """Where a model is cut, and what comes of it."""

    schema: ClassVar[str] = "partition_report/2"

    model: str
    target: str
    strategy: str
    """How the cuts were chosen."""
    objective: str | None
    """``throughput`` or ``latency``; None where nothing was searched."""
    tpus: int
    """Edge TPUs that there are."""
    max_replicas: int
    """Edge TPUs that a segment may have."""
    places_to_cut: int
    cuts: tuple[PartitionCut, ...]
    segments: tuple[PartitionSegment, ...]
    bottleneck: int | None
    """The slowest segment; None when it is the host."""
    interval_ms: float
    """Between two results, in steady state."""
    throughput: float
    """Inferences per second."""
    latency_ms: float
    """One inference through the empty pipeline."""
    search: PartitionSearch | None
    """None where nothing was searched."""
    fewer: FewerDevices | None
    """None where every device is worth it, or nothing was searched."""
    neighbours: tuple[PartitionNeighbour, ...]
    accuracy: Accuracy | None
    """What is known about the error of such a prediction."""
    how: tuple[str, ...]
    """How the numbers were obtained."""
    file: str | None
    """Where the partition was written to, or read from."""
    findings: tuple[str, ...] = ()
    """What is odd about a partition that was read."""
    measured: MeasuredSearch | None = None
    """The times of the segments are measured, and the cuts were found by that; None: everything is modelled."""

    def answer(self) -> tuple[str, ...]:
        """How fast it is and why not faster, which Edge TPUs are not used, and where the partition is."""
        slowest = "the host" if self.bottleneck is None else f"segment {self.bottleneck}"
        texts = [
            f"{self.interval_ms:.3f} ms between results ({self.throughput:.1f}/s), bound by {slowest}; "
            f"{self.latency_ms:.3f} ms through the empty pipeline."
        ]
        if self.objective is None:
            of = f"{self.file} is a partition of {self.model} into {len(self.segments)} segments."
            return (of, *texts, *self.findings)
        if self.measured is not None:
            texts = [*self.measured.sentences(), *texts]
        texts += self._left_over()
        if self.fewer is not None:
            texts.append(self.fewer.describe())
        return (*texts, *([f"Partition: {self.file}"] if self.file else []))

    def tables(self) -> tuple[Table, ...]:
        """The segments with the cut behind each, and what would be one place further."""
        mixed = any(segment.device != "any" for segment in self.segments)
        cuts = [*((cut.describe(), cut.bytes) for cut in self.cuts), (None, None)]
        segments = Table.of(
            (
                Column("segment", "number"),
                Column("operators"),
                Column("bus"),
                Column("Edge TPUs", "number", importance=2),
                Column("time", "number", "ms", 3),
                Column("modelled", "number", "ms", 3),
                Column("measured / modelled", "number", digits=2, importance=1),
                Column("use", "share"),
                Column("parameters", "bytes", importance=3),
                Column("off-chip", "bytes", importance=1),
                Column("cut behind it crosses", "name"),
                Column("crossing", "bytes", importance=1),
            ),
            [
                (
                    number,
                    segment.describe(),
                    segment.device if mixed else None,
                    segment.replicas,
                    segment.ms,
                    modelled,
                    segment.ms / modelled if modelled else None,
                    segment.use,
                    segment.parameter_bytes,
                    segment.off_chip_bytes,
                    *cut,
                )
                for number, (segment, modelled, cut) in enumerate(zip(self.segments, self._modelled_ms(), cuts))
            ],
            "Segments",
        )
        return (segments, self._neighbour_table()) if self.neighbours else (segments,)

    def basis(self) -> tuple[str, ...]:
        """What is proven, and how the numbers were obtained."""
        return (*([self.search.describe()] if self.search else []), *self.how)

    def _modelled_ms(self) -> Sequence[float | None]:
        """A row for each segment, with the measured time."""
        return [each.modelled_ms for each in self.measured.segments] if self.measured else [None] * len(self.segments)

    def _neighbour_table(self) -> Table:
        return Table.of(
            (
                Column("cut", "number"),
                Column("behind instead", "name"),
                Column("moved", "name"),
                Column("to segment", "number"),
                Column("slowest", "number", "ms", 3),
                Column("slower", "change", digits=1),
                Column("latency", "change", digits=1, importance=1),
            ),
            [
                (
                    item.cut,
                    item.tensor if item.before_operator is not None else None,
                    item.tensor if item.before_operator is None else None,
                    item.to_segment if item.before_operator is None else None,
                    item.slowest_ms,
                    item.slowest_worse,
                    item.latency_worse,
                )
                for item in self.neighbours
            ],
            "Why not one place further",
        )

    def _left_over(self) -> Iterator[str]:
        """Why not all of the Edge TPUs asked for are used, and what may use them."""
        places, used = self.places_to_cut, sum(segment.replicas for segment in self.segments)
        if self.tpus > (places + 1) * self.max_replicas:
            yield f"The model has {places} places to cut, which make {places + 1} segments at most."
        if used == self.tpus or self.search is None:
            return
        each = "one Edge TPU" if self.max_replicas == 1 else f"up to {self.max_replicas} Edge TPUs"
        more = f"more than {used} Edge TPU{'s' * (used != 1)}"
        verdict = f"there is no use for {more}" if self.search.exact else f"no use for {more} was found"
        yield f"As a pipeline, {each} per segment, {verdict}."
        if self.objective == "throughput" and self.max_replicas < self.tpus:
            yield (
                "Several Edge TPUs for a segment, or copies of the whole model, may be faster: see --replicas, and "
                "atoll plan."
            )
