"""Compiled segments on their devices, inputs → a pipeline run: times, statistics, the first outputs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from atoll.compiler.deployment import Deployment, SegmentFile
from atoll.device import EdgeTpu, Invocation, VirtualEdgeTpu, make_interpreter
from atoll.errors import InputError
from atoll.estimate.latency import latency_function
from atoll.hardware.host import Target
from atoll.model.graph import Model
from atoll.pipeline.monitoring.bottleneck import bottleneck
from atoll.pipeline.monitoring.trace import Trace
from atoll.pipeline.pipeline import Pipeline
from atoll.products.progress import OnProgress, ignore
from atoll.products.run_result import RunResult, SegmentRun, Tensors
from atoll.products.tensor_spec import TensorSpec

OVERLAP = 2
"""Interpreters per virtual device in real time: one takes and gives tensors while the device is busy with the other."""

STALL_S = 120.0
"""The slowest segment of a network known to us takes seconds, even on a CPU."""

Clock = Literal["max", "standard", "reduced"]
Watch = Callable[[Pipeline], AbstractContextManager[object]]
"""From the running pipeline to a context manager that is entered while it runs."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run a deployment."""

    inferences: int = 100
    kept: int = 3
    """The first inputs, so many, are kept with their outputs."""
    devices: tuple[str, ...] = ()
    """Which may be used (``usb``, ``pci:1``, a path); empty: all, real ones first."""
    wait: float | None = None
    """Seconds to wait for busy devices; None: as :func:`atoll.lease` does."""
    hosts: Mapping[str, Target] = field(default_factory=dict)
    """By bus of a virtual device, the host whose latencies it models."""
    real_time: bool = False
    """Virtual devices take as long as modelled."""
    clock: Clock | None = None
    """Clock of the devices; None: ``max`` for virtual ones, what the runtime chooses for real ones."""
    per_device: int | None = None
    """Interpreters per device; None: 2 on virtual devices in real time, 1 elsewhere."""
    stall: float | None = STALL_S
    """Seconds after which an inference of one segment counts as failed; None: never."""
    original: str | Path | None = None
    """The uncompiled model of compiled files."""
    trace: Trace | None = None
    watch: Watch = nullcontext
    """Gives a context manager for the running pipeline, which is entered while it runs."""

    def target_of(self, device: EdgeTpu) -> Target | None:
        """The host that the latency of a device is modelled for."""
        return self.hosts.get(device.bus) if device.virtual else None

    def interpreters_on(self, device: EdgeTpu) -> int:
        """How many interpreters a device gets."""
        return self.per_device or (OVERLAP if device.virtual and self.real_time else 1)

    def original_of(self, segment: SegmentFile) -> str | Path | Model | None:
        """The uncompiled model of a segment, as far as it is known; virtual devices may need it."""
        compiled_from = segment.compiled.source if segment.compiled is not None else None
        return self.original if self.original is not None else compiled_from

    def configured(self, segment: SegmentFile, device: EdgeTpu) -> AbstractContextManager[None]:
        """The clock of the device and, if it is virtual, the latencies of its host, until the block ends."""
        target = self.target_of(device)
        latency: float | Callable[[Invocation], float] = 0.0
        if target is not None:
            latency = latency_function(segment.compiled or segment.path, target, original=self.original)
        clock = self.clock or ("max" if device.virtual else None)
        return device.configured(clock=clock, latency=latency, real_time=self.real_time)


