"""``atoll profile``: a model and a target → where the time of an inference goes, or runs → a target of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from atoll.cli.output import json_option, print_json, progress, quiet_option, table
from atoll.errors import UsageError

if TYPE_CHECKING:
    from atoll.profiling import MeasuredRun, Workload
    from atoll.report.profile import Profile
    from atoll.target.host import Target

_TARGETS = {"pcie": "x86-pcie", "usb3": "desktop-usb3", "usb2": "pi3-usb2"}
"""The measured host that stands for a bus."""


@click.command("profile")
@click.argument("model", required=False, type=click.Path(readable=False))
@click.option("--bus", type=click.Choice([*_TARGETS]), help="What the Edge TPUs hang on.  [default: pcie]")
@click.option("--target", metavar="NAME|FILE", help="Host: one of the package, or a .toml file, instead of --bus.")
@click.option("--tpus", default=1, show_default=True, type=click.IntRange(1), help="Segments, one Edge TPU for each.")
@click.option("--clock", type=click.Choice(["max", "standard", "reduced"]), default="max", show_default=True)
@click.option("--original", metavar="MODEL", help="The uncompiled model of a vendor-compiled file.")
@click.option("--measure-cpu", is_flag=True, help="Run the operators of the CPU here instead of estimating them.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write one row per operator.")
@click.option("--trace", "trace_file", metavar="FILE", help="Write a trace of the first inferences, for Perfetto.")
@click.option("--calibrate", "runs_file", metavar="FILE", help="Fit a target to the measured runs in a JSON file.")
@click.option("-o", "--output", metavar="FILE", help="Where --calibrate writes the target (.toml).")
@json_option
@quiet_option
def command(
    model: str | None,
    bus: str | None,
    target: str | None,
    tpus: int,
    clock: str,
    original: str | None,
    measure_cpu: bool,
    csv_file: str | None,
    trace_file: str | None,
    runs_file: str | None,
    output: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say where the time of an inference of MODEL goes, without an Edge TPU.

    MODEL is compiled first, in as many segments as there are Edge TPUs, or is a compiled file. With --calibrate
    there is no MODEL: measured latencies make a target of your own, to be named with --target.
    """
    from atoll.target.host import load_target

    if bus and target:
        raise UsageError("--bus and --target both name a host", "Leave one of the two out.")
    host = load_target(target or _TARGETS[bus or "pcie"])
    if runs_file is not None:
        others = (model, original, csv_file, trace_file, measure_cpu, tpus > 1, clock != "max")
        _calibrate(runs_file, output, host, any(others), as_json)
        return
    if model is None or output is not None:
        raise UsageError(
            "no model is named" if model is None else "--output goes with --calibrate",
            "atoll profile MODEL, or atoll profile --calibrate RUNS.json -o my.toml.",
        )
    from atoll import profiling
    from atoll.device.virtual import CLOCKS_MHZ
    from atoll.files import write_file
    from atoll.report.profile import operators_csv

    workloads = _workloads(model, original, tpus)
    measured = None
    if measure_cpu:
        with progress("measuring operators on the CPU", quiet=quiet):
            measured = [profiling.measure_cpu(work) for work in workloads]
    profile, trace = profiling.profile_model(model, workloads, host, clock_mhz=CLOCKS_MHZ[clock], measured_cpu=measured)
    if csv_file:
        write_file(csv_file, operators_csv(profile))
    if trace_file:
        write_file(trace_file, trace)
    if as_json:
        print_json("profile", **profile.fields())
    else:
        _show(profile)


def _workloads(path: str | Path, original: str | Path | None, tpus: int) -> list[Workload]:
    """What each Edge TPU has to do."""
    from atoll import toolchain
    from atoll.profiling import is_compiled, workload

    model = toolchain.load(path)
    if is_compiled(model):
        if tpus > 1:
            raise UsageError(f"{path} is compiled already and cannot be cut", "Give the model it was compiled from.")
        return [workload(path, original)]
    if original is not None:
        raise UsageError(f"{path} is not compiled, so it has no original", "Leave --original out.")
    _, compiled = toolchain.compile_models([model], toolchain.CompileOptions(segments=tpus))
    return [workload(segment) for segment in compiled.segments]


def _show(profile: Profile) -> None:
    from atoll.report.profile import LEGEND, OPERATOR_COLUMNS, SEGMENT_COLUMNS, operator_rows, segment_rows

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


def _calibrate(runs_file: str, output: str | None, start: Target, others: bool, as_json: bool) -> None:
    """Runs → a target's file, and how well it explains them."""
    if others or output is None:
        raise UsageError(
            "--calibrate needs --output FILE.toml" if output is None else "--calibrate profiles no model",
            "atoll profile --calibrate RUNS.json --target desktop-usb3 -o my.toml: the target is where the fit starts.",
        )
    if Path(output).suffix != ".toml":
        raise UsageError(f"{output} would not be recognised as a target", "Name it FILE.toml.")
    from atoll.files import write_file
    from atoll.profiling import fit_target, read_runs
    from atoll.target.host import dump_target

    def workload_of(run: MeasuredRun) -> Workload:
        return _workloads(run.model, run.original, 1)[0]

    target, fits = fit_target(read_runs(runs_file), workload_of, start, Path(output).stem)
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
