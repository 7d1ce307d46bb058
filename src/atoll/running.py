"""A deployment, devices and inputs → a pipeline run, its proof against the uncut model, its report."""

from __future__ import annotations

import gc
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from atoll import toolchain
from atoll.deploying import Deployment, SegmentFile, deploy
from atoll.device import EdgeTpu, VirtualEdgeTpu, lease, make_interpreter
from atoll.device.base import BUSES
from atoll.device.inventory import edge_tpus, fitting
from atoll.device.plain import plain_interpreter
from atoll.device.runtime import PERFORMANCE
from atoll.errors import DeviceError, InvalidModelError, UsageError, VerificationError
from atoll.ir.graph import Model
from atoll.report.run import Deviation, RunReport, SegmentReport
from atoll.run import Pipeline, StageStats, TensorSpec
from atoll.run.insight import bottleneck
from atoll.run.trace import Trace
from atoll.run.wiring import Interpreter
from atoll.target.host import Target

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

STALL_S = 120.0
"""The slowest segment of a network known to us takes seconds, even on a CPU."""

OVERLAP = 2
"""Interpreters per virtual device in real time: one takes and gives tensors while the device is busy with the other."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run a deployment."""

    inferences: int = 100
    verify: int = 3
    """The first outputs, so many, are compared with those of the uncut model."""
    devices: tuple[str, ...] = ()
    """Which may be used (``usb``, ``pci:1``, a path); empty: all, real ones first."""
    timeout: float | None = 0
    """Seconds to wait for busy devices; None: as long as it takes."""
    on_wait: Callable[[str], object] | None = None
    target: Target | None = None
    """A host whose modelled latencies virtual devices report."""
    by_bus: Mapping[str, Target] = field(default_factory=dict)
    """The same, per bus of the device, where there is no ``target``."""
    real_time: bool = False
    """Virtual devices take as long as modelled."""
    clock: Literal["max", "standard", "reduced"] | None = None
    """Of the devices; None: ``max`` for virtual ones, what the runtime chooses for real ones."""
    per_device: int | None = None
    """Interpreters per device; None: 2 on virtual devices in real time, 1 elsewhere."""
    stall_timeout: float | None = STALL_S
    """Seconds after which an inference of one segment counts as failed; None: never."""
    original: str | None = None
    """The uncompiled model of compiled files."""
    trace: Trace | None = None
    watch: Callable[[Pipeline], AbstractContextManager[object]] = field(default=nullcontext)
    """Entered around the run, with the running pipeline."""

    def target_of(self, device: EdgeTpu) -> Target | None:
        """What the latency of a device is modelled for."""
        return (self.target or self.by_bus.get(device.bus)) if device.virtual else None


@dataclass(frozen=True, slots=True)
class Run:
    """What happened: times in seconds, and the inputs and outputs kept for the comparison."""

    inferences: int
    first_result_s: float
    wall_s: float
    stages: tuple[StageStats, ...]
    advice: str
    """What limits the throughput, and what would help."""
    modelled_s: tuple[float, ...]
    """Per segment, the latency that its virtual device models; empty without a target."""
    late: tuple[float, ...]
    """Per segment, the share of inferences that this CPU was too slow for to be in real time."""
    sample: tuple[tuple[Tensors, Tensors], ...]


def run_pipeline(
    model: Model,
    tpus: int,
    inputs: Iterable[Tensors],
    segments_dir: str | Path,
    options: RunOptions = RunOptions(),
    on_result: Callable[[int], object] = int,
) -> RunReport:
    """Compile ``model`` into ``tpus`` segments of equal parameter bytes, run them, and compare with the uncut model.

    ``inputs`` gives at least ``options.inferences`` sets by tensor name.

    Raises:
        AtollError: as :func:`atoll.toolchain.compile_models`; and DeviceError, InputError, OutputError, PipelineError.
        VerificationError: an output differs.
    """
    model = toolchain.named(model)
    deployment = deploy(model, toolchain.equal_partition(model.main, tpus), segments_dir)
    return run_deployment(deployment, model, inputs, options, on_result)


