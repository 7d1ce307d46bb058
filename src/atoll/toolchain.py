"""The whole way of a model through the program, one call per stage.

load → check → cut → map → plan memory → emit     compile_models
compile_models → write                            atoll.api.deploying
lease → run → compare → report                    run
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from atoll.compiler.emit import (
    Compiled,
    CompiledSegment,
    caching_token,
    parameter_blobs,
    region_package,
    region_skeleton,
    segment_name,
    with_custom_operators,
)
from atoll.compiler.memory import ModelParameters, ModelPlan, model_parameters, plan_memory
from atoll.compiler.memory.order import OrderSearch, best_order
from atoll.compiler.package_format import write_package
from atoll.compiler.parameters import parameter_size
from atoll.errors import AtollError, UnsupportedModelError, UsageError
from atoll.files import output_directory
from atoll.findings import Finding
from atoll.hardware.generations import DEFAULT, Generation
from atoll.model.graph import Graph, Model
from atoll.model.subgraph import boundary, extract, with_unique_names
from atoll.model.tflite import model_bytes, read_model
from atoll.partitioning import Partition, equal_parameters, partition_at
from atoll.products.partition import EQUAL_PARAMETERS
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.support import Support, operator_support, require_compilable
from atoll.support.operators import DEFAULT_RUNTIME, Status
from atoll.support.regions import Regions, choose_regions
from atoll.version import __version__

COMPILER = f"atoll {__version__}"
"""What our packages name as their compiler."""

if TYPE_CHECKING:
    from atoll.compiler.deployment import Deployment
    from atoll.pipeline.run_deployment import RunSettings
    from atoll.products.run_result import Tensors
    from atoll.reporting.run_report import RunReport

_log = logging.getLogger("atoll")


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """What a compilation is asked for; the vendor's option in brackets."""

    segments: int = 1
    """How many files to cut one model into, each for an Edge TPU of its own (``-n``)."""
    min_runtime: int | None = None
    """The oldest Edge TPU runtime that must be able to run the result (``-m``); None: the generation's default."""
    all_regions: bool = False
    """Map later regions too, each as a custom operator of its own (``-a``)."""
    stop_at: tuple[tuple[str, ...], ...] = ()
    """Per model, the tensors behind which everything stays on the CPU (``-i``)."""
    search_step: int = 0
    """When compilation fails, stop this many operators earlier and try again (``-d``, ``-k``); 0: do not."""
    generation: Generation = DEFAULT
    cpu_graph: bool = True
    """Keep the original operators in the file, so that it runs without any delegate."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to compile a segment: reported when it begins, and again, with ``failure``, if it fails."""

    segment: int
    operators: int
    """How many operators, from the first on, may be mapped."""
    tensors: tuple[str, ...]
    """Where mapping stops; empty when it does not."""
    failure: AtollError | None = None


def load(path: str | Path) -> Model:
    """Read a model for what follows here: every tensor of graph 0 has a name of its own.

    Raises as :func:`atoll.model.tflite.read_model`.
    """
    return named(read_model(path))


def named(model: Model) -> Model:
    """The model with a name of its own for every tensor of graph 0."""
    return replace(model, graphs=(with_unique_names(model.main), *model.graphs[1:]))


def compile_model(
    model: Model, segments: int = 1, min_runtime: int = DEFAULT_RUNTIME, name: str = ""
) -> tuple[Partition, Compiled]:
    """Cut a model into ``segments`` pieces and compile each for the virtual Edge TPU.

    ``min_runtime`` is the oldest Edge TPU runtime that must be able to run the result; ``name`` (default: the file
    that the model was read from) is what the output files are named after. Raises as :func:`compile_models`.
    """
    partitions, compiled = compile_models(
        [replace(model, path=name or model.path)], CompileOptions(segments, min_runtime)
    )
    return partitions[0], compiled


