"""``atoll profile``: a model and a target → where the time of an inference goes, or runs → a target of one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atoll.cli.old_output import json_option, print_json, progress, quiet_option, table
from atoll.cli.options import OUTPUT_FILE, SECONDS
from atoll.errors import UsageError
from atoll.hardware.buses import BUSES as TARGETS
from atoll.hardware.host import host_of as load_host

if TYPE_CHECKING:
    from atoll.device import EdgeTpu
    from atoll.estimate.measured_runs import MeasuredRun
    from atoll.estimate.workload import Workload
    from atoll.hardware.host import Target
    from atoll.pipeline import Trace
    from atoll.products.trace_events import Slice
    from atoll.reporting.profile_report import Profile


@click.command("profile")
@click.argument("model", required=False, type=click.Path(readable=False))
@click.option("--bus", type=click.Choice([*TARGETS]), help="What the Edge TPUs hang on.  [default: pcie]")
@click.option("--target", metavar="NAME|FILE", help="Host: one of the package, or a .toml file, instead of --bus.")
@click.option("--tpus", default=1, show_default=True, type=click.IntRange(1), help="Segments, one Edge TPU for each.")
@click.option("--clock", type=click.Choice(["max", "standard", "reduced"]), help="Of the Edge TPU.  [default: max]")
@click.option("--original", metavar="MODEL", help="The uncompiled model of a vendor-compiled file.")
@click.option("--measure-cpu", is_flag=True, help="Run the operators of the CPU here instead of estimating them.")
@click.option("--device", metavar="DEVICE", help="Measure on it too: usb, pci, usb:0, pci:1, :2, or a path.")
@click.option("--inferences", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="With --device.")
@click.option("--wait", metavar="SECONDS", type=SECONDS, help="For a busy --device.  [default: no time]")
@click.option(
    "--csv",
    "csv_file",
    metavar="FILE",
    type=OUTPUT_FILE,
    help="Write one row per operator; with --device, what was measured.",
)
@click.option(
    "--trace",
    "trace_file",
    metavar="FILE",
    type=OUTPUT_FILE,
    help="Write a trace of the first inferences, for Perfetto.",
)
@click.option("--calibrate", "runs_file", metavar="FILE", help="Fit a target to the measured runs in a JSON file.")
@click.option("-o", "--output", metavar="FILE", type=OUTPUT_FILE, help="Where --calibrate writes the target (.toml).")
@json_option
@quiet_option
def command(
    model: str | None, runs_file: str | None, output: str | None, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Say where the time of an inference of MODEL goes, without an Edge TPU or beside a measurement on one.

    MODEL is compiled first, in as many segments as there are Edge TPUs, or is a compiled file. With --device it also
    runs there, and measured times stand beside the modelled ones; a virtual device has no speed of its own and takes
    the modelled time. With --calibrate there is no MODEL: measured latencies make a target of your own, to be named
    with --target; those that the file does not have are measured on --device.
    """
    wanted = _Request(**options)
    if wanted.bus and wanted.target:
        raise UsageError("--bus and --target both name a host", "Leave one of the two out.")
    if runs_file is not None:
        _calibrate(runs_file, output, wanted, model is not None or wanted.about_a_model, as_json, quiet)
        return
    if model is None or output is not None:
        raise UsageError(
            "no model is named" if model is None else "--output goes with --calibrate",
            "atoll profile MODEL, or atoll profile --calibrate RUNS.json -o my.toml.",
        )
    if wanted.device is None:
        _profile(model, wanted, as_json, quiet)
    else:
        _measure(model, wanted, as_json, quiet)


@dataclass(frozen=True)
class _Request:
    """The options that speak of a model."""

    bus: str | None
    target: str | None
    tpus: int
    clock: str | None
    original: str | None
    measure_cpu: bool
    device: str | None
    inferences: int
    wait: float | None
    csv_file: str | None
    trace_file: str | None

    @property
    def about_a_model(self) -> bool:
        """Whether any of them was given that --calibrate has no use for."""
        given = (self.clock, self.original, self.csv_file, self.trace_file)
        return any(value is not None for value in given) or self.measure_cpu or self.tpus > 1

    @property
    def clock_mhz(self) -> float:
        from atoll.device.virtual.virtual_device import CLOCKS_MHZ

        return CLOCKS_MHZ[self.clock or "max"]

    def host(self, bus: str = "pcie") -> Target:
        """What --bus or --target names, else the host that stands for ``bus``."""
        return load_host(None if self.target else self.bus or bus, self.target)