def run_deployment(
    deployment: Deployment,
    whole: Model | None,
    inputs: Iterable[Tensors],
    options: RunOptions = RunOptions(),
    on_result: Callable[[int], object] = int,
) -> RunReport:
    """Run compiled segments as a pipeline on devices of their own, and compare with the uncut model if it is given.

    Raises as :func:`run_pipeline`. On real devices a difference is reported, and no error.
    """
    usable = usable_devices(deployment, options.devices)
    if options.clock is not None and not (options.target or options.by_bus) and usable[0].virtual:
        raise UsageError(
            "the clock of virtual devices changes modelled latencies, and none are asked for",
            "Add --real-time, --bus or --target to --clock.",
        )
    with leased(usable, deployment.devices, options.timeout, options.on_wait) as devices:
        run = run_segments(deployment, devices, inputs, options, on_result)
        deviations = compare_with_whole(whole, run.sample) if whole is not None else ()
    if deviations and all(device.virtual for device in devices):
        worst = deviations[0]
        raise VerificationError(
            f"{deployment.name}: output '{worst.output}' of inference {worst.inference} differs from the uncut model "
            f"in {worst.count} of {worst.size} values",
            "This is a fault of atoll: please report it with the model.",
        )
    return run_report(deployment, devices, run, whole is not None, deviations, options)


def usable_devices(deployment: Deployment, chosen: Sequence[str] = ()) -> list[EdgeTpu]:
    """The devices that can run the files, of those that the user chose (default: all).

    Files for real devices run on virtual ones too, when the uncompiled segments are at hand.

    Raises:
        DeviceError: there are not so many as segments and replicas, and what to do.
    """
    found = {device.path: device for choice in chosen for device in fitting(choice)} if chosen else {}
    devices = list(found.values()) if chosen else list(edge_tpus())
    real = [device for device in devices if not device.virtual]
    usable = [device for device in devices if device.virtual] if deployment.virtual or not real else real
    count = deployment.devices
    if len(usable) >= count:
        choosy = any(segment.kind != "any" for segment in deployment.segments)
        return _of_kinds(usable, deployment) if choosy else usable
    if deployment.virtual:
        raise DeviceError(
            f"{count} virtual Edge TPUs are asked for, there are {len(usable) or 'none'}",
            f"ATOLL_VIRTUAL_TPUS=pci:{count} makes them. Real ones run only what the vendor's compiler made "
            "(--codegen vendor).",
        )
    raise DeviceError(
        f"{count} Edge TPUs are asked for, there are {len(usable) or 'none'}",
        "Use fewer segments (--tpus), or see what is there: atoll devices.",
    )


def _of_kinds(usable: Sequence[EdgeTpu], deployment: Deployment) -> list[EdgeTpu]:
    """One device for each replica of each segment, of the kind that it wants; those without a wish come last."""
    left = list(usable)
    found: dict[int, list[EdgeTpu]] = {}
    for number, segment in sorted(enumerate(deployment.segments), key=lambda item: item[1].kind == "any"):
        fit = [device for device in left if segment.kind == "any" or device.bus in BUSES[segment.kind]]
        if len(fit) < segment.replicas:
            raise DeviceError(
                f"segment {number} is for {segment.replicas} {segment.kind} Edge TPUs, {len(fit) or 'none'} are left",
                "Change its device in the partition file (any: whatever there is), or see atoll devices. Virtual ones: "
                "ATOLL_VIRTUAL_TPUS=pci:2,usb:2.",
            )
        found[number] = fit[: segment.replicas]
        left = [device for device in left if device not in found[number]]
    return [device for number in range(len(deployment.segments)) for device in found[number]]


@contextmanager
def leased(
    usable: Sequence[EdgeTpu],
    count: int,
    timeout: float | None = 0,
    on_wait: Callable[[str], object] | None = None,
) -> Iterator[tuple[EdgeTpu, ...]]:
    """``count`` of the devices for this process alone, until the block ends; all at once, so that nobody deadlocks.

    Raises:
        DeviceBusyError: others have them for longer than ``timeout`` seconds.
    """
    with lease(count, devices=usable, timeout=timeout, on_wait=on_wait) as devices:
        order = {device.path: place for place, device in enumerate(usable)}
        yield tuple(sorted(devices, key=lambda device: order[device.path]))
    for _ in range(2):
        gc.collect()  # interpreters hold their device until they are gone: the pipeline goes first, then they can