def compile_models(
    models: Sequence[Model],
    options: CompileOptions = CompileOptions(),
    on_attempt: Callable[[Attempt], object] = lambda _: None,
    partition: Partition | None = None,
) -> tuple[tuple[Partition, ...], Compiled]:
    """Compile one model, in one or more segments, or several that share one Edge TPU's memory.

    ``partition`` (of one model, whose tensor names must be unique) says where to cut, and into how many segments;
    without it they get equal parameter bytes.

    Raises:
        UnsupportedModelError: a model is not quantised, has dynamic shapes, or is compiled already.
        PartitionError: it cannot be cut into that many segments.
        UsageError: options that contradict each other, or name a tensor or a runtime that does not exist.
    """
    if partition is not None:
        options = replace(options, segments=len(partition.segments))
    _require_consistent(models, options)
    with _stage("check"):
        for model in models:
            require_compilable(model)
        models = [named(model) for model in models]
    with _stage("cut"):
        partitions = (partition,) if partition else tuple(equal_partition(m.main, options.segments) for m in models)
    token = caching_token(models, options, __version__)
    # Segments have a chip each, co-compiled models share one.
    groups = [[part] for part in _segment_models(models[0], partitions[0])] if options.segments > 1 else [models]
    compiled: list[CompiledSegment] = []
    for parts in groups:
        with _stage(f"compile {', '.join(part.path for part in parts)}"):
            compiled += _compile_group(parts, len(compiled), options, token, on_attempt)
    return partitions, Compiled(tuple(compiled), token)


def search_order(models: Sequence[Model], options: CompileOptions, rates: Sequence[float]) -> OrderSearch:
    """In which order to co-compile models of which model i runs ``rates[i]`` times as often as one of rate 1.

    Raises as :func:`compile_models`.
    """
    _require_consistent(models, options)
    for model in models:
        require_compilable(model)
    return best_order(_parameters(models, _map(models, options), options), rates, options.generation)


def equal_partition(graph: Graph, segments: int) -> Partition:
    """Segments of about equal parameter bytes; tensor names must be unique. Raises PartitionError."""
    return partition_at(graph, equal_parameters(graph, segments), EQUAL_PARAMETERS)


def _require_consistent(models: Sequence[Model], options: CompileOptions) -> None:
    problem = ""
    if len(models) > 1 and options.segments > 1:
        problem = "several models cannot be cut into segments"
    elif options.stop_at and options.segments > 1:
        problem = "segments and intermediate tensors exclude each other"
    elif options.stop_at and options.search_step:
        problem = "the delegate search chooses the intermediate tensors itself"
    elif len(models) > 1 and options.search_step:
        problem = "the delegate search works on one model"
    elif options.stop_at and len(options.stop_at) != len(models):
        problem = f"there are {len(models)} models and {len(options.stop_at)} lists of intermediate tensors"
    elif options.search_step < 0:
        problem = f"a search step of {options.search_step} goes nowhere"
    if problem:
        raise UsageError(problem, "Leave one of the two out, or compile in two steps.")
    names: dict[str, str] = {}
    for model in models:
        name = segment_name(model.path, 0, 1)
        if name in names:
            raise UsageError(
                f"{names[name]} and {model.path} would both be compiled to {name}", "Rename one of the models."
            )
        names[name] = model.path


def _compile_group(
    parts: Sequence[Model],
    index: int,
    options: CompileOptions,
    token: int,
    on_attempt: Callable[[Attempt], object],
) -> list[CompiledSegment]:
    """Compile models that share a chip. If that fails and a search is asked for, stop earlier and earlier."""
    if not options.search_step:
        return _compile_parts(parts, index, options, token)
    (part,) = parts
    graph = part.main
    tensors: tuple[str, ...] = ()
    for count in range(len(graph.operators), 0, -options.search_step):
        if count < len(graph.operators):
            tensors = tuple(graph.tensors[i].name for i in boundary(graph, range(count))[1])
        attempt = Attempt(index, count, tensors)
        on_attempt(attempt)
        try:
            return _compile_parts(parts, index, options, token, count)
        except UnsupportedModelError as error:
            on_attempt(replace(attempt, failure=error))
            failure = error
    raise failure


def _compile_parts(
    parts: Sequence[Model], index: int, options: CompileOptions, token: int, most: int | None = None
) -> list[CompiledSegment]:
    """map → plan memory → emit. Of each part the first ``most`` operators may be mapped."""
    begin = time.perf_counter()
    mappings = _map(parts, options, most)
    plan = plan_memory(_parameters(parts, mappings, options), options.generation)
    emitted = [
        _emit(part, mapping, memory, options, token) for part, mapping, memory in zip(parts, mappings, plan.models)
    ]
    seconds = time.perf_counter() - begin
    return [
        CompiledSegment(segment_name(part.path, index, options.segments), part, model, mapping, memory, seconds)
        for part, model, mapping, memory in zip(parts, emitted, mappings, plan.models)
    ]