def _profile(path: str, wanted: _Request, as_json: bool, quiet: bool) -> None:
    """Model only."""
    from atoll.files import write_file
    from atoll.products.trace_events import write_trace
    from atoll.reporting.profile_report import operators_csv

    host = wanted.host()
    profile, slices = _modelled(path, _workloads(path, wanted.original, wanted.tpus), wanted, host, quiet)
    if wanted.csv_file:
        write_file(wanted.csv_file, operators_csv(profile))
    if wanted.trace_file:
        write_trace(wanted.trace_file, slices)
    if as_json:
        print_json("profile", **profile.fields())
    else:
        _show(profile)


def _modelled(
    path: str, works: Sequence[Workload], wanted: _Request, host: Target, quiet: bool
) -> tuple[Profile, list[Slice]]:
    from atoll.api.cpu_times import measure_cpu
    from atoll.api.profile_model import profile_model

    measured = None
    if wanted.measure_cpu:
        with progress("measuring operators on the CPU", quiet=quiet):
            measured = [measure_cpu(work) for work in works]
    return profile_model(path, works, host, clock_mhz=wanted.clock_mhz, measured_cpu=measured)


def _measure(path: str, wanted: _Request, as_json: bool, quiet: bool) -> None:
    """Model, and run on a device that nobody else has meanwhile."""
    from atoll.api.timed_run import compare
    from atoll.device import inventory
    from atoll.files import write_file
    from atoll.products.trace_events import write_trace
    from atoll.reporting.measure_report import COLUMNS, Modelled, measured_csv, rows

    if wanted.tpus > 1 or wanted.bus:
        what = "--tpus models a pipeline" if wanted.tpus > 1 else "--bus is for modelling: a device has a bus"
        raise UsageError(f"{what}, --device measures on one device", "Leave one out; atoll run measures pipelines.")
    if wanted.target:
        wanted.host()  # what is wrong with it is told before anything is compiled or leased
    work, why = _workload_for(path, wanted.original, any(d.virtual for d in inventory.fitting(wanted.device)))
    profile: Profile | None = None
    slices: list[Slice] = []
    modelled: Modelled | None = None
    with _leased(wanted) as device:
        host = wanted.host(device.bus)
        if work is not None:
            profile, slices = _modelled(path, [work], wanted, host, quiet)
            load = profile.segments[0].load_ms
            modelled = Modelled(profile.latency_ms + load, profile.latency_ms, host.name)
        trace = _run_on(device, path, work, wanted, host, quiet)
    measured = compare(trace, device, modelled, why)
    if wanted.csv_file:
        write_file(wanted.csv_file, measured_csv(measured))
    if wanted.trace_file:
        write_trace(wanted.trace_file, [*slices, *(replace(item, group="measured") for item in trace.slices())])
    if as_json:
        print_json("profile", **(profile.fields() if profile else {}), measured=measured.fields())
        return
    if profile:
        _show(profile)
    table(COLUMNS, rows(measured))
    click.echo(f"{measured.inferences} inferences after the first. {measured.how}")


@contextmanager
def _leased(wanted: _Request) -> Iterator[EdgeTpu]:
    """The device, for this process alone until the block ends."""
    from atoll.device import inventory, lease
    from atoll.device.leasing.lease import patience

    candidates = inventory.fitting(wanted.device)
    timeout = patience() if wanted.wait is None else wanted.wait
    with lease(1, devices=candidates, timeout=timeout, on_wait=lambda said: click.echo(said, err=True)) as (device,):
        yield device


def _run_on(
    device: EdgeTpu, path: str | Path, work: Workload | None, wanted: _Request, host: Target, quiet: bool
) -> Trace:
    """``--inferences`` of a model, compiled if it is not, on a device; a virtual one takes the time of ``work``."""
    from atoll.api.timed_run import measure
    from atoll.estimate.latency import latency_function

    latency = latency_function(work, host) if work is not None else None
    with _compiled_file(path) as file, progress(f"{path} on {device.path}", wanted.inferences, quiet) as show:
        return measure(
            file, device, wanted.inferences,
            original=wanted.original, clock=wanted.clock, latency=latency, on_result=show,
        )  # fmt: skip


def _workload_for(path: str, original: str | None, virtual: bool) -> tuple[Workload | None, str]:
    """What is to be modelled; or, for a vendor-compiled file on a real device, why nothing can be."""
    from atoll.errors import DeviceError

    try:
        return _workloads(path, original, 1)[0], ""
    except DeviceError as error:
        if virtual or original is not None:
            raise
        return None, f"Nothing is modelled: {error.message}. {error.hint}"


@contextmanager
def _compiled_file(path: str | Path) -> Iterator[Path]:
    """The file itself, or what it is compiled to, for as long as the block lasts."""
    from atoll import toolchain
    from atoll.model import is_compiled

    model = toolchain.load(path)
    if is_compiled(model):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="atoll-") as folder:
        yield toolchain.compile_model(model).write(folder)[0]