def run_segments(
    deployment: Deployment,
    devices: Sequence[EdgeTpu],
    inputs: Iterable[Tensors],
    options: RunOptions = RunOptions(),
    on_result: Callable[[int], object] = int,
) -> Run:
    """Run ``options.inferences`` sets of inputs; the first ``options.verify`` are kept with their outputs."""
    groups = _dealt(deployment, devices)
    graph = deployment.interface
    takes = [graph.tensors[i] for i in graph.inputs]
    specs = [TensorSpec(tensor.name, tensor.shape, tensor.dtype.numpy) for tensor in takes]
    names = [graph.tensors[i].name for i in graph.outputs]
    kept: list[Tensors] = []
    sample: list[tuple[Tensors, Tensors]] = []

    def entering() -> Iterator[Tensors]:
        for item in itertools.islice(inputs, options.inferences):
            if len(kept) < options.verify:
                kept.append(item)
            yield item

    with _timed(deployment, groups, options):
        segments = [
            [_open(segment, device, options) for device in group for _ in range(_per_device(device, options))]
            for segment, group in zip(deployment.segments, groups)
        ]
        with (
            Pipeline(
                segments, inputs=specs, outputs=names, trace=options.trace, stall_timeout=options.stall_timeout
            ) as pipeline,
            options.watch(pipeline),
        ):
            begin = first = time.perf_counter()
            for done, outputs in enumerate(pipeline.map(entering()), start=1):
                if done == 1:
                    first = time.perf_counter()
                if done <= options.verify:
                    sample.append((kept[done - 1], outputs))
                on_result(done)
            wall = time.perf_counter() - begin
            stages = tuple(pipeline.stats())
        found = bottleneck(stages)
        advice = f"{found.message}. {found.help}" if found else ""
        virtual = [[device for device in group if isinstance(device, VirtualEdgeTpu)] for group in groups]
        modelled = tuple(max((device.modelled_s for device in group), default=0.0) for group in virtual)
        late = tuple(sum(device.late for device in group) / options.inferences for group in virtual)
        known = options.target is not None or bool(options.by_bus)
    return Run(options.inferences, first - begin, wall, stages, advice, modelled if known else (), late, tuple(sample))


def _dealt(deployment: Deployment, devices: Sequence[EdgeTpu]) -> list[list[EdgeTpu]]:
    """Each segment's devices."""
    left = iter(devices)
    return [list(itertools.islice(left, segment.replicas)) for segment in deployment.segments]


def _per_device(device: EdgeTpu, options: RunOptions) -> int:
    return options.per_device or (OVERLAP if device.virtual and options.real_time else 1)


def _open(segment: SegmentFile, device: EdgeTpu, options: RunOptions) -> Interpreter:
    original: Model | str | None = options.original
    if segment.compiled is not None and original is None:
        original = segment.compiled.source
    if device.virtual:
        return make_interpreter(segment.path, device, original=original)  # type: ignore[no-any-return]
    chosen = {"Performance": PERFORMANCE[options.clock]} if options.clock else {}
    return make_interpreter(segment.path, device, options=chosen)  # type: ignore[no-any-return]


@contextmanager
def _timed(deployment: Deployment, groups: Sequence[Sequence[EdgeTpu]], options: RunOptions) -> Iterator[None]:
    """Virtual devices have the latencies of the target until the block ends."""
    changed: list[tuple[VirtualEdgeTpu, Any]] = []
    try:
        for segment, group in zip(deployment.segments, groups):
            for device in group:
                if isinstance(device, VirtualEdgeTpu):
                    changed.append((device, (device.latency, device.real_time, device.clock)))
                    device.latency, device.real_time = _latency(segment, device, options), options.real_time
                    device.clock, device.late = options.clock or "max", 0
        yield
    finally:
        for device, before in changed:
            device.latency, device.real_time, device.clock = before


def _latency(segment: SegmentFile, device: EdgeTpu, options: RunOptions) -> Any:
    target = options.target_of(device)
    if target is None:
        return 0.0
    from atoll.profiling import latency_function

    return latency_function(segment.compiled or segment.path, target, original=options.original)


