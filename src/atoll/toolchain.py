"""The whole way of a model through the program, one call per stage.

load → check → cut → map → emit                          compile_model
compile_model → write → open devices → run → compare     run_pipeline
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll import __version__
from atoll.check import check, require_compilable
from atoll.cut import Partition, Segment, equal_parameters, parameter_bytes, partition_at
from atoll.device import make_interpreter
from atoll.device.inventory import select
from atoll.device.plain import plain_interpreter
from atoll.emit import Compiled, CompiledSegment, caching_token, region_package, segment_name, with_custom_operators
from atoll.errors import VerificationError
from atoll.files import output_directory
from atoll.formats.darwinn import write_package
from atoll.formats.tflite import model_bytes
from atoll.ir.graph import Graph, Model, Tensor
from atoll.ir.subgraph import extract, with_unique_names
from atoll.mapping import map_operators
from atoll.report.check import CheckReport, operator_rows
from atoll.report.run import RunReport, SegmentReport
from atoll.run import Pipeline, StageStats, TensorSpec
from atoll.target.operators import DEFAULT_RUNTIME

Array = npt.NDArray[Any]

COMPILER = f"atoll {__version__}"
"""What our packages name as their compiler."""

_log = logging.getLogger("atoll")


def compile_model(
    model: Model, segments: int = 1, min_runtime: int = DEFAULT_RUNTIME, name: str = ""
) -> tuple[Partition, Compiled]:
    """Cut a model into ``segments`` pieces and compile each for the virtual Edge TPU.

    ``min_runtime`` is the oldest Edge TPU runtime that must be able to run the result; ``name`` (default: the file
    that the model was read from) is what the output files are named after.

    Raises:
        UnsupportedModelError: the model is not quantised, has dynamic shapes, or is compiled already.
        PartitionError: it cannot be cut into that many segments.
    """
    with _stage("check"):
        require_compilable(model)
        model = replace(model, graphs=(with_unique_names(model.main), *model.graphs[1:]))
    with _stage("cut"):
        partition = partition_at(model.main, equal_parameters(model.main, segments), "equal parameter bytes")
    with _stage("compile"):
        token = caching_token(model, segments, min_runtime, __version__)
        compiled = tuple(
            _compile_segment(part, segment_name(name or model.path, i, segments), token, min_runtime)
            for i, part in enumerate(_segment_models(model, partition))
        )
    return partition, Compiled(compiled, token)


def check_model(model: Model, min_runtime: int = DEFAULT_RUNTIME) -> CheckReport:
    """The verdict without compiling. Raises :class:`UnsupportedModelError` where :func:`compile_model` does."""
    require_compilable(model)
    graph = model.main
    mapping = map_operators(graph, check(graph, min_runtime))
    parameters = parameter_bytes(graph)
    mapped = [index for region in mapping.regions for index in region]
    return CheckReport(
        model=model.path,
        total_operators=len(graph.operators),
        mapped_operators=len(mapped),
        mapped_parameters=sum(parameters[i] for i in mapped) / max(1, sum(parameters)),
        runtime=mapping.runtime,
        operators=operator_rows(graph, mapping.statuses),
        findings=tuple(finding for findings in mapping.findings for finding in findings),
    )


def _segment_models(model: Model, partition: Partition) -> Iterator[Model]:
    if len(partition.segments) == 1:
        yield model  # with its signatures and metadata
        return
    for segment in partition.segments:
        yield extract(model, segment.operators, inputs=segment.inputs, outputs=segment.outputs)


def _compile_segment(model: Model, name: str, token: int, min_runtime: int) -> CompiledSegment:
    graph = model.main
    mapping = map_operators(graph, check(graph, min_runtime))
    steps = [
        (step.operators, _package(graph, step.operators, token, mapping.runtime) if step.on_tpu else None)
        for step in mapping.steps
    ]
    return CompiledSegment(name, model, with_custom_operators(model, steps), mapping.regions)


def _package(graph: Graph, region: tuple[int, ...], token: int, runtime: int) -> bytes:
    return write_package(region_package(graph, region, token, runtime, COMPILER))


def write_compiled(compiled: Compiled, directory: str | Path) -> list[Path]:
    """Write every compiled file into ``directory``, all of them or none. Raises :class:`OutputError`."""
    with _stage("write"), output_directory(directory) as output:
        return [output.write(segment.name, model_bytes(segment.model)) for segment in compiled.segments]


def run_pipeline(
    model: Model,
    tpus: int,
    inputs: Iterable[Mapping[str, Array]],
    inferences: int,
    segments_dir: str | Path,
    on_result: Callable[[int], object] = int,
    verify: int = 3,
) -> RunReport:
    """Compile ``model`` into ``tpus`` segments, run them as a pipeline, and compare with the uncut model.

    ``inputs`` gives at least ``inferences`` sets by tensor name; the first ``verify`` outputs are compared bit for bit
    with those of a plain interpreter of the same kernels; ``on_result`` is told how many results there are.

    Raises:
        AtollError: as :func:`compile_model`; and DeviceError, InputError, OutputError, PipelineError.
        VerificationError: an output differs.
    """
    partition, compiled = compile_model(model, tpus)
    paths = write_compiled(compiled, segments_dir)
    with _stage("open devices"):
        devices = [select(f":{i}") for i in range(tpus)]
        interpreters = [make_interpreter(path, device) for path, device in zip(paths, devices)]
        specs = [_spec(model.main.tensors[i]) for i in model.main.inputs]
        pipeline = Pipeline(interpreters, inputs=specs, outputs=partition.outputs)
    sample: list[tuple[Mapping[str, Array], Mapping[str, Array]]] = []
    with _stage("run"), pipeline:
        kept: list[Mapping[str, Array]] = []
        begin = time.perf_counter()
        first = begin
        for done, outputs in enumerate(pipeline.map(_keep(inputs, inferences, kept, verify)), start=1):
            if done == 1:
                first = time.perf_counter()
            if done <= verify:
                sample.append((kept[done - 1], outputs))
            on_result(done)
        end = time.perf_counter()
        stats = pipeline.stats()
    with _stage("compare"):
        _compare_with_whole_model(model, sample)
    slowest = max(stage.mean_s for stage in stats)
    return RunReport(
        model=model.path,
        strategy=partition.strategy,
        inferences=inferences,
        verified=len(sample),
        first_result_s=first - begin,
        wall_s=end - begin,
        throughput=inferences / (end - begin),
        ideal_throughput=1 / slowest,
        times=f"virtual devices: wall-clock times of CPU kernels on this machine's {os.cpu_count()} cores, "
        "not those of an Edge TPU",
        segments=tuple(
            _segment_report(segment, partition.segments[i], device.path, stats[i], slowest)
            for i, (segment, device) in enumerate(zip(compiled.segments, devices))
        ),
    )


def _keep(
    inputs: Iterable[Mapping[str, Array]], count: int, kept: list[Mapping[str, Array]], most: int
) -> Iterator[Mapping[str, Array]]:
    """The first ``count`` inputs; the first ``most`` of them are also kept for the comparison."""
    for item in itertools.islice(inputs, count):
        if len(kept) < most:
            kept.append(item)
        yield item


def _compare_with_whole_model(model: Model, sample: Sequence[tuple[Mapping[str, Array], Mapping[str, Array]]]) -> None:
    """The oracle: the uncut model in one plain interpreter, fed the same inputs in the same order."""
    whole = plain_interpreter(model)
    whole.allocate_tensors()
    for number, (inputs, outputs) in enumerate(sample):
        for detail in whole.get_input_details():
            whole.set_tensor(detail["index"], inputs[detail["name"]])
        whole.invoke()
        for detail in whole.get_output_details():
            expected = whole.get_tensor(detail["index"])
            if expected.tobytes() != outputs[detail["name"]].tobytes():
                raise VerificationError(
                    f"{model.path}: output '{detail['name']}' of inference {number} differs from the uncut model in "
                    f"{np.count_nonzero(expected != outputs[detail['name']])} of {expected.size} values",
                    "This is a fault of atoll: please report it with the model.",
                )


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.shape, tensor.dtype.numpy)


def _segment_report(
    compiled: CompiledSegment, segment: Segment, device: str, stats: StageStats, slowest_s: float
) -> SegmentReport:
    graph = compiled.source.main
    return SegmentReport(
        file=compiled.name,
        device=device,
        operators=len(segment.operators),
        mapped_operators=sum(len(region) for region in compiled.regions),
        on_chip_bytes=0,
        off_chip_bytes=0,
        input_bytes=sum(graph.tensors[i].nbytes for i in graph.inputs),
        output_bytes=sum(graph.tensors[i].nbytes for i in graph.outputs),
        mean_ms=stats.mean_s * 1e3,
        p95_ms=stats.p95_s * 1e3,
        share_of_bottleneck=stats.mean_s / slowest_s,
    )


@contextmanager
def _stage(name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    _log.debug("%s: %.1f ms", name, (time.perf_counter() - begin) * 1e3)
