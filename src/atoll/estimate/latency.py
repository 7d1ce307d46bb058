"""A workload and a target → seconds, for virtual devices that take as long as real ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from atoll.device.virtual.virtual_device import Invocation
from atoll.estimate import timing_of
from atoll.estimate.workload import WorkloadSource, workload
from atoll.hardware.host import Target
from atoll.model.load import ModelLike


def latency_function(
    source: WorkloadSource, target: Target, *, original: ModelLike | None = None
) -> Callable[[Invocation], float]:
    """What ``VirtualEdgeTpu.latency`` takes: seconds of an invocation by the clock, load and link that it meets.

    Operators of the CPU are left out: whoever waits for this time runs them. In a file with several regions each
    invocation takes the mean of them. Raises as :func:`workload`.
    """
    work = workload(source, original)
    wanted = work.demand

    @functools.lru_cache(maxsize=64)
    def seconds(clock_mhz: float, link_slowdown: float, loaded_bytes: int) -> float:
        slow = _slowed(target, link_slowdown)
        timing = timing_of(wanted, slow, clock_mhz=clock_mhz, instruction_bytes=work.instruction_bytes)
        ms = (timing.total_ms - timing.cpu_ms) / max(1, len(work.regions))
        if loaded_bytes:
            ms += slow.bus.load_fixed_ms + loaded_bytes / slow.bus.load_mb_s / 1e3
        return ms / 1e3

    return lambda met: seconds(met.clock_mhz, met.link_slowdown, met.loaded_bytes)


def _slowed(target: Target, factor: float) -> Target:
    """The target with a bus of which every rate is divided by ``factor``."""
    bus = target.bus
    rates = {
        name: getattr(bus, name) / factor for name in ("parameters_mb_s", "input_mb_s", "output_mb_s", "load_mb_s")
    }
    return replace(target, bus=replace(bus, **rates))