def compare_with_whole(model: Model, sample: Iterable[tuple[Tensors, Tensors]]) -> tuple[Deviation, ...]:
    """The oracle: the uncut model in one plain interpreter of the same kernels, fed the same inputs in the same order.

    Every output that differs from it in at least one bit.
    """
    whole = plain_interpreter(model)
    try:
        whole.allocate_tensors()
    except RuntimeError as error:
        raise InvalidModelError(f"{model.path}: LiteRT cannot run it: {error}", "Convert it again.") from error
    found = []
    for number, (inputs, outputs) in enumerate(sample):
        for detail in whole.get_input_details():
            whole.set_tensor(detail["index"], inputs[detail["name"]])
        whole.invoke()
        for detail in whole.get_output_details():
            expected, got = whole.get_tensor(detail["index"]), outputs[detail["name"]]
            if expected.tobytes() != got.tobytes():
                steps = np.abs(expected.astype(np.float64) - got.astype(np.float64))
                count = int(np.count_nonzero(expected != got))
                found.append(Deviation(number, detail["name"], count, expected.size, float(steps.max(initial=0))))
    return tuple(found)


def run_report(
    deployment: Deployment,
    devices: Sequence[EdgeTpu],
    run: Run,
    compared: bool,
    deviations: Sequence[Deviation],
    options: RunOptions,
) -> RunReport:
    """Everything that a run showed."""
    groups = _dealt(deployment, devices)
    stages = [[stage for stage in run.stages if stage.segment == n] for n in range(len(groups))]
    periods = [_period(each) for each in stages]
    slowest = max(periods)
    return RunReport(
        model=deployment.name,
        strategy=deployment.strategy,
        compiler=deployment.compiler,
        inferences=run.inferences,
        verified=len(run.sample) if compared else 0,
        deviations=tuple(deviations),
        first_result_s=run.first_result_s,
        wall_s=run.wall_s,
        throughput=run.inferences / run.wall_s,
        ideal_throughput=1 / slowest,
        advice=run.advice,
        times=_times(devices, options),
        targets=tuple({target.name: None for target in map(options.target_of, devices) if target is not None}),
        virtual=any(device.virtual for device in devices),
        interpreters_per_device=_per_device(devices[0], options),
        segments=tuple(
            _segment_report(segment, group, each, period / slowest, modelled, late)
            for segment, group, each, period, modelled, late in zip(
                deployment.segments, groups, stages, periods, run.modelled_s or [None] * len(groups), run.late
            )
        ),
        agreements=deployment.agreements,
    )


def _period(stages: Sequence[StageStats]) -> float:
    """Seconds per item that a segment needs with all its devices."""
    return 1 / sum(1 / stage.mean_s for stage in stages if stage.mean_s)


def _times(devices: Sequence[EdgeTpu], options: RunOptions) -> str:
    if not any(device.virtual for device in devices):
        return "measured on real Edge TPUs"
    if options.real_time:
        return "virtual devices in real time: each takes as long as modelled, or longer"
    return (
        f"virtual devices: wall-clock times of CPU kernels on this machine's {os.cpu_count()} cores, "
        "not those of an Edge TPU (what that would take: atoll plan, atoll profile, or --real-time)"
    )


def _segment_report(
    segment: SegmentFile,
    group: Sequence[EdgeTpu],
    stages: Sequence[StageStats],
    share: float,
    modelled_s: float | None,
    late: float,
) -> SegmentReport:
    count = sum(stage.count for stage in stages)
    return SegmentReport(
        file=segment.path.name,
        device=", ".join(device.path for device in group),
        replicas=len(group),
        operators=segment.operators,
        mapped_operators=segment.mapped_operators,
        on_chip_bytes=segment.on_chip_bytes,
        off_chip_bytes=segment.off_chip_bytes,
        input_bytes=segment.input_bytes,
        output_bytes=segment.output_bytes,
        mean_ms=sum(stage.total_s for stage in stages) / max(count, 1) * 1e3,
        p95_ms=max(stage.p95_s for stage in stages) * 1e3,
        modelled_ms=None if modelled_s is None else modelled_s * 1e3,
        late_share=late,
        share_of_bottleneck=share,
    )