def _map(parts: Sequence[Model], options: CompileOptions, most: int | None = None) -> list[Regions]:
    runtime = options.generation.default_runtime if options.min_runtime is None else options.min_runtime
    mappings = []
    for number, part in enumerate(parts):
        support = _first_operators(part.main, operator_support(part.main, runtime), most)
        stop_at = options.stop_at[number] if options.stop_at else ()
        mappings.append(choose_regions(part.main, support, options.all_regions, stop_at))
    return mappings


def _parameters(parts: Sequence[Model], mappings: Sequence[Regions], options: CompileOptions) -> list[ModelParameters]:
    return [
        model_parameters(part.main, itertools.chain(*mapping.regions), parameter_size, part.path, options.generation)
        for part, mapping in zip(parts, mappings)
    ]


def _first_operators(graph: Graph, support: Support, most: int | None) -> Support:
    """The support with everything from operator ``most`` on kept on the CPU, with the statuses of an ``-i`` stop."""
    if most is None or most >= len(graph.operators):
        return support
    behind = {i for operator in graph.operators[most:] for i in operator.outputs}
    verdicts = list(support.verdicts)
    for index in range(most, len(verdicts)):
        follows = any(i in behind for i in graph.operators[index].inputs)
        status = Status.MORE_THAN_ONE if follows else Status.UNSPECIFIED
        why = f"The search for a compilation that succeeds stops before operator #{most}."
        finding = Finding("search", graph.where(index), why, "See why the longer attempts failed.", status.value)
        verdicts[index] = replace(verdicts[index], findings=(*verdicts[index].findings, finding))
    return replace(support, verdicts=tuple(verdicts))


def _emit(model: Model, mapping: Regions, memory: ModelPlan, options: CompileOptions, token: int) -> Model:
    graph = model.main
    steps: list[tuple[tuple[int, ...], bytes | None]] = []
    for step in mapping.steps:
        package = None
        if step.on_tpu:
            where = step.operators, memory.layers, options.generation
            cached, streamed = parameter_blobs(graph, *where)
            beside = b"" if options.cpu_graph else region_skeleton(model, *where)
            package = write_package(
                region_package(
                    graph, step.operators, token, mapping.runtime, COMPILER, cached.data, streamed.data, beside
                )
            )
        steps.append((step.operators, package))
    return with_custom_operators(model, steps, options.cpu_graph)


def _segment_models(model: Model, partition: Partition) -> Iterator[Model]:
    if len(partition.segments) == 1:
        yield model  # with its signatures and metadata
        return
    for segment in partition.segments:
        yield extract(model, segment.operators, inputs=segment.inputs, outputs=segment.outputs)


def write_compiled(compiled: Compiled, directory: str | Path) -> list[Path]:
    """Write every compiled file into ``directory``, all of them or none. Raises :class:`OutputError`."""
    with _stage("write"), output_directory(directory) as output:
        return [output.write(segment.name, model_bytes(segment.model)) for segment in compiled.segments]


def run(
    deployment: Deployment,
    model: Model | None,
    frames: Iterable[Tensors],
    settings: RunSettings,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> RunReport:
    """Run compiled segments on devices of their own, and compare the outputs with those of ``model``, if it is given.

    Raises as :func:`leased`, :func:`run_deployment` and :func:`compare`.
    """
    # Compiling does without LiteRT, which takes longer to import than most models to compile.
    from atoll.pipeline.deployed_devices import leased
    from atoll.pipeline.run_deployment import run_deployment
    from atoll.reporting.comparison import compare
    from atoll.reporting.run_report import run_report

    with leased(deployment, settings, on_message) as devices:
        result = run_deployment(deployment, devices, frames, settings, on_progress)
    deviations = None if model is None else compare(result, model)
    return run_report(deployment, result, deviations, tuple(settings.hosts.values()))


@contextmanager
def _stage(name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    _log.debug("%s: %.1f ms", name, (time.perf_counter() - begin) * 1e3)
