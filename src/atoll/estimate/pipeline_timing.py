"""Timings of segments, one device or more each → :class:`PipelineTiming`: the pipeline's latency and rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.estimate.time_model import Timing
from atoll.hardware.host import Target


@dataclass(frozen=True, slots=True)
class PipelineStage:
    """One segment: a device is busy ``device_ms`` per item, the host ``host_ms`` before that."""

    device_ms: float
    host_ms: float = 0.0
    """Serial: one stage at a time has it, as with Python's interpreter lock."""
    replicas: int = 1
    """Devices that hold the same segment and take turns."""

    def __post_init__(self) -> None:
        if not (self.device_ms >= 0 and self.host_ms >= 0 and self.replicas >= 1):
            raise ValueError(f"{self} is not possible")


@dataclass(frozen=True, slots=True)
class PipelineTiming:
    """A pipeline with queues that are never the bottleneck."""

    stages: tuple[PipelineStage, ...]

    @property
    def latency_ms(self) -> float:
        """One item through the empty pipeline."""
        return sum(stage.device_ms + stage.host_ms for stage in self.stages)

    @property
    def stage_intervals_ms(self) -> tuple[float, ...]:
        """Per stage: time between two items if nothing else limits it."""
        return tuple((stage.device_ms + stage.host_ms) / stage.replicas for stage in self.stages)

    @property
    def host_interval_ms(self) -> float:
        """Host work per item over all stages."""
        return sum(stage.host_ms for stage in self.stages)

    @property
    def interval_ms(self) -> float:
        """Time between two results in steady state: that of the slowest stage, or of the host."""
        return max(*self.stage_intervals_ms, self.host_interval_ms)

    @property
    def bottleneck(self) -> int | None:
        """The slowest stage, None when it is the host."""
        intervals = self.stage_intervals_ms
        return None if self.host_interval_ms > max(intervals) else intervals.index(max(intervals))


def pipeline_timing(segments: Sequence[Timing], target: Target, replicas: Sequence[int] = ()) -> PipelineTiming:
    """The pipeline of ``segments``, each on ``replicas`` devices of its own (one if not given).

    In a pipeline of two and more stages the tensors that cross the bus take another time than on a single device;
    the factors (``host.boundary_2`` ...) are measured, their cause is not known.

    Raises:
        ValueError: no segments, or the wrong number of replicas.
    """
    counts = replicas or [1] * len(segments)
    if not segments or len(counts) != len(segments):
        raise ValueError(f"{len(counts)} numbers of replicas for {len(segments)} segments")
    host = target.host
    factor = (1.0, host.boundary_2, host.boundary_3, host.boundary_4)[min(len(segments), 4) - 1]
    staging = host.stage_ms if len(segments) > 1 else 0.0
    return PipelineTiming(
        tuple(
            PipelineStage(max(0.0, timing.total_ms + (factor - 1) * timing.transfer_ms), staging, count)
            for timing, count in zip(segments, counts)
        )
    )
