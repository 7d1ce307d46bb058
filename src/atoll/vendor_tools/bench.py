"""``atoll bench``: models and numbers of devices → throughput, by the names and flags of the vendor's tools."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atoll.cli.old_output import json_option, print_json, progress, quiet_option, table
from atoll.cli.options import INFERENCES, OUTPUT_FILE
from atoll.vendor_tools.graph import Names, Numbers

if TYPE_CHECKING:
    from pathlib import Path

    from atoll.api.benching import Models, Timed
    from atoll.hardware.host import Target

_F = TypeVar("_F", bound=Callable[..., Any])
_HOST = "x86-pcie"
_MODELLED_TPUS = 4
"""Of how many devices, when nobody says: the numbers for which pipelines were measured (docs/timing.md)."""
# What the vendor's tools measure when nothing is named.
_PIPELINED = "inception_v3_299_quant,inception_v4_299_quant"
_SIDE_BY_SIDE = (
    "mobilenet_v1_1.0_224_quant,mobilenet_v2_1.0_224_quant,ssd_mobilenet_v1_coco_quant_postprocess,"
    "ssd_mobilenet_v2_coco_quant_postprocess,inception_v1_224_quant,inception_v2_224_quant,inception_v3_299_quant,"
    "inception_v4_299_quant"
)


@click.group("bench")
def command() -> None:
    """Measure, or model, what several Edge TPUs gain.

    A model is named as in its file NAME_edgetpu.tflite, NAME_segment_0_of_2_edgetpu.tflite or NAME.tflite (compiled for
    the run), or is a network of the zoo. Virtual devices take the times of CPU kernels, and they share the CPU's
    cores: measured on them, more devices gain little. --modelled says what Edge TPUs would do.
    """


def _common_options(function: _F) -> _F:
    options = [
        click.option("--device_type", default="any", type=click.Choice(["any", "pcionly", "usbonly"])),
        click.option("--modelled", is_flag=True, help="Simulate Edge TPUs; no device is used."),
        click.option("--target", metavar="NAME|FILE", help=f"The host of --modelled.  [default: {_HOST}]"),
        json_option,
        quiet_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@command.command("model_pipelining_performance_analysis")
@click.option("--data_dir", default="/tmp/models/", show_default=True, help="Where the models are.")
@click.option("--model_list", type=Names(), default=_PIPELINED, show_default=True, help="Which models: a,b")
@click.option("--num_segments_list", type=Numbers(), default="1,2,3,4", show_default=True, help="Into how many pieces.")
@click.option("--num_inferences", default=100, show_default=True, type=INFERENCES, help="For each of them.")
@click.option(
    "--segment_latencies_path",
    default="",
    metavar="FILE",
    type=OUTPUT_FILE,
    help="Write the segments' latencies, in ns.",
)
@_common_options
def model_pipelining_performance_analysis(
    data_dir: str,
    model_list: Sequence[str],
    num_segments_list: Sequence[int],
    num_inferences: int,
    segment_latencies_path: str,
    **options: Any,
) -> None:
    """Run models as pipelines of several lengths: throughput, and what each segment takes."""
    from atoll.api import benching
    from atoll.errors import UsageError
    from atoll.files import write_file

    if segment_latencies_path and len(model_list) != 1:
        raise UsageError(f"--segment_latencies_path goes with one model, {len(model_list)} are named")
    _require_counts("--num_segments_list", num_segments_list)
    with _bench(data_dir, model_list, num_segments_list, max(num_segments_list), **options) as bench:

        def run(files: Sequence[Path], count: int, show: Callable[[int], object]) -> Timed:
            if bench.target is not None:
                return benching.modelled(files, num_inferences, bench.target)
            return benching.pipelined(files, bench.devices[:count], num_inferences, show)

        results = {
            name: [bench.timed(name, bench.models.files(name, n), n, num_inferences, run) for n in num_segments_list]
            for name in model_list
        }
    if segment_latencies_path:
        write_file(segment_latencies_path, _latencies(results[model_list[0]]))
    bench.show("model_pipelining", results)


@command.command("multiple_tpus_performance_analysis")
@click.option("--num_requests", default=30_000, show_default=True, type=INFERENCES, help="For each number.")
@click.option("--test_data_dir", default="test_data", show_default=True, help="Where the models are.")
@click.option("--model_list", type=Names(), default=_SIDE_BY_SIDE, help="Which models: a,b  [default: the vendor's 8]")
@click.option(
    "--num_tpus_list",
    type=Numbers(),
    default="",
    help="On how many devices.  [default: 1 up to all, modelled: up to 4]",
)
@_common_options
def multiple_tpus_performance_analysis(
    num_requests: int, test_data_dir: str, model_list: Sequence[str], num_tpus_list: Sequence[int], **options: Any
) -> None:
    """Run each model on one device, on two, ... side by side, the requests being shared out."""
    from atoll.api import benching

    if num_tpus_list:
        _require_counts("--num_tpus_list", num_tpus_list)
    with _bench(test_data_dir, model_list, [1], max(num_tpus_list, default=None), **options) as bench:

        def run(files: Sequence[Path], count: int, show: Callable[[int], object]) -> Timed:
            if bench.target is not None:
                return benching.modelled(files, num_requests, bench.target, replicas=count)
            return benching.side_by_side(files[0], bench.devices[:count], num_requests, show)

        counts = num_tpus_list or range(1, len(bench.devices) + 1)
        results = {
            name: [bench.timed(name, bench.models.files(name), n, num_requests, run) for n in counts]
            for name in model_list
        }
    bench.show("multiple_tpus", results)


class _Bench:
    """What both commands work with: models, and devices or a modelled host."""

    def __init__(
        self, models: Models, devices: Sequence[Any], target: Target | None, as_json: bool, quiet: bool
    ) -> None:
        self.models, self.devices, self.target = models, devices, target
        self._as_json, self._quiet = as_json, quiet

    def timed(
        self,
        name: str,
        files: Sequence[Path],
        count: int,
        requests: int,
        run: Callable[[Sequence[Path], int, Callable[[int], object]], Timed],
    ) -> Timed:
        with progress(f"{name} on {count}", requests, self._quiet or self.target is not None) as show:
            return run(files, count, show)

    def show(self, kind: str, results: Mapping[str, Sequence[Timed]]) -> None:
        from atoll.api.benching import times_of

        if self.target is None:
            times = times_of(self.devices)
        else:
            times = f"modelled for {self.target.name} ({self.target.description}); nothing was run"
        if self._as_json:
            models = [{"model": name, "results": [_fields(t, rows[0]) for t in rows]} for name, rows in results.items()]
            print_json("bench", benchmark=kind, times=times, models=models)
            return
        columns = (
            "model",
            ">Edge TPUs",
            ">requests",
            ">seconds",
            ">per second",
            ">ms each",
            ">speed-up",
            ">segments, ms",
        )
        rows = [(name, *_row(timed, timeds[0])) for name, timeds in results.items() for timed in timeds]
        table(columns, rows)
        click.echo(f"Times: {times}.")


@contextmanager
def _bench(
    directory: str,
    model_list: Sequence[str],
    pieces: Sequence[int],
    count: int | None,
    device_type: str,
    modelled: bool,
    target: str | None,
    as_json: bool,
    quiet: bool,
) -> Iterator[_Bench]:
    """Models in ``pieces``, all there before the first of them is measured, and ``count`` devices (None: all)."""
    from atoll.api import benching
    from atoll.errors import UsageError
    from atoll.hardware.host import load_target

    if not model_list:
        raise UsageError("no model is named", "Give some: --model_list a,b")
    if target and not modelled:
        raise UsageError("--target names a host to be modelled", "Give --modelled too.")
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="atoll-"))
        models = benching.Models(directory, scratch)
        host = load_target(target or _HOST) if modelled else None
        devices: Sequence[Any] = range(count or _MODELLED_TPUS)
        if host is None:
            devices = stack.enter_context(benching.devices_for(count, device_type, _say))
        for name in model_list:
            for number in pieces:
                models.files(name, number)  # what is wrong is told before minutes of measuring
        yield _Bench(models, devices, host, as_json, quiet)


def _say(message: str) -> None:
    click.echo(message, err=True)


def _require_counts(option: str, counts: Sequence[int]) -> None:
    from atoll.errors import UsageError

    if not counts or min(counts) < 1:
        raise UsageError(f"{option} is {','.join(map(str, counts)) or 'empty'}", "Give numbers from 1 on: 1,2,3")


def _row(timed: Timed, first: Timed) -> tuple[str, ...]:
    return (
        str(timed.devices),
        str(timed.requests),
        f"{timed.seconds:.3f}",
        f"{timed.per_second:.1f}",
        f"{1e3 / timed.per_second:.3f}",
        f"{timed.per_second / first.per_second:.2f}",
        " ".join(f"{ms:.2f}" for ms in timed.segment_ms),
    )


def _fields(timed: Timed, first: Timed) -> dict[str, object]:
    return {
        "devices": timed.devices,
        "requests": timed.requests,
        "seconds": timed.seconds,
        "per_second": timed.per_second,
        "speed_up": timed.per_second / first.per_second,
        "segment_ms": timed.segment_ms,
    }


def _latencies(results: Sequence[Timed]) -> str:
    """The vendor's format: per pipeline the number of segments, then the latency of each in ns, a line each."""
    lines = [line for t in results for line in (len(t.segment_ms), *(round(ms * 1e6) for ms in t.segment_ms))]
    return "".join(f"{line}\n" for line in lines)
