"""How to run a deployment → what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy.typing as npt

from atoll.device import EdgeTpu
from atoll.hardware.host import Target
from atoll.pipeline import Pipeline, StageStats
from atoll.pipeline.monitoring.trace import Trace

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

STALL_S = 120.0
"""The slowest segment of a network known to us takes seconds, even on a CPU."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a deployment."""

    inferences: int = 100
    verify: int = 3
    """The first outputs, so many, are compared with those of the uncut model."""
    devices: tuple[str, ...] = ()
    """Which may be used (``usb``, ``pci:1``, a path); empty: all, real ones first."""
    timeout: float | None = 0
    """Seconds to wait for busy devices; None: as long as it takes."""
    on_wait: Callable[[str], object] | None = None
    target: Target | None = None
    """A host whose modelled latencies virtual devices report."""
    by_bus: Mapping[str, Target] = field(default_factory=dict)
    """The same, per bus of the device, where there is no ``target``."""
    real_time: bool = False
    """Virtual devices take as long as modelled."""
    clock: Literal["max", "standard", "reduced"] | None = None
    """Of the devices; None: ``max`` for virtual ones, what the runtime chooses for real ones."""
    per_device: int | None = None
    """Interpreters per device; None: 2 on virtual devices in real time, 1 elsewhere."""
    stall_timeout: float | None = STALL_S
    """Seconds after which an inference of one segment counts as failed; None: never."""
    original: str | None = None
    """The uncompiled model of compiled files."""
    trace: Trace | None = None
    watch: Callable[[Pipeline], AbstractContextManager[object]] = field(default=nullcontext)
    """Entered around the run, with the running pipeline."""

    def target_of(self, device: EdgeTpu) -> Target | None:
        """What the latency of a device is modelled for."""
        return (self.target or self.by_bus.get(device.bus)) if device.virtual else None


@dataclass(frozen=True, slots=True)
class Run:
    """What happened: times in seconds, and the inputs and outputs kept for the comparison."""

    inferences: int
    first_result_s: float
    wall_s: float
    stages: tuple[StageStats, ...]
    advice: str
    """What limits the throughput, and what would help."""
    modelled_s: tuple[float, ...]
    """Per segment, the latency that its virtual device models; empty without a target."""
    late: tuple[float, ...]
    """Per segment, the share of inferences that this CPU was too slow for to be in real time."""
    sample: tuple[tuple[Tensors, Tensors], ...]
