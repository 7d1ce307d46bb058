"""A compiled file → the seconds of one inference: by the timing model, or on a device."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atoll.device import EdgeTpu, VirtualEdgeTpu
from atoll.device.timed_run import Inferences, timed_run
from atoll.device.watch import SILENCE_S
from atoll.estimate import pipeline_timing, timing_of
from atoll.estimate.workload import Workload, workload
from atoll.hardware.host import Target
from atoll.model.compiled import is_compiled
from atoll.model.tflite import read_model
from atoll.version import __version__

WARM = 2
"""Inferences before those that count: the first one loads the parameters."""
TIMED = Inferences(WARM + 10, WARM + 100, seconds=1.0)
"""The others count, by their median."""


class InferenceTimer(Protocol):
    """What finds the seconds of one inference of a compiled file: the timing model, or a device."""

    @property
    def kind(self) -> str:
        """The kind of device, with all that its answers depend on beside the file and the bus."""

    @property
    def bus(self) -> str:
        """What the device hangs on: ``pcie``, ``usb3`` or ``usb2``."""

    @property
    def name(self) -> str:
        """The name of the device or the model, for the strategy of a partition."""

    @property
    def times(self) -> str:
        """What its times are times of."""

    def seconds(self, compiled: Path, source: Path) -> float:
        """Seconds of one inference with the parameters loaded; ``source`` is the segment before it was compiled.

        Raises:
            DeviceError: the device cannot go on.
            AtollError: the file cannot be run.
        """


@dataclass(frozen=True, slots=True)
class ModelTimer:
    """The timing model: nothing is run. In a pipeline of ``stages``, the numbers are those of ``atoll partition``."""

    target: Target
    stages: int = 1

    @property
    def kind(self) -> str:
        """The model's version, the number of stages, and the target's numbers."""
        return f"timing model {__version__}, {self.stages} stages, {self.target!r}"

    @property
    def bus(self) -> str:
        """That of the target."""
        return self.target.bus.kind

    @property
    def name(self) -> str:
        """The timing model, by its bus."""
        return f"timing model of {self.bus}"

    @property
    def times(self) -> str:
        """What its times are times of."""
        return f"modelled for {self.target.name} ({self.target.description}); nothing was run"

    def seconds(self, compiled: Path, source: Path) -> float:
        """Seconds of one stage of the pipeline, with the host's work for it."""
        if is_compiled(read_model(compiled)):
            work = workload(compiled, source)
        else:
            work = Workload(compiled.name, read_model(source), 0, (), {}, None, "")
        timing = timing_of(work.demand, self.target, instruction_bytes=work.instruction_bytes)
        stage = pipeline_timing([timing] * self.stages, self.target).stages[0]
        return (stage.device_ms + stage.host_ms) / 1e3


@dataclass(frozen=True, slots=True)
class DeviceTimer:
    """A device, real or virtual, by the clock of this machine; random inputs."""

    device: EdgeTpu
    silence_s: float = SILENCE_S
    """A device of which no inference ends for so long is given up."""

    @property
    def kind(self) -> str:
        """Real or virtual, and its type."""
        return f"{'virtual' if self.device.virtual else 'real'} {self.device.type}"

    @property
    def bus(self) -> str:
        """That of the device."""
        return self.device.bus

    @property
    def name(self) -> str:
        """The device's path."""
        return self.device.path

    @property
    def times(self) -> str:
        """What its times are times of."""
        return device_times([self.device])

    def seconds(self, compiled: Path, source: Path) -> float:
        """The median of one inference."""
        original = source if isinstance(self.device, VirtualEdgeTpu) else None
        with self.device.configured(real_time=True):
            spans = timed_run(compiled, self.device, TIMED, original=original, silence_s=self.silence_s)
        return statistics.median(end - begin for begin, end in spans[WARM:]) / 1e9


def device_times(devices: Sequence[EdgeTpu]) -> str:
    """What times measured on these devices are times of."""
    if not all(device.virtual for device in devices):
        return "wall-clock times of Edge TPUs on this host" + (
            " and, for virtual ones, of its CPU" if any(device.virtual for device in devices) else ""
        )
    return (
        f"virtual devices: wall-clock times of CPU kernels on this machine's {os.cpu_count()} cores, "
        "not those of an Edge TPU"
    )