def _workloads(path: str | Path, original: str | Path | None, tpus: int) -> list[Workload]:
    """What each Edge TPU has to do."""
    from atoll import toolchain
    from atoll.estimate.workload import workload
    from atoll.model import is_compiled

    model = toolchain.load(path)
    if is_compiled(model):
        if tpus > 1:
            raise UsageError(f"{path} is compiled already and cannot be cut", "Give the model it was compiled from.")
        return [workload(path, original)]
    if original is not None:
        raise UsageError(f"{path} is not compiled, so it has no original", "Leave --original out.")
    return [workload(segment) for segment in toolchain.compile_model(model, tpus).segments]


def _show(profile: Profile) -> None:
    from atoll.reporting.profile_report import LEGEND, OPERATOR_COLUMNS, SEGMENT_COLUMNS, operator_rows, segment_rows

    for number, segment in enumerate(profile.segments):
        if len(profile.segments) > 1:
            click.echo(segment.name)
        table(OPERATOR_COLUMNS, operator_rows([item for item in profile.operators if item.segment == number]))
    table(SEGMENT_COLUMNS, segment_rows(profile.segments))
    click.echo(f"{LEGEND}; load comes on top in the first inference")
    if len(profile.segments) == 1:
        (segment,) = profile.segments
        click.echo(f"{profile.latency_ms:.3f} ms per inference on {profile.target}, most of it {segment.bound}.")
    else:
        slowest = "the host" if profile.bottleneck is None else f"segment {profile.bottleneck}"
        click.echo(
            f"{profile.interval_ms:.3f} ms between results on {len(profile.segments)} x {profile.target}, bound by "
            f"{slowest}; {profile.latency_ms:.3f} ms through the empty pipeline; "
            f"{profile.simulated.inferences} inferences take {profile.simulated.total_ms / 1e3:.3f} s."
        )
    for sentence in profile.provenance():
        click.echo(sentence)


def _calibrate(runs_file: str, output: str | None, wanted: _Request, others: bool, as_json: bool, quiet: bool) -> None:
    """Runs → a target's file, and how well it explains them."""
    if others or output is None:
        raise UsageError(
            "--calibrate needs --output FILE.toml" if output is None else "--calibrate profiles no model",
            "atoll profile --calibrate RUNS.json --target desktop-usb3 -o my.toml: the target is where the fit starts.",
        )
    if Path(output).suffix != ".toml":
        raise UsageError(f"{output} would not be recognised as a target", "Name it FILE.toml.")
    from atoll.estimate.measured_runs import fit_target, read_runs
    from atoll.files import write_file
    from atoll.hardware.host import dump_target

    def workload_of(run: MeasuredRun) -> Workload:
        return _workloads(run.model, run.original, 1)[0]

    start = wanted.host()
    if wanted.device is None:
        runs = read_runs(runs_file)
    else:
        with _leased(wanted) as device:
            start = start if wanted.bus or wanted.target else wanted.host(device.bus)
            runs = read_runs(runs_file, lambda run: _measured_run(device, run, workload_of(run), wanted, start, quiet))
    target, fits = fit_target(runs, workload_of, start, Path(output).stem)
    write_file(output, dump_target(target))
    if as_json:
        rows = [
            {"model": f"{fit.run.model}", "ms": fit.run.ms, "before_ms": fit.before_ms, "after_ms": fit.after_ms}
            for fit in fits
        ]
        print_json("calibration", target=output, start=start.name, runs=rows)
        return
    table(
        ("model", ">measured ms", f">{start.name}", f">{target.name}", ">error"),
        [
            (
                f"{fit.run.model}",
                f"{fit.run.ms:.3f}",
                f"{fit.before_ms:.3f}",
                f"{fit.after_ms:.3f}",
                f"{fit.error:+.1%}",
            )
            for fit in fits
        ],
    )
    click.echo(f"{output} was fitted to these runs: keep some back to learn its error on others.")


def _measured_run(
    device: EdgeTpu, run: MeasuredRun, work: Workload, wanted: _Request, host: Target, quiet: bool
) -> MeasuredRun:
    """The run with the latencies that it has on a device."""
    from atoll.api.timed_run import compare
    from atoll.device.virtual.virtual_device import CLOCKS_MHZ

    names = {mhz: name for name, mhz in CLOCKS_MHZ.items()}
    if run.clock_mhz not in names:
        raise UsageError(f"{run.model}: no device can be set to {run.clock_mhz:g} MHz", "Measure it yourself.")
    original = None if run.original is None else str(run.original)
    wanted = replace(wanted, original=original, clock=names[run.clock_mhz])
    measured = compare(_run_on(device, run.model, work, wanted, host, quiet), device, None)
    return replace(run, ms=measured.median_ms, first_ms=measured.first_ms)
