"""``atoll.profile``: a model and a host → where the time of an inference goes, modelled, and measured beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from atoll.api.cpu_times import cpu_operator_times
from atoll.api.measure import (
    measured_report,
    measured_slices,
    require_clock,
    require_inferences,
    run_on,
)
from atoll.api.workloads import workloads_of
from atoll.device import lease
from atoll.device.virtual.virtual_device import CLOCKS_MHZ
from atoll.errors import DeviceError, UsageError
from atoll.estimate import MAX_CLOCK_MHZ, pipeline_timing, simulate, timing_of
from atoll.estimate.accuracy import held_out_error, source_sentences
from atoll.estimate.workload import Workload
from atoll.files import write_file
from atoll.hardware.host import Target, host_of
from atoll.model.graph import Model
from atoll.model.load import ModelLike, load
from atoll.products.arguments import require_types
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.products.trace_events import Slice, write_trace
from atoll.reporting.formats.csv import table_csv
from atoll.reporting.measure_report import ModelledLatency
from atoll.reporting.modelled_trace import modelled_slices
from atoll.reporting.profile_parts import operator_profiles, operators_csv, segment_profile
from atoll.reporting.profile_report import ProfileReport, SimulatedRun

SIMULATED = 1000
"""Inferences of the simulated run."""
TRACED = 16
"""First inferences of it that a trace shows."""
_INFERENCES = 100
"""How many are measured when nobody says."""
_NONE_MEASURED: Mapping[int, float] = MappingProxyType({})


def profile(
    model: ModelLike,
    *,
    bus: str | None = None,
    target: Target | str | Path | None = None,
    tpus: int = 1,
    clock: str | None = None,
    original: ModelLike | None = None,
    measure_cpu: bool = False,
    device: str | None = None,
    inferences: int = _INFERENCES,
    wait: float | None = None,
    csv: str | Path | None = None,
    trace: str | Path | None = None,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> ProfileReport:
    """Say where the time of an inference goes, operator by operator, without an Edge TPU or beside a measurement.

    A model that is not compiled is compiled first, in as many segments as there are Edge TPUs; nothing is kept of that.

    Args:
        model: A model, or the path of a ``.tflite`` file, compiled or not.
        bus: The bus of the Edge TPUs, as on its measured host: ``pcie``, ``usb3`` or ``usb2``; None: ``pcie``, or the
            bus of ``device``.
        target: A host instead of ``bus``: one of the package by name, or a ``.toml`` file.
        tpus: How many segments to cut the model into, one Edge TPU for each.
        clock: Clock of the Edge TPUs: ``max``, ``standard`` or ``reduced`` (500, 250, 125 MHz); None: ``max``.
        original: The uncompiled model of a vendor-compiled file, which does not hold its original operators.
        measure_cpu: Run the operators that stay on the CPU here, instead of estimating their times.
        device: Measure on it too, as :func:`atoll.measure` does: ``usb``, ``pci:1``, ``:2``, or a path.
        inferences: How many to measure on ``device``, after the first.
        wait: Seconds to wait for a busy ``device``; None: as ``ATOLL_LEASE_TIMEOUT`` says, else for ever.
        csv: Where to write a row per operator, or with ``device`` what was measured, as comma-separated values.
        trace: Where to write the first inferences of a simulated run, and the measured ones, for ui.perfetto.dev.
        on_progress: Called with what is being measured.
        on_message: Called with what is waited for.

    Raises:
        FileAccessError, InvalidModelError: A file cannot be read.
        UnsupportedModelError: The model cannot be compiled, or LiteRT cannot run an operator here.
        UsageError: Arguments that contradict each other, or name a host or a clock that does not exist.
        DeviceError: ``original`` is missing or that of another file; or as :func:`atoll.measure`.

    >>> report = atoll.profile("mobilenet_v2.tflite", bus="usb3", tpus=2)  # doctest: +SKIP
    >>> report.interval_ms, report.segments[report.bottleneck].bound  # doctest: +SKIP
    (1.93, 'compute')
    """
    require_types(profile, locals())
    _require_consistent(bus, target, tpus, device)
    _require_device_for(device, {"--inferences": inferences != _INFERENCES, "--wait": wait is not None})
    require_clock(clock)
    host = host_of(bus, target)
    loaded = load(model)
    if device is None:
        works = workloads_of(loaded, original, tpus)
        report, slices = _profile(loaded.path, works, host, clock, measure_cpu, on_progress)
    else:
        require_inferences(inferences)
        work = _workload_for_device(loaded, original)
        with lease(1, devices=device, wait=wait, on_message=on_message) as (leased,):
            host = host_of(None if target else leased.bus, target)
            report, slices = _profile(loaded.path, [work], host, clock, measure_cpu, on_progress)
            spans = run_on(leased, loaded, work, host, inferences, clock, original, on_progress)
        first_ms = report.latency_ms + report.segments[0].load_ms
        modelled = ModelledLatency(first_ms, report.latency_ms, host.name)
        report = replace(report, measured=measured_report(loaded.path, leased, spans, modelled))
        slices += measured_slices(spans, leased)
    if csv is not None:
        write_file(csv, table_csv(report.measured.tables()[0]) if report.measured else operators_csv(report.operators))
    if trace is not None:
        write_trace(trace, slices)
    return report


def _require_consistent(bus: str | None, target: Target | str | Path | None, tpus: int, device: str | None) -> None:
    if bus and target:
        raise UsageError("--bus and --target both name a host", "Leave one of the two out.")
    if tpus < 1:
        raise UsageError(f"a model cannot be cut into {tpus} segments", "Give --tpus 1 or more.")
    if device is not None and (tpus > 1 or bus):
        what = "--tpus models a pipeline" if tpus > 1 else "--bus is for modelling: a device has a bus"
        raise UsageError(f"{what}, --device measures on one device", "Leave one out; atoll run measures pipelines.")


def _require_device_for(device: str | None, given: Mapping[str, bool]) -> None:
    """Refuse what is about a measurement, when nothing is measured: it would be ignored."""
    for option, is_given in given.items():
        if is_given and device is None:
            raise UsageError(f"{option} goes with --device only: nothing is run without", "Give --device too.")


def _workload_for_device(model: Model, original: ModelLike | None) -> Workload:
    try:
        return workloads_of(model, original)[0]
    except DeviceError as error:
        if original is None:
            error.hint = f"{error.hint} atoll measure measures it without modelling anything.".strip()
        raise


def _profile(
    model: str,
    works: Sequence[Workload],
    host: Target,
    clock: str | None,
    measure_cpu: bool,
    on_progress: OnProgress,
) -> tuple[ProfileReport, list[Slice]]:
    measured = None
    if measure_cpu:
        on_progress("measuring operators on the CPU")
        measured = [cpu_operator_times(work) for work in works]
    return modelled_profile(model, works, host, clock_mhz=CLOCKS_MHZ[clock or "max"], measured_cpu=measured)


def modelled_profile(
    model: str,
    works: Sequence[Workload],
    target: Target,
    *,
    clock_mhz: float = MAX_CLOCK_MHZ,
    measured_cpu: Sequence[Mapping[int, float]] | None = None,
) -> tuple[ProfileReport, list[Slice]]:
    """The profile of a model's segments, one Edge TPU each, and a simulated run of them as slices of a trace.

    Args:
        measured_cpu: Per segment, ms of the operators that stay on the CPU, as
            :func:`atoll.api.cpu_times.cpu_operator_times` gives them; the others are estimated.

    Raises:
        ValueError: no segments.
    """
    given = measured_cpu or [_NONE_MEASURED] * len(works)
    timings = [
        timing_of(work.demand, target, clock_mhz=clock_mhz, instruction_bytes=work.instruction_bytes, cpu_ms=cpu)
        for work, cpu in zip(works, given)
    ]
    pipeline = pipeline_timing(timings, target)
    run = simulate(pipeline.stages, SIMULATED, trace_items=TRACED)
    segments = [segment_profile(w, t, stage.device_ms) for w, t, stage in zip(works, timings, pipeline.stages)]
    operators = [operator_profiles(n, *each) for n, each in enumerate(zip(works, timings, given))]
    report = ProfileReport(
        model=model,
        target=target.name,
        description=target.description,
        bus=target.bus.kind,
        clock_mhz=clock_mhz,
        segments=tuple(segments),
        operators=tuple(item for each in operators for item in each),
        latency_ms=pipeline.latency_ms,
        interval_ms=pipeline.interval_ms,
        bottleneck=pipeline.bottleneck if len(works) > 1 else 0,
        simulated=SimulatedRun(
            run.items,
            run.total_ms,
            run.mean_latency_ms,
            run.max_latency_ms,
            run.device_utilization,
            run.host_utilization,
        ),
        how=tuple(source_sentences(works, target, given)),
        accuracy=held_out_error(target, len(works), clock_mhz, any(work.hosted for work in works)),
    )
    names = [[work.graph.where(i) for i in range(len(work.graph.operators))] for work in works]
    return report, modelled_slices(timings, names, pipeline.stages, run.spans)
