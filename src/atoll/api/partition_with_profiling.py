"""The vendor's partitioner, its faults mended: a model → compiled segments of about the same measured latency."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from atoll.api.partition_measured import TIMEOUT, effort_of
from atoll.api.segment_compilers import segment_compiler
from atoll.api.segment_measurer import SegmentMeasurer, devices_to_measure, segment_measurer
from atoll.errors import UsageError
from atoll.files import output_directory
from atoll.hardware.buses import BUSES, DEFAULT_BUS
from atoll.hardware.host import load_target
from atoll.model.load import ModelLike, load
from atoll.partitioning import equal_parameters
from atoll.partitioning.best_cuts import cut_places
from atoll.partitioning.measured.bisection import profiled_cuts
from atoll.products.arguments import require_types
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.reporting.profiled_partition_report import ProfiledPartitionReport, ProfiledSegment
from atoll.support import require_compilable

DEVICE_TYPES = {"any": None, "pcionly": "pci", "usbonly": "usb"}
"""The vendor's names of what to use → the bus."""
_HOSTS = {"any": BUSES[DEFAULT_BUS].host, "pcionly": BUSES["pcie"].host, "usbonly": BUSES["usb3"].host}
"""The host that the timing model takes for each, when none is named."""
_KEPT_BYTES = 2 << 30
"""Compiled files that stay until the end, because they may be the result."""


def partition_with_profiling(
    model: ModelLike,
    *,
    segments: int,
    output: str | Path,
    device_type: str = "any",
    device: str | None = None,
    target: str | Path | None = None,
    compiler: str | None = None,
    timeout: int | None = None,
    threshold_ns: int = 1_000_000,
    lower_ns: int | None = None,
    upper_ns: int | None = None,
    step: int = 1,
    delegate_step: int = 1,
    store: str | Path | None = None,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> ProfiledPartitionReport:
    """Cut a model into segments of about the same latency, as compiled and measured, and write them.

    The search begins with segments of equal parameter bytes and bisects the latency of the slowest one.

    Args:
        model: A model, or the path of a ``.tflite`` file, not compiled.
        segments: How many.
        output: The directory for the segments and what they compile to.
        device_type: ``any``, ``pcionly`` or ``usbonly``.
        device: As of :func:`atoll.partition`: ``usb``, ``pci:0``, a path, or ``model``.
        target: The host of the timing model; None: ``x86-pcie``, or ``desktop-usb3`` for ``usbonly``.
        compiler: The path of any executable with the vendor's command line; None: as of :func:`atoll.partition`.
        timeout: Seconds that ``compiler`` may take for one segment; None: 180.
        threshold_ns: Stop when the upper and the lower bound of the latency differ by no more ns.
        lower_ns: The lower bound to begin with, in ns; None: that of the start's fastest segment.
        upper_ns: The upper bound to begin with, in ns; None: that of the start's slowest segment.
        step: Places to cut by which a segment grows or shrinks at a time.
        delegate_step: Operators by which the compiler's delegate search steps back.
        store: The file where measurements are kept; None: ``~/.cache/atoll/measurements.json``.
        on_progress: Called with each segment that was measured.
        on_message: Called with what is waited for, and where measurements are when the search is interrupted.

    Raises:
        UsageError: The bounds contradict each other, or the device is not of the type.
        AtollError: As :func:`atoll.partition`; OutputError: the segments cannot be written.
    """
    require_types(partition_with_profiling, locals())
    if lower_ns is not None and upper_ns is not None and upper_ns < lower_ns:
        raise UsageError(
            f"--initial_lower_bound_ns {lower_ns} is above --initial_upper_bound_ns {upper_ns}",
            "Leave them out: the start gives both.",
        )
    whole = load(model)
    require_compilable(whole)
    positions = cut_places(whole.main, segments)
    devices = devices_to_measure(device, DEVICE_TYPES[device_type])
    chosen = segment_compiler(compiler, devices, timeout or TIMEOUT, delegate_step)
    host = load_target(target or _HOSTS[device_type])
    with segment_measurer(
        whole, chosen, devices, host, store, segments,
        kept_bytes=_KEPT_BYTES, on_progress=on_progress, on_message=on_message,
    ) as measurer:  # fmt: skip
        found = profiled_cuts(
            positions,
            measurer,
            equal_parameters(whole.main, segments),
            lower=None if lower_ns is None else lower_ns / 1e9,
            upper=None if upper_ns is None else upper_ns / 1e9,
            threshold=threshold_ns / 1e9,
            step=step,
        )
        pieces = list(itertools.pairwise([0, *found.cuts, positions[-1]]))
        files = _write(measurer, pieces, Path(whole.path).name.removesuffix(".tflite"), output)
        effort = effort_of(measurer, found)
    slowest_start = max(found.start)
    return ProfiledPartitionReport(
        model=whole.path,
        segments=tuple(ProfiledSegment(*each) for each in zip(pieces, (s * 1e3 for s in found.seconds), files)),
        slowest_ms=found.bottleneck * 1e3,
        difference_ms=(found.bottleneck - min(found.seconds)) * 1e3,
        start_slowest_ms=slowest_start * 1e3 if math.isfinite(slowest_start) else None,
        effort=effort,
        output=f"{output}",
    )


def _write(measurer: SegmentMeasurer, pieces: Sequence[tuple[int, int]], stem: str, directory: str | Path) -> list[str]:
    """Every segment, and what the compiler made of it; all files or none. The compiled ones are returned."""
    names = [f"{stem}_segment_{i}_of_{len(pieces)}" for i in range(len(pieces))]
    with output_directory(directory) as output:
        for name, (start, end) in zip(names, pieces):
            output.write(f"{name}.tflite", measurer.content(start, end))
            output.write(f"{name}_edgetpu.tflite", measurer.compiled_file(start, end))
    return [f"{name}_edgetpu.tflite" for name in names]
