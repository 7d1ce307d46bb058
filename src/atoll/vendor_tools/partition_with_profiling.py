"""``partition_with_profiling``, the vendor's partitioner: a model → compiled segments of about the same latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atoll.cli.measuring import (
    choose_compiler,
    choose_devices,
    device_option,
    effort,
    effort_sentences,
    measuring,
    store_option,
    timeout_option,
    times_of,
)
from atoll.cli.old_output import json_option, print_json, quiet_option, table
from atoll.cli.options import OUTPUT_DIRECTORY
from atoll.errors import UsageError

if TYPE_CHECKING:
    from atoll.api.measuring import Measuring
    from atoll.partitioning.measured.bisection import Profiled

_KINDS = {"any": ("pci", "usb"), "pcionly": ("pci",), "usbonly": ("usb",)}
"""The vendor's names of what to use."""
_HOSTS = {"any": "x86-pcie", "pcionly": "x86-pcie", "usbonly": "desktop-usb3"}
"""The host that the timing model takes for each, when none is named."""
_KEPT_BYTES = 2 << 30
"""Compiled files that stay until the end, because they may be the result."""
_NS = click.IntRange(-1)


@click.command("partition_with_profiling", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--edgetpu_compiler_binary", metavar="PATH", help="Any with the vendor's command line.  [default: atoll's]"
)
@click.option("--model_path", required=True, type=click.Path(readable=False), help="Path to the model.")
@click.option("--num_segments", required=True, type=click.IntRange(1), help="Number of output segment models.")
@click.option(
    "--output_dir", default="/tmp/models/", show_default=True, type=OUTPUT_DIRECTORY, help="Where the segments go."
)
@click.option(
    "--device_type", default="any", show_default=True, type=click.Choice([*_KINDS]), help="What to profile on."
)
@click.option(
    "--diff_threshold_ns",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(0),
    help="Stop when the upper and the lower bound of the latency differ by no more.",
)
@click.option(
    "--partition_search_step",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Places to cut by which a segment grows or shrinks at a time.",
)
@click.option(
    "--delegate_search_step",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Operators by which the compiler's delegate search steps back.",
)
@click.option(
    "--initial_lower_bound_ns", default=-1, show_default=True, type=_NS, help="-1: that of the start's fastest segment."
)
@click.option(
    "--initial_upper_bound_ns", default=-1, show_default=True, type=_NS, help="-1: that of the start's slowest segment."
)
@device_option
@click.option("--target", metavar="NAME|FILE", help="The host of the timing model.  [default: x86-pcie, desktop-usb3]")
@timeout_option
@store_option
@json_option
@quiet_option
def command(
    edgetpu_compiler_binary: str | None,
    model_path: str,
    num_segments: int,
    output_dir: str,
    device_type: str,
    diff_threshold_ns: int,
    partition_search_step: int,
    delegate_search_step: int,
    initial_lower_bound_ns: int,
    initial_upper_bound_ns: int,
    device: str | None,
    target: str | None,
    timeout: int,
    store: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Cut a model into segments of about the same latency, as compiled and measured, and write them.

    The search begins with segments of equal parameter bytes and bisects the latency of the slowest one. One Edge TPU
    is enough; without any, the timing model takes its place. atoll partition --measure finds better cuts with
    fewer measurements.
    """
    _require_bounds(initial_lower_bound_ns, initial_upper_bound_ns)
    from atoll.hardware.host import load_target
    from atoll.partitioning import equal_parameters
    from atoll.partitioning.best_cuts import cut_places
    from atoll.partitioning.measured.bisection import profiled_cuts
    from atoll.support import require_compilable
    from atoll.toolchain import load

    model = load(model_path)
    require_compilable(model)
    positions = cut_places(model.main, num_segments)
    devices = choose_devices(device, _KINDS[device_type])
    compiler = choose_compiler(edgetpu_compiler_binary, devices, timeout, delegate_search_step)
    host = load_target(target or _HOSTS[device_type])
    with measuring(model, compiler, devices, host, store, num_segments, quiet, _KEPT_BYTES) as measure:
        found = profiled_cuts(
            positions,
            measure,
            equal_parameters(model.main, num_segments),
            lower=_seconds(initial_lower_bound_ns),
            upper=_seconds(initial_upper_bound_ns),
            threshold=diff_threshold_ns / 1e9,
            step=partition_search_step,
        )
        bounds = [0, *found.cuts, positions[-1]]
        files = _write(measure, bounds, Path(model_path).name.removesuffix(".tflite"), output_dir)
        report = _report(model_path, measure, found, bounds, files)
    if as_json:
        print_json("partition_with_profiling", **report)
    else:
        _show(report, output_dir)


def _require_bounds(lower: int, upper: int) -> None:
    if -1 < upper < lower:
        raise UsageError(
            f"--initial_lower_bound_ns {lower} is above --initial_upper_bound_ns {upper}",
            "Leave them out: the start gives both.",
        )


def _seconds(nanoseconds: int) -> float | None:
    return None if nanoseconds < 0 else nanoseconds / 1e9


def _write(measure: Measuring, bounds: Sequence[int], stem: str, directory: str) -> list[str]:
    """Every segment, and what the compiler made of it; all files or none. The compiled ones are returned."""
    from atoll.files import output_directory

    names = [f"{stem}_segment_{i}_of_{len(bounds) - 1}" for i in range(len(bounds) - 1)]
    with output_directory(directory) as output:
        for name, start, end in zip(names, bounds, bounds[1:]):
            output.write(f"{name}.tflite", measure.content(start, end))
            output.write(f"{name}_edgetpu.tflite", measure.compiled_file(start, end))
    return [f"{name}_edgetpu.tflite" for name in names]


def _report(
    model: str, measure: Measuring, found: Profiled, bounds: Sequence[int], files: Sequence[str]
) -> dict[str, Any]:
    return {
        "model": model,
        "times": times_of(measure.meter),
        "segments": [
            {"operators": [a, b], "ms": seconds * 1e3, "file": file}
            for a, b, seconds, file in zip(bounds, bounds[1:], found.seconds, files)
        ],
        "slowest_ms": found.bottleneck * 1e3,
        "difference_ms": (found.bottleneck - min(found.seconds)) * 1e3,
        "start_slowest_ms": max(found.start) * 1e3 if math.isfinite(max(found.start)) else None,
        **effort(measure, found.measurements, found.failures),
    }


def _show(report: dict[str, Any], directory: str) -> None:
    table(
        (">segment", "operators", ">ms", "file"),
        [
            (str(n), f"{item['operators'][0]}-{item['operators'][1] - 1}", f"{item['ms']:.3f}", item["file"])
            for n, item in enumerate(report["segments"])
        ],
    )
    slowest, start = report["slowest_ms"], report["start_slowest_ms"]
    before = "a segment of the start failed" if start is None else f"it was {start:.3f} ms at the start"
    click.echo(
        f"The slowest segment takes {slowest:.3f} ms ({before}, with equal parameter bytes), "
        f"{report['difference_ms']:.3f} ms more than the fastest."
    )
    for sentence in effort_sentences(report):
        click.echo(sentence)
    click.echo(f"The segments and their compiled files are in {directory}.")
