"""``atoll partition --measure``: a model, a compiler and one device → cuts that are best as measured."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from atoll.api.inference_timers import ModelTimer
from atoll.api.segment_compilers import choose_compiler
from atoll.api.segment_measurer import SegmentMeasurer, devices_to_measure, segment_measurer
from atoll.api.workloads import modelled_host
from atoll.hardware.buses import BUSES
from atoll.model.load import ModelLike, load
from atoll.model.subgraph import boundary
from atoll.partitioning import Failure, Refined, partition_at, refined_cuts, write_partition
from atoll.partitioning.best_cuts import cut_places
from atoll.partitioning.measured.store import Measured
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.reporting.measured_partition_report import (
    FailedSegment,
    MeasuredCut,
    MeasuredPartitionReport,
    MeasuredSegment,
    MeasuringEffort,
)
from atoll.support import require_compilable

_Seconds = Callable[[int, int], float]


def partition_measured(
    model: ModelLike,
    *,
    tpus: int,
    exactly: bool = False,
    bus: str | None = None,
    target: str | Path | None = None,
    device: str | None = None,
    budget: float | None = None,
    tolerance: float = 2.0,
    compiler: str | None = None,
    timeout: int = 180,
    store: str | Path | None = None,
    output: str | Path | None = None,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> MeasuredPartitionReport:
    """Find the cuts whose slowest segment is the quickest, by compiling and measuring segments on one device.

    The timing model says which segments to look at; what was measured is kept, so that a search that was cut short
    goes on where it ended.

    Args:
        model: A model, or the path of a ``.tflite`` file, not compiled.
        tpus: At most so many segments.
        exactly: Make as many segments as ``tpus``, even where fewer would do.
        bus: The bus of the host that the timing model takes: ``pcie``, ``usb3`` or ``usb2``; None: the device's.
        target: The host that the timing model takes, instead of ``bus``.
        device: ``usb``, ``pci:0``, a path, or ``model``: the timing model itself; None: a real one if there is one,
            else ``model``.
        budget: Minutes to measure; one complete way to cut is measured in any case. None: as long as it takes.
        tolerance: Measure until the cuts are proven to be within so many percent of the best.
        compiler: The path of any executable with the vendor's command line; None: the vendor's for a real device,
            else atoll's.
        timeout: Seconds that ``compiler`` may take for one segment.
        store: The file where measurements are kept; None: ``~/.cache/atoll/measurements.json``.
        output: Where to write the partition (JSON).
        on_progress: Told of each segment that was measured.
        on_message: Told what is waited for, and where measurements are when the search is interrupted.

    Raises:
        FileAccessError, InvalidModelError, UnsupportedModelError: The model cannot be read or compiled.
        UsageError: Arguments that contradict each other or name a host that does not exist.
        PartitionError: The model cannot be cut like that, or nothing that was tried could be compiled and measured.
        CompilerMissingError, CompilerInvalidError: There is no such compiler.
        DeviceError: There is no such device, or it failed; what was measured is kept.
    """
    devices = devices_to_measure(device)
    if devices and not bus and not target:
        bus = devices[0].bus if devices[0].bus in BUSES else None
    host = modelled_host(bus, target)
    whole = load(model)
    require_compilable(whole)
    positions = cut_places(whole.main, tpus if exactly else 1)
    segments = min(tpus, len(positions) - 1)
    costs = SegmentCosts(whole.main, host)
    chosen = choose_compiler(compiler, devices, timeout)
    with segment_measurer(
        whole, chosen, devices, host, store, segments, on_progress=on_progress, on_message=on_message
    ) as measurer:
        begin = time.monotonic()
        modelled, measured = in_pipeline(costs, measurer, segments)
        found = refined_cuts(
            positions,
            modelled,
            costs.operators.tolist(),
            measured,
            segments,
            at_least=segments if exactly else 1,
            tolerance=tolerance / 100,
            is_over=lambda _calls: budget is not None and time.monotonic() > begin + budget * 60,
        )
        minutes = (time.monotonic() - begin) / 60
    if output is not None:
        strategy = f"best as measured, {measurer.timer.name}"
        write_partition(output, costs.graph, partition_at(costs.graph, found.cuts, strategy))
    pieces = list(itertools.pairwise([0, *found.cuts, positions[-1]]))
    return MeasuredPartitionReport(
        model=whole.path,
        target=host.name,
        cuts=_cuts(costs, found.cuts),
        segments=_segments(pieces, found, modelled),
        stage_ms=host.host.stage_ms if len(pieces) > 1 else 0.0,
        bottleneck_ms=found.bottleneck * 1e3,
        lower_bound_ms=found.lower_bound * 1e3,
        proven=found.proven,
        tolerance=tolerance / 100,
        effort=effort_of(measurer, found.measurements, found.failures),
        tpus=tpus,
        places_to_cut=len(positions) - 2,
        budget_minutes=budget,
        minutes=minutes,
        file=None if output is None else f"{output}",
    )


def effort_of(measurer: SegmentMeasurer, asked: int, failures: dict[tuple[int, int], Failure]) -> MeasuringEffort:
    """What a search that asked for so many segments took."""
    failed = tuple(FailedSegment(operators, failure.reason) for operators, failure in sorted(failures.items()))
    return MeasuringEffort(measurer.timer.times, asked, len(measurer.fresh), measurer.compiler.identity, failed)


def in_pipeline(
    costs: SegmentCosts, measurer: SegmentMeasurer, stages: int
) -> tuple[_Seconds, Callable[[int, int], Measured]]:
    """The modelled and the measured seconds of a segment with what a pipeline adds: the host's work for each stage.

    A device is measured by itself, so that this work is added to what it says; the timing model has it.
    """
    is_modelled = isinstance(measurer.timer, ModelTimer)
    whole, added = (0, len(costs.graph.operators)), 0.0 if is_modelled else costs.target.host.stage_ms / 1e3
    alone, own = costs.in_pipeline(1), costs.in_pipeline(stages if is_modelled else 1)

    def modelled(start: int, end: int) -> float:
        return alone.cost(start, end) if (start, end) == whole else own.cost(start, end) + added

    def measured(start: int, end: int) -> Measured:
        found = measurer(start, end)
        return found if isinstance(found, Failure) or (start, end) == whole else found + added

    return modelled, measured


def _cuts(costs: SegmentCosts, places: Sequence[int]) -> tuple[MeasuredCut, ...]:
    graph = costs.graph
    return tuple(
        MeasuredCut(place, tuple(graph.tensors[i].name for i in boundary(graph, range(place))[1])) for place in places
    )


def _segments(pieces: Sequence[tuple[int, int]], found: Refined, modelled: _Seconds) -> tuple[MeasuredSegment, ...]:
    return tuple(
        MeasuredSegment(piece, seconds * 1e3, modelled(*piece) * 1e3) for piece, seconds in zip(pieces, found.seconds)
    )
