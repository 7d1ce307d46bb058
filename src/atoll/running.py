"""Compiled segments, devices and inputs → a pipeline run, its proof against the uncut model, its report."""

from __future__ import annotations

import gc
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.cut import Partition
from atoll.device import EdgeTpu, lease, make_interpreter
from atoll.device.inventory import edge_tpus
from atoll.device.plain import plain_interpreter
from atoll.emit import Compiled, CompiledSegment
from atoll.errors import DeviceError, InvalidModelError, VerificationError
from atoll.ir.graph import Model
from atoll.report.run import RunReport, SegmentReport
from atoll.run import Pipeline, StageStats, TensorSpec

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Run:
    """What happened: times in seconds, and the inputs and outputs kept for the comparison."""

    inferences: int
    first_result_s: float
    wall_s: float
    stages: tuple[StageStats, ...]
    sample: tuple[tuple[Tensors, Tensors], ...]


@contextmanager
def virtual_devices(
    count: int, timeout: float | None = 0, on_wait: Callable[[str], object] | None = None
) -> Iterator[tuple[EdgeTpu, ...]]:
    """``count`` virtual Edge TPUs for this process alone, until the block ends.

    Raises:
        DeviceError: there are not so many; DeviceBusyError: others have them for longer than ``timeout`` seconds.
    """
    devices = [device for device in edge_tpus() if device.virtual]
    if len(devices) < count:
        raise DeviceError(
            f"{count} virtual Edge TPUs are asked for, there are {len(devices) or 'none'}",
            f"ATOLL_VIRTUAL_TPUS=pci:{count} makes them. Real ones run only what the vendor's compiler made.",
        )
    with lease(count, devices=devices, timeout=timeout, on_wait=on_wait) as leased:
        yield leased
    for _ in range(2):
        gc.collect()  # interpreters hold their device until they are gone: the pipeline goes first, then they can


def run_segments(
    paths: Sequence[Path],
    devices: Sequence[EdgeTpu],
    model: Model,
    partition: Partition,
    inputs: Iterable[Tensors],
    inferences: int,
    on_result: Callable[[int], object] = int,
    keep: int = 0,
) -> Run:
    """Run ``inferences`` sets of inputs through compiled segments, one device each; the first ``keep`` are kept."""
    interpreters = [make_interpreter(path, device) for path, device in zip(paths, devices)]
    entering = [model.main.tensors[i] for i in model.main.inputs]
    specs = [TensorSpec(tensor.name, tensor.shape, tensor.dtype.numpy) for tensor in entering]
    kept: list[Tensors] = []
    sample: list[tuple[Tensors, Tensors]] = []

    def first_inputs() -> Iterator[Tensors]:
        for item in itertools.islice(inputs, inferences):
            if len(kept) < keep:
                kept.append(item)
            yield item

    with Pipeline(interpreters, inputs=specs, outputs=partition.outputs) as pipeline:
        begin = first = time.perf_counter()
        for done, outputs in enumerate(pipeline.map(first_inputs()), start=1):
            if done == 1:
                first = time.perf_counter()
            if done <= keep:
                sample.append((kept[done - 1], outputs))
            on_result(done)
        wall = time.perf_counter() - begin
        return Run(inferences, first - begin, wall, tuple(pipeline.stats()), tuple(sample))


def compare_with_whole(model: Model, sample: Iterable[tuple[Tensors, Tensors]]) -> None:
    """The oracle: the uncut model in one plain interpreter of the same kernels, fed the same inputs in the same order.

    Raises:
        VerificationError: an output differs in at least one bit.
    """
    whole = plain_interpreter(model)
    try:
        whole.allocate_tensors()
    except RuntimeError as error:
        raise InvalidModelError(f"{model.path}: LiteRT cannot run it: {error}", "Convert it again.") from error
    for number, (inputs, outputs) in enumerate(sample):
        for detail in whole.get_input_details():
            whole.set_tensor(detail["index"], inputs[detail["name"]])
        whole.invoke()
        for detail in whole.get_output_details():
            expected, got = whole.get_tensor(detail["index"]), outputs[detail["name"]]
            if expected.tobytes() != got.tobytes():
                raise VerificationError(
                    f"{model.path}: output '{detail['name']}' of inference {number} differs from the uncut model in "
                    f"{np.count_nonzero(expected != got)} of {expected.size} values",
                    "This is a fault of atoll: please report it with the model.",
                )


def run_report(
    model: Model, partition: Partition, compiled: Compiled, devices: Sequence[EdgeTpu], run: Run
) -> RunReport:
    slowest = max(stage.mean_s for stage in run.stages)
    return RunReport(
        model=model.path,
        strategy=partition.strategy,
        inferences=run.inferences,
        verified=len(run.sample),
        first_result_s=run.first_result_s,
        wall_s=run.wall_s,
        throughput=run.inferences / run.wall_s,
        ideal_throughput=1 / slowest,
        times=f"virtual devices: wall-clock times of CPU kernels on this machine's {os.cpu_count()} cores, "
        "not those of an Edge TPU",
        segments=tuple(
            _segment_report(segment, device.path, stage, slowest)
            for segment, device, stage in zip(compiled.segments, devices, run.stages)
        ),
    )


def _segment_report(compiled: CompiledSegment, device: str, stage: StageStats, slowest_s: float) -> SegmentReport:
    graph = compiled.source.main
    return SegmentReport(
        file=compiled.name,
        device=device,
        operators=len(graph.operators),
        mapped_operators=sum(len(region) for region in compiled.regions),
        on_chip_bytes=compiled.on_chip_bytes,
        off_chip_bytes=compiled.off_chip_bytes,
        input_bytes=sum(graph.tensors[i].nbytes for i in graph.inputs),
        output_bytes=sum(graph.tensors[i].nbytes for i in graph.outputs),
        mean_ms=stage.mean_s * 1e3,
        p95_ms=stage.p95_s * 1e3,
        share_of_bottleneck=stage.mean_s / slowest_s,
    )