def run_deployment(
    deployment: Deployment,
    devices: Sequence[EdgeTpu],
    frames: Iterable[Tensors],
    settings: RunSettings = RunSettings(),
    on_progress: OnProgress = ignore,
) -> RunResult:
    """Run inputs through compiled segments, each on devices of its own.

    Args:
        deployment: The segments.
        devices: As many as they have replicas together, in the order of the segments.
        frames: At least ``settings.inferences`` sets of inputs by tensor name.
        settings: How.
        on_progress: Called with how many results have come out.

    Raises:
        DeviceError: A device cannot run its file, or is gone.
        PipelineError: The segments do not fit together, or one failed or hung.
        InputError: The inputs do not fit the model.
    """
    groups = _groups(deployment, devices)
    with ExitStack() as stack:
        for segment, group in zip(deployment.segments, groups):
            for device in group:
                stack.enter_context(settings.configured(segment, device))
        segments = [
            [
                make_interpreter(segment.path, device, original=settings.original_of(segment))
                for device in group
                for _ in range(settings.interpreters_on(device))
            ]
            for segment, group in zip(deployment.segments, groups)
        ]
        graph = deployment.interface
        takes = [graph.tensors[i] for i in graph.inputs]
        with (
            Pipeline(
                segments,
                inputs=[TensorSpec(tensor.name, tensor.shape, tensor.dtype.numpy) for tensor in takes],
                outputs=[graph.tensors[i].name for i in graph.outputs],
                trace=settings.trace,
                stall_timeout=settings.stall,
            ) as pipeline,
            settings.watch(pipeline),
        ):
            times, sample = _push_all(
                pipeline,
                frames,
                settings,
                lambda done: on_progress(f"running {deployment.name}", done, settings.inferences),
            )
            stages = pipeline.stats()
        found = bottleneck(stages)
        return RunResult(
            inferences=settings.inferences,
            first_result_s=times[0],
            wall_s=times[1],
            segments=tuple(
                SegmentRun(
                    tuple(device.path for device in group),
                    tuple(stage for stage in stages if stage.segment == number),
                    *_modelled_figures(group, settings),
                )
                for number, group in enumerate(groups)
            ),
            advice=f"{found.message}. {found.help}" if found else "",
            sample=sample,
            virtual=any(device.virtual for device in devices),
            all_virtual=all(device.virtual for device in devices),
            real_time=settings.real_time,
            interpreters_per_device=settings.interpreters_on(devices[0]),
            targets=tuple(dict.fromkeys(t.name for t in map(settings.target_of, devices) if t is not None)),
        )


def _push_all(
    pipeline: Pipeline, frames: Iterable[Tensors], settings: RunSettings, on_result: Callable[[int], object]
) -> tuple[tuple[float, float], tuple[tuple[Tensors, Tensors], ...]]:
    """Seconds to the first and to the last result, and the first inputs with their outputs."""
    kept: list[Tensors] = []
    sample: list[tuple[Tensors, Tensors]] = []

    def entering() -> Iterator[Tensors]:
        for item in itertools.islice(frames, settings.inferences):
            if len(kept) < settings.kept:
                kept.append(item)
            yield item

    done = 0
    begin = first = time.perf_counter()
    for done, outputs in enumerate(pipeline.map(entering()), start=1):
        if done == 1:
            first = time.perf_counter()
        if done <= settings.kept:
            sample.append((kept[done - 1], outputs))
        on_result(done)
    if done < settings.inferences:
        raise InputError(
            f"there are inputs for {done} of {settings.inferences} inferences",
            "Give more, or ask for fewer.",
        )
    return (first - begin, time.perf_counter() - begin), tuple(sample)


def _groups(deployment: Deployment, devices: Sequence[EdgeTpu]) -> list[list[EdgeTpu]]:
    """Each segment's devices."""
    left = iter(devices)
    return [list(itertools.islice(left, segment.replicas)) for segment in deployment.segments]


def _modelled_figures(group: Sequence[EdgeTpu], settings: RunSettings) -> tuple[float | None, float]:
    """The modelled latency of a segment, and its share of late inferences."""
    virtual = [device for device in group if isinstance(device, VirtualEdgeTpu)]
    known = bool(settings.hosts) and bool(virtual)
    return (
        max(device.modelled_s for device in virtual) if known else None,
        sum(device.late for device in virtual) / settings.inferences,
    )
