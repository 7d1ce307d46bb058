"""``atoll run``: a model and a number of Edge TPUs → a pipeline, a proof, and a table."""

from __future__ import annotations

import contextlib
import itertools
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from atoll.cli.old_output import json_option, print_json, progress, quiet_option, table
from atoll.cli.options import INFERENCES, OUTPUT_DIRECTORY, OUTPUT_FILE, SECONDS, SEED, FiniteFloat
from atoll.errors import UsageError
from atoll.hardware.buses import BUSES as TARGETS
from atoll.hardware.host import host_of as load_host

if TYPE_CHECKING:
    from atoll.compiler.deployment import Deployment
    from atoll.hardware.host import Target
    from atoll.model.graph import Model
    from atoll.pipeline import Pipeline
    from atoll.reporting.run_report import RunReport


@click.command("run")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", type=click.Path(readable=False))
@click.option("--tpus", type=click.IntRange(1), help="Segments, one Edge TPU for each.  [default: 2]")
@click.option("--partition", "partition_file", metavar="FILE.json", help="Cut as atoll partition wrote there.")
@click.option("--inferences", default=100, show_default=True, type=INFERENCES, help="How many inputs to run.")
@click.option("--input", "input_file", metavar="FILE", help="A .npy or .npz file or an image; random values otherwise.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Seed of the random inputs.")
@click.option("--original", metavar="MODEL", help="The uncompiled model of compiled files, to compare with it.")
@click.option(
    "--segments-dir", metavar="DIR", type=OUTPUT_DIRECTORY, help="Keep the compiled segments there.  [default: nowhere]"
)
@click.option(
    "--codegen",
    type=click.Choice(["auto", "virtual", "vendor"]),
    default="auto",
    show_default=True,
    help="Who compiles; auto: the vendor's compiler if there are real Edge TPUs and it is installed.",
)
@click.option("--compiler", metavar="PATH", help="The vendor's compiler.")
@click.option(
    "--device", "devices", multiple=True, metavar="DEVICE", help="Use these only: usb, pci, usb:0, :2, or a path."
)
@click.option("--wait", metavar="SECONDS", type=SECONDS, help="For busy devices.  [default: for ever]")
@click.option(
    "--stall",
    metavar="SECONDS",
    default=120.0,
    show_default=True,
    type=FiniteFloat(0.1, 1e6),
    help="Give up when a segment takes so long for one inference.",
)
@click.option(
    "--real-time",
    is_flag=True,
    help="Virtual devices take as long as modelled, for --bus or --target, or else each for its own bus.",
)
@click.option("--bus", type=click.Choice([*TARGETS]), help="Model the latency of Edge TPUs there.")
@click.option("--target", metavar="NAME|FILE", help="Host: one of the package, or a .toml file, instead of --bus.")
@click.option("--clock", type=click.Choice(["max", "standard", "reduced"]), help="Of the Edge TPUs.")
@click.option(
    "--per-device",
    type=click.IntRange(1, 8),
    metavar="N",
    help="Interpreters per Edge TPU: with 2, tensors are copied while it works.  "
    "[default: 2 with --real-time, 1 otherwise]",
)
@click.option("--metrics", "port", metavar="PORT", type=click.IntRange(0, 65535), help="Serve Prometheus on 127.0.0.1.")
@click.option("--trace", "trace_file", metavar="FILE", type=OUTPUT_FILE, help="Write what ran when, for Perfetto.")
@json_option
@quiet_option
def command(
    models: tuple[str, ...],
    tpus: int | None,
    partition_file: str | None,
    inferences: int,
    input_file: str | None,
    seed: int,
    original: str | None,
    segments_dir: str | None,
    codegen: Literal["auto", "virtual", "vendor"],
    compiler: str | None,
    devices: tuple[str, ...],
    wait: float | None,
    stall: float,
    real_time: bool,
    bus: str | None,
    target: str | None,
    clock: Literal["max", "standard", "reduced"] | None,
    per_device: int | None,
    port: int | None,
    trace_file: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Cut MODEL into segments and run them as a pipeline on several Edge TPUs.

    The first outputs are compared with those of the uncut model: bit for bit on virtual devices. MODEL may also be the
    compiled segments of a model, in order.
    """
    host = load_host(bus, target) if bus or target else None
    by_bus = {name: load_host(name, None) for name in TARGETS} if real_time and host is None else {}
    from atoll.api.running import RunOptions, run_deployment
    from atoll.pipeline.monitoring.trace import Trace
    from atoll.products.inputs import random_inputs, read_inputs
    from atoll.products.partition import EQUAL_PARAMETERS
    from atoll.reporting.run_report import columns, proof, rows

    with tempfile.TemporaryDirectory(prefix="atoll-") as temporary:
        with progress(f"compiling {', '.join(models)}", quiet=quiet):
            plan = _Plan(tpus, partition_file, original, segments_dir or temporary, codegen, compiler, devices)
            deployment, whole = plan.carry_out(models)
        graph = deployment.interface
        inputs = itertools.cycle(read_inputs(input_file, graph)) if input_file else random_inputs(graph, seed)
        trace = Trace() if trace_file else None
        options = RunOptions(
            inferences=inferences,
            devices=devices,
            timeout=wait,
            on_wait=_say,
            target=host,
            by_bus=by_bus,
            stall_timeout=stall,
            real_time=real_time,
            clock=clock,
            per_device=per_device,
            original=original,
            trace=trace,
            watch=lambda pipeline: _watched(pipeline, deployment.name, inferences, port, quiet),
        )
        report = run_deployment(deployment, whole, inputs, options)
    if trace is not None and trace_file is not None:
        trace.write(trace_file)
    if as_json:
        print_json("run", **report.fields())
        return
    table(columns(report), rows(report))
    click.echo(proof(report))
    if len(report.segments) > 1 and report.strategy == EQUAL_PARAMETERS:
        click.echo("Cut into equal parameter bytes, as the vendor's compiler does; atoll partition finds better cuts.")
    _show(
        report, [target for target in (host, *by_bus.values()) if target and target.name in report.targets], real_time
    )
    if segments_dir:
        click.echo(f"Compiled segments: {segments_dir}")


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to come from what the user named to files that can run."""

    tpus: int | None
    partition_file: str | None
    original: str | None
    directory: str
    codegen: Literal["auto", "virtual", "vendor"]
    compiler: str | None
    devices: tuple[str, ...]

    def carry_out(self, paths: tuple[str, ...]) -> tuple[Deployment, Model | None]:
        """The deployment, and the uncut model to compare with, if it is there."""
        from atoll import toolchain
        from atoll.compiler.deployment import deployed
        from atoll.model import is_compiled

        first = toolchain.load(paths[0])
        if len(paths) > 1 or is_compiled(first):
            self._refuse_cutting()
            whole = toolchain.load(self.original) if self.original else None
            return deployed(paths, whole), whole
        if self.original is not None:
            raise UsageError(f"{paths[0]} is not compiled: it is the original itself", "Leave --original out.")
        return self._compile(first), first

    def _refuse_cutting(self) -> None:
        named = {
            "--tpus": self.tpus,
            "--partition": self.partition_file,
            "--compiler": self.compiler,
            "--codegen": None if self.codegen == "auto" else self.codegen,
        }
        useless = [name for name, value in named.items() if value is not None]
        if useless:
            raise UsageError(f"{useless[0]} is for a model that is not compiled yet", "Leave it out.")

    def _compile(self, model: Model) -> Deployment:
        from atoll import toolchain
        from atoll.compiler.choosing import choose_compiler
        from atoll.device.inventory import edge_tpus, fitting
        from atoll.partitioning import read_partition
        from atoll.support import require_compilable

        require_compilable(model)
        replicas: tuple[int, ...] = ()
        kinds: tuple[str, ...] = ()
        if self.partition_file is None:
            partition = toolchain.equal_partition(model.main, self.tpus or 2)
        elif self.tpus is not None:
            raise UsageError("--tpus and --partition both say how to cut", "Leave one of the two out.")
        else:
            file = read_partition(self.partition_file, model.main)
            partition, replicas, kinds = file.partition, file.replicas, file.devices
        found = [device for choice in self.devices for device in fitting(choice)] if self.devices else edge_tpus()
        real = any(not device.virtual for device in found)
        by = choose_compiler(self.codegen, self.compiler, real_devices=real, on_message=logging.getLogger("atoll").info)
        return toolchain.deploy(model, partition, self.directory, by, replicas, kinds)


@contextlib.contextmanager
def _watched(pipeline: Pipeline, name: str, inferences: int, port: int | None, quiet: bool) -> Iterator[None]:
    """Metrics and the live view, while the pipeline runs."""
    from atoll.cli.live import live_view
    from atoll.pipeline.monitoring.metrics import MetricsServer

    with contextlib.ExitStack() as stack:
        if port is not None:
            server = stack.enter_context(MetricsServer(lambda: {name: pipeline.stats()}, port))
            _say(f"metrics: http://127.0.0.1:{server.port}/metrics")
        stack.enter_context(live_view(pipeline, f"running {name}", inferences, quiet))
        yield


def _show(report: RunReport, targets: Sequence[Target], real_time: bool) -> None:
    from atoll.reporting.run_report import not_in_real_time

    late = not_in_real_time(report) if real_time else []
    click.echo(
        f"{report.throughput:.1f} inferences/s over {report.inferences}; segment {report.bottleneck} is the slowest "
        f"and alone would allow {report.ideal_throughput:.1f}/s ({report.efficiency:.0%} reached)."
    )
    if report.advice and not late and (real_time or not report.virtual):  # else it is about this machine's CPU
        click.echo(f"{report.advice[0].upper()}{report.advice[1:]}")
    click.echo(f"Times: {report.times}.")
    if late:
        which = f"segment{'s' if len(late) > 1 else ''} {', '.join(map(str, late))}"
        click.echo(
            f"NOT in real time: this CPU takes longer than the Edge TPU for {which}; "
            "the column 'modelled' has the Edge TPU's times."
        )
    for target in targets:
        from atoll.estimate.accuracy import error_sentence, held_out_error

        click.echo(
            f"Modelled for {target.name}: each segment by itself, without a pipeline's host (atoll profile --tpus has "
            f"that). Error: {error_sentence(held_out_error(target, 1))}."
        )
    if report.interpreters_per_device > 1:
        click.echo(
            f"{report.interpreters_per_device} interpreters per Edge TPU: tensors are copied while it works "
            "(--per-device 1 for one, as on real devices by default)."
        )
    if report.agreements:
        from atoll.compiler.external import agreement

        table(agreement.COLUMNS, agreement.table_rows(report.agreements))
        for line in agreement.sentences(report.agreements):
            click.echo(line)


def _say(message: str) -> None:
    click.echo(message, err=True)
