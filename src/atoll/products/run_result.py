"""What a run of compiled segments on their devices gave: times, statistics, and some inputs with their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.products.stage_stats import StageStats
from atoll.products.tensor_spec import Array

Tensors = Mapping[str, Array]
"""By name."""


@dataclass(frozen=True, slots=True)
class SegmentRun:
    """What one segment did on all its devices."""

    devices: tuple[str, ...]
    """Their paths."""
    stages: tuple[StageStats, ...]
    """One per device."""
    modelled_s: float | None
    """The latency that its virtual devices model; None where nothing is modelled."""
    late_share: float
    """Share of the inferences that this CPU was too slow for to be in real time, 0 to 1."""

    @property
    def count(self) -> int:
        """How many inferences."""
        return sum(stage.count for stage in self.stages)

    @property
    def mean_s(self) -> float:
        """The mean time of one inference on one device."""
        return sum(stage.total_s for stage in self.stages) / max(self.count, 1)

    @property
    def p95_s(self) -> float:
        """The 95th percentile of the device where that is longest."""
        return max(stage.p95_s for stage in self.stages)

    @property
    def period_s(self) -> float:
        """Seconds per inference with all its devices."""
        return 1 / sum(1 / stage.mean_s for stage in self.stages if stage.mean_s)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What happened; times in seconds."""

    inferences: int
    first_result_s: float
    """From the first push to the first result."""
    wall_s: float
    """From the first push to the last result."""
    segments: tuple[SegmentRun, ...]
    advice: str
    """What limits the throughput, and what would help."""
    sample: tuple[tuple[Tensors, Tensors], ...]
    """The first inputs with their outputs."""
    virtual: bool
    """Whether any device was a virtual one."""
    all_virtual: bool
    real_time: bool
    """Virtual devices took as long as modelled, or longer."""
    interpreters_per_device: int
    targets: tuple[str, ...]
    """Names of the hosts that latencies are modelled for."""
