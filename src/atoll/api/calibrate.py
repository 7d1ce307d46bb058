"""``atoll.calibrate``: measured latencies → a target with the numbers of the host that they were measured on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from atoll.api.measure import measured_report, require_inferences, run_on
from atoll.api.workloads import workloads_of
from atoll.device import EdgeTpu, lease
from atoll.device.virtual.virtual_device import CLOCKS_MHZ
from atoll.errors import UsageError
from atoll.estimate.measured_runs import MeasuredRun, fit_target, read_runs
from atoll.files import write_file
from atoll.hardware.host import Target, dump_target, host_of
from atoll.model.load import load
from atoll.products.arguments import require_types
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.reporting.calibration_report import CalibratedRun, CalibrationReport


def calibrate(
    runs: str | Path,
    *,
    output: str | Path,
    bus: str | None = None,
    target: Target | str | Path | None = None,
    device: str | None = None,
    inferences: int = 100,
    wait: float | None = None,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> CalibrationReport:
    """Fit a target to measured latencies, to be named where a host is: ``atoll.profile(model, target="my.toml")``.

    Args:
        runs: A JSON file: a list of objects with ``model`` and ``ms`` (a whole inference, parameters cached), and if
            known ``first_ms``, ``original`` and ``clock_mhz``; paths are relative to the file.
        output: Where to write the target (``.toml``).
        bus: The fit starts from its measured host: ``pcie``, ``usb3`` or ``usb2``; None: that of ``device``, or
            ``pcie``.
        target: The host to start from, instead of ``bus``: one of the package by name, or a ``.toml`` file.
        device: Where runs without ``ms`` are measured; None: all have it.
        inferences: How many to measure, after the first.
        wait: Seconds to wait for a busy ``device``; None: as ``ATOLL_LEASE_TIMEOUT`` says, else for ever.
        on_progress: Called with what is being measured.
        on_message: Called with what is waited for.

    Raises:
        FileAccessError: A file cannot be read.
        UsageError: The file holds no such list, there are fewer than two runs, or arguments contradict each other.
        AtollError: As :func:`atoll.profile` and :func:`atoll.measure`.
    """
    require_types(calibrate, locals())
    if Path(output).suffix != ".toml":
        raise UsageError(f"{output} would not be recognised as a target", "Name it FILE.toml.")
    require_inferences(inferences)
    start = host_of(bus, target)
    found = read_runs(runs, may_lack_times=device is not None)
    if device is not None:
        with lease(1, devices=device, wait=wait, on_message=on_message) as (leased,):
            start = host_of(bus if bus or target else leased.bus, target)
            found = tuple(
                run if run.ms else _measured_run(leased, run, start, inferences, on_progress) for run in found
            )
    works = [workloads_of(load(run.model), run.original)[0] for run in found]
    fitted, fits = fit_target(found, works, start, Path(output).stem)
    write_file(output, dump_target(fitted))
    rows = [CalibratedRun(f"{fit.run.model}", fit.run.ms, fit.before_ms, fit.after_ms) for fit in fits]
    return CalibrationReport(f"{output}", start.name, tuple(rows))


def _measured_run(
    device: EdgeTpu, run: MeasuredRun, host: Target, inferences: int, on_progress: OnProgress
) -> MeasuredRun:
    """The run with the latencies that it has on a device."""
    names = {mhz: name for name, mhz in CLOCKS_MHZ.items()}
    if run.clock_mhz not in names:
        raise UsageError(f"{run.model}: no device can be set to {run.clock_mhz:g} MHz", "Measure it yourself.")
    model = load(run.model)
    (work,) = workloads_of(model, run.original)
    spans = run_on(device, model, work, host, inferences, names[run.clock_mhz], run.original, on_progress)
    measured = measured_report(model.path, device, spans, None)
    return replace(run, ms=measured.median_ms, first_ms=measured.first_ms)
