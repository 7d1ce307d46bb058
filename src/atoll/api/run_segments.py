"""Segments on their devices, inputs → a pipeline run: times, statistics, the first outputs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from atoll.api.run_options import Run, RunOptions, Tensors
from atoll.compiler.deployment import Deployment, SegmentFile
from atoll.device import EdgeTpu, VirtualEdgeTpu, make_interpreter
from atoll.device.real.runtime import PERFORMANCE
from atoll.model.graph import Model
from atoll.pipeline import Pipeline, TensorSpec
from atoll.pipeline.monitoring.bottleneck import bottleneck
from atoll.pipeline.wiring import Interpreter

OVERLAP = 2
"""Interpreters per virtual device in real time: one takes and gives tensors while the device is busy with the other."""


def run_segments(
    deployment: Deployment,
    devices: Sequence[EdgeTpu],
    inputs: Iterable[Tensors],
    options: RunOptions = RunOptions(),
    on_result: Callable[[int], object] = int,
) -> Run:
    """Run ``options.inferences`` sets of inputs; the first ``options.verify`` are kept with their outputs."""
    groups = dealt(deployment, devices)
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
            [_open(segment, device, options) for device in group for _ in range(per_device(device, options))]
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


def dealt(deployment: Deployment, devices: Sequence[EdgeTpu]) -> list[list[EdgeTpu]]:
    """Each segment's devices."""
    left = iter(devices)
    return [list(itertools.islice(left, segment.replicas)) for segment in deployment.segments]


def per_device(device: EdgeTpu, options: RunOptions) -> int:
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
    from atoll.estimate.latency import latency_function

    return latency_function(segment.compiled or segment.path, target, original=options.original)
