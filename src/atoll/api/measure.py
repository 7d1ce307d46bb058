"""``atoll.measure``: a model and a device → how long inferences take on it, beside what is modelled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from atoll.api.workloads import compiled_file, workloads_of
from atoll.device import EdgeTpu, lease
from atoll.device.choice import choose_devices
from atoll.device.timed_run import Inferences, Spans, timed_run
from atoll.device.virtual.virtual_device import CLOCKS_MHZ
from atoll.errors import DeviceError, UsageError
from atoll.estimate import timing_of
from atoll.estimate.latency import latency_function
from atoll.estimate.workload import Workload
from atoll.hardware.host import Target, host_of
from atoll.model import is_compiled
from atoll.model.graph import Model
from atoll.model.load import ModelLike, load
from atoll.products.arguments import require_types
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.products.trace_events import Slice, write_trace
from atoll.reporting.measure_report import MeasureReport, ModelledLatency

_SLOWER = 1.1
"""When measured / modelled is above this, the times of a virtual device are those of the CPU."""


def measure(
    model: ModelLike,
    *,
    device: str | None = None,
    inferences: int = 100,
    target: Target | str | Path | None = None,
    clock: str | None = None,
    original: ModelLike | None = None,
    wait: float | None = None,
    trace: str | Path | None = None,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> MeasureReport:
    """Run a model on one Edge TPU that no other process gets meanwhile, and say how long its inferences took.

    A model that is not compiled is compiled first. A virtual device has no speed of its own: it takes the modelled
    time, or what this machine's CPU needs if that is longer.

    Args:
        model: A model, or the path of a ``.tflite`` file, compiled or not.
        device: ``usb``, ``pci``, ``usb:0``, ``pci:1``, ``:2``, or a path; None: any, a real one if there is one.
        inferences: How many after the first, which loads the parameters.
        target: The host that the model is compared with: one of the package by name, or a ``.toml`` file; None: the
            measured host of the device's bus.
        clock: ``max``, ``standard`` or ``reduced`` (500, 250, 125 MHz); None: as the device is set.
        original: The uncompiled model of a vendor-compiled file.
        wait: Seconds to wait for a busy device; None: as ``ATOLL_LEASE_TIMEOUT`` says, else for ever.
        trace: Where to write the measured inferences, for ui.perfetto.dev.
        on_progress: Called with how many inferences are done.
        on_message: Called with what is waited for.

    Raises:
        FileAccessError, InvalidModelError: A file cannot be read.
        UnsupportedModelError: The model cannot be compiled, or an input has a type without random values.
        UsageError: There is no such clock or host, or a number that makes no sense.
        DeviceError: There is no such device, it is busy, or it cannot run the file.

    >>> atoll.measure("mobilenet_v2_edgetpu.tflite", device="usb").median_ms  # doctest: +SKIP
    3.21
    """
    require_types(measure, locals())
    require_clock(clock)
    require_inferences(inferences)
    if target is not None:
        host_of(None, target)  # what is wrong with it is told before anything is compiled or leased
    loaded = load(model)
    work, why = _workload(loaded, original, any(found.virtual for found in choose_devices(device)))
    with lease(1, devices=device, wait=wait, on_message=on_message) as (leased,):
        host = host_of(None if target else leased.bus, target)
        spans = run_on(leased, loaded, work, host, inferences, clock, original, on_progress)
    if trace is not None:
        write_trace(trace, measured_slices(spans, leased))
    modelled = None if work is None else modelled_latency_of(work, host, clock)
    return measured_report(loaded.path, leased, spans, modelled, why)


def require_clock(clock: str | None) -> None:
    """Raise UsageError when there is no such clock."""
    if clock is not None and clock not in CLOCKS_MHZ:
        raise UsageError(f"'{clock}' is not a clock of the Edge TPU", f"Known are {', '.join(CLOCKS_MHZ)}.")


def require_inferences(inferences: int) -> None:
    """Raise UsageError for a number of inferences that makes no sense."""
    if not 1 <= inferences <= 1_000_000:
        raise UsageError(f"{inferences} inferences cannot be measured", "Give 1 to 1000000.")


def run_on(
    device: EdgeTpu,
    model: Model,
    work: Workload | None,
    host: Target,
    inferences: int,
    clock: str | None,
    original: ModelLike | None,
    on_progress: OnProgress = ignore,
) -> Spans:
    """One inference and then ``inferences`` of a model, compiled if it is not; a virtual device takes the time that
    ``work`` takes on ``host``."""
    latency = latency_function(work, host) if work is not None else None
    with compiled_file(model) as file, device.configured(clock=clock, latency=latency, real_time=True):
        return timed_run(file, device, Inferences(inferences + 1), original=original, on_progress=on_progress)


def measured_report(
    model: str, device: EdgeTpu, spans: Spans, modelled: ModelledLatency | None, why: str = ""
) -> MeasureReport:
    """The measured times beside the modelled ones; ``why``: why nothing is modelled."""
    latencies = [(end - begin) / 1e6 for begin, end in spans]
    how = f"Measured on the Edge TPU {device.path}. {why}".strip()
    report = MeasureReport.of_latencies(
        latencies,
        model=model, device=device.path, bus=device.bus, virtual=device.virtual, modelled=modelled, how=how,
    )  # fmt: skip
    if not device.virtual:
        return report
    slower = modelled is not None and report.median_ms > _SLOWER * modelled.latency_ms
    how = (
        f"{device.path} is a virtual device in real time: an inference takes the modelled time, or, if that is longer"
        f"{', as here' if slower else ''}, the time that this machine's CPU needs for it. Only a real Edge TPU can "
        f"tell whether the model is right. {why}"
    )
    return replace(report, how=how.strip())


def modelled_latency_of(work: Workload, host: Target, clock: str | None) -> ModelledLatency:
    """What the first and the other inferences should take on a host."""
    mhz = CLOCKS_MHZ[clock or "max"]
    timing = timing_of(work.demand, host, clock_mhz=mhz, instruction_bytes=work.instruction_bytes)
    return ModelledLatency(timing.first_ms, timing.total_ms, host.name)


def measured_slices(spans: Spans, device: EdgeTpu) -> list[Slice]:
    """The inferences as slices of a trace, in a lane of the device; times from the first one on."""
    start = spans[0][0]
    return [
        Slice("measured", device.path, f"item {item}", (begin - start) / 1e6, (end - begin) / 1e6, {"item": item})
        for item, (begin, end) in enumerate(spans)
    ]


def _workload(model: Model, original: ModelLike | None, virtual: bool) -> tuple[Workload | None, str]:
    """What is to be modelled; or, for a vendor-compiled file on a real device, why nothing can be."""
    try:
        return workloads_of(model, original)[0], ""
    except DeviceError as error:
        if virtual or original is not None or not is_compiled(model):
            raise
        return None, f"Nothing is modelled: {error.message}. {error.hint}"
