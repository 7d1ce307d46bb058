"""``atoll.run``: a model and a number of Edge TPUs → a pipeline, a proof that it is right, and a report."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from atoll import toolchain
from atoll.compiler.choosing import Codegen, choose_compiler
from atoll.compiler.deployment import Deployment, deployed
from atoll.compiler.interface import Compiler
from atoll.device.choice import choose_devices
from atoll.errors import InputError, UsageError
from atoll.files import scratch_directory
from atoll.hardware.buses import BUSES
from atoll.hardware.host import Target, host_of
from atoll.model import is_compiled
from atoll.model.graph import Graph, Model
from atoll.model.load import ModelLike, load
from atoll.partitioning import Partition, PartitionFile, read_partition
from atoll.pipeline.monitoring.metrics import MetricsServer
from atoll.pipeline.monitoring.trace import Trace
from atoll.pipeline.pipeline import Pipeline
from atoll.pipeline.run_deployment import STALL_S, Clock, RunSettings, Watch
from atoll.products.arguments import require_types, require_within
from atoll.products.inputs import read_inputs
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.products.random_inputs import random_inputs
from atoll.products.run_result import Tensors
from atoll.products.tensor_spec import Array
from atoll.reporting.run_report import RunReport
from atoll.support import require_compilable

DEFAULT_TPUS = 2

_log = logging.getLogger("atoll")


def run(
    models: ModelLike | Sequence[ModelLike],
    *,
    tpus: int | None = None,
    partition: str | Path | Partition | None = None,
    inferences: int = 100,
    input: str | Path | Iterable[Tensors] | None = None,  # noqa: A002 - the option's name
    seed: int = 0,
    original: ModelLike | None = None,
    segments_dir: str | Path | None = None,
    codegen: Codegen = "auto",
    compiler: str | None = None,
    devices: str | Sequence[str] = (),
    wait: float | None = None,
    stall: float | None = STALL_S,
    real_time: bool = False,
    bus: str | None = None,
    target: str | Path | Target | None = None,
    clock: Clock | None = None,
    per_device: int | None = None,
    verify: int = 3,
    metrics_port: int | None = None,
    trace: str | Path | None = None,
    watch: Watch = nullcontext,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> RunReport:
    """Cut a model into segments and run them as a pipeline on several Edge TPUs.

    The first outputs are compared with those of the uncut model: bit for bit on virtual devices, where a difference is
    an error; on real ones it is reported.

    Args:
        models: A model, or the compiled segments of one, as files in their order.
        tpus: Segments, one Edge TPU for each; 2 if neither this nor ``partition`` is given.
        partition: Where to cut: a partition, or a file that ``atoll partition`` wrote, with replicas and devices.
        inferences: How many inputs to run.
        input: A ``.npy`` or ``.npz`` file or an image, used again and again; or sets of inputs by tensor name, as many
            as ``inferences`` at least; None: random values, in the full range of their type.
        seed: Seed of the random values.
        original: The uncompiled model of compiled files, to compare with it. Files of the vendor's compiler need it to
            run on virtual devices, as a file.
        segments_dir: Where to keep the compiled segments; None: nowhere.
        codegen: Who compiles; ``auto``: the vendor's compiler if there are real Edge TPUs and it is installed.
        compiler: Path of the vendor's compiler; None: the first in ``PATH``.
        devices: Use these only: ``usb``, ``pci``, ``usb:0``, ``:2``, or a path. None named: all, real ones first.
        wait: Seconds to wait for devices that others use; None: as ``ATOLL_LEASE_TIMEOUT`` says, else for ever.
        stall: Seconds that a segment may take for one inference; None: for ever.
        real_time: Virtual devices take as long as modelled, for ``bus`` or ``target``, or else each for its own bus.
        bus: Model the latency of Edge TPUs there: ``pcie``, ``usb3`` or ``usb2``.
        target: The same for a host: one of the package, a ``.toml`` file, or a target; instead of ``bus``.
        clock: Clock of the Edge TPUs: ``max``, ``standard`` or ``reduced``; None: ``max`` for virtual ones, what the
            runtime chooses for real ones.
        per_device: Interpreters per Edge TPU, from 1; with 2, tensors are copied while it works. None: 2 on virtual
            devices in real time, 1 elsewhere.
        verify: How many of the first outputs are compared.
        metrics_port: Serve Prometheus on this port of 127.0.0.1 while it runs; 0: a free one, told to ``on_message``.
        trace: File for what ran when, for ui.perfetto.dev.
        watch: A function from the running pipeline to a context manager, which is entered while the pipeline runs.
        on_progress: Called with what is compiled, and how many results have come out.
        on_message: Called with what the lease waits for, and where the metrics are.

    Raises:
        FileAccessError, InvalidModelError: A file cannot be read.
        UnsupportedModelError, PartitionError: The model cannot be compiled, or not be cut into so many segments.
        UsageError: Arguments that contradict one another.
        InputError: The inputs do not fit the model.
        CompilerFailedError: The vendor's compiler is there, and refuses.
        DeviceError: There are not so many devices, they are busy for longer than ``wait``, or cannot run the files.
        PipelineError: A segment failed or hung.
        OutputError: ``segments_dir`` or ``trace`` cannot be written.
        VerificationError: An output of virtual devices differs.

    >>> report = atoll.run("mobilenet_v2.tflite", tpus=2, inferences=10)  # doctest: +SKIP
    >>> report.verified, report.deviations  # doctest: +SKIP
    (3, ())
    """
    require_types(run, locals())
    require_within(1, tpus=tpus, inferences=inferences)
    require_within(1, 8, per_device=per_device)
    require_within(0, seed=seed, verify=verify)
    require_within(0, 65535, metrics_port=metrics_port)
    require_within(0.001, stall=stall)
    files = _files(models)
    chosen = (devices,) if isinstance(devices, str) else tuple(devices)
    hosts = _hosts(bus, target, real_time)
    cutting, model = _Cutting(tpus, partition, codegen, compiler, chosen), load(files[0])
    with nullcontext(segments_dir) if segments_dir else scratch_directory() as directory, _traced(trace) as events:
        if len(files) > 1 or is_compiled(model):
            deployment, whole = cutting.done_already(files, original)
        else:
            (cut, how), whole = cutting.to_do(model, original, on_progress), model
            deployment = toolchain.deploy(model, cut.partition, directory, how, cut.replicas, cut.devices, on_progress)
        settings = RunSettings(
            inferences=inferences,
            kept=verify,
            devices=chosen,
            wait=wait,
            hosts=hosts,
            real_time=real_time,
            clock=clock,
            per_device=per_device,
            stall=stall,
            original=original.path if isinstance(original, Model) else original,
            trace=events,
            watch=lambda pipeline: _watched(pipeline, deployment.name, watch, metrics_port, on_message),
        )
        frames = _frames(input, deployment.interface, seed)
        report = toolchain.run(deployment, whole, frames, settings, on_progress, on_message)
    return report if segments_dir is None else replace(report, segments_dir=str(segments_dir))


def _files(models: ModelLike | Sequence[ModelLike]) -> list[ModelLike]:
    files: list[ModelLike] = [models] if isinstance(models, str | Path | Model) else list(models)
    if not files:
        raise UsageError("there is no model to run", "Name one.")
    return files


def _hosts(bus: str | None, target: str | Path | Target | None, real_time: bool) -> Mapping[str, Target]:
    """By bus, the host whose latencies are modelled: one for all, in real time each bus its own, otherwise none."""
    if bus or target is not None:
        return dict.fromkeys(BUSES, host_of(bus, target))
    return {name: host_of(name) for name in BUSES} if real_time else {}


@dataclass(frozen=True, slots=True)
class _Cutting:
    """How a model that is not compiled yet becomes files that can run."""

    tpus: int | None
    partition: str | Path | Partition | None
    codegen: Codegen
    compiler: str | None
    devices: tuple[str, ...]

    def done_already(self, files: Sequence[ModelLike], original: ModelLike | None) -> tuple[Deployment, Model | None]:
        """What compiled files are, and the uncut model, if it is there: then nobody can say how to cut it."""
        named = {
            "--tpus": self.tpus,
            "--partition": self.partition,
            "--compiler": self.compiler,
            "--codegen": None if self.codegen == "auto" else self.codegen,
        }
        useless = [name for name, value in named.items() if value is not None]
        if useless:
            raise UsageError(f"{useless[0]} is for a model that is not compiled yet", "Leave it out.")
        whole = None if original is None else load(original)
        return deployed([item.path if isinstance(item, Model) else item for item in files], whole), whole

    def to_do(
        self, model: Model, original: ModelLike | None, on_progress: OnProgress
    ) -> tuple[PartitionFile, Compiler]:
        """Where to cut a model that is not compiled, and what compiles it."""
        cut, compiler = self.places(model, original), self.chosen_compiler()
        on_progress(f"compiling {model.path}")
        return cut, compiler

    def places(self, model: Model, original: ModelLike | None) -> PartitionFile:
        """Where to cut, and what runs each segment."""
        if original is not None:
            raise UsageError(f"{model.path} is not compiled: it is the original itself", "Leave --original out.")
        require_compilable(model)
        if self.tpus is not None and self.partition is not None:
            raise UsageError("--tpus and --partition both say how to cut", "Leave one of the two out.")
        if self.partition is None:
            return PartitionFile(toolchain.equal_partition(model.main, self.tpus or DEFAULT_TPUS), (), ())
        if isinstance(self.partition, Partition):
            return PartitionFile(self.partition, (), ())
        return read_partition(self.partition, model.main)

    def chosen_compiler(self) -> Compiler:
        """The vendor's compiler if it is to be used, else ours."""
        real = any(not device.virtual for device in choose_devices(self.devices))
        return choose_compiler(self.codegen, self.compiler, real_devices=real, on_message=_log.info)


def _frames(input: str | Path | Iterable[Tensors] | None, interface: Graph, seed: int) -> Iterable[Tensors]:  # noqa: A002
    if input is None:
        return random_inputs(interface, seed)
    if isinstance(input, str | Path):
        return itertools.cycle(read_inputs(input, interface))
    names = [interface.tensors[i].name for i in interface.inputs]
    return (frame if isinstance(frame, Mapping) else _only(frame, names) for frame in input)


def _only(frame: Array, names: Sequence[str]) -> Tensors:
    """An array for a model of one input."""
    if len(names) != 1:
        raise InputError(f"a frame is one array, and the model has {len(names)} inputs", "Give a dict by tensor name.")
    return {names[0]: frame}


@contextmanager
def _traced(path: str | Path | None) -> Iterator[Trace | None]:
    """What notes what ran when, and is written there when all has gone well; None: nothing."""
    events = None if path is None else Trace()
    yield events
    if path is not None and events is not None:
        events.write(path)


@contextmanager
def _watched(pipeline: Pipeline, name: str, watch: Watch, port: int | None, on_message: OnMessage) -> Iterator[None]:
    """Metrics and whatever the caller watches with, while the pipeline runs."""
    with ExitStack() as stack:
        if port is not None:
            server = stack.enter_context(MetricsServer(lambda: {name: pipeline.stats()}, port))
            on_message(f"metrics: http://127.0.0.1:{server.port}/metrics")
        stack.enter_context(watch(pipeline))
        yield
