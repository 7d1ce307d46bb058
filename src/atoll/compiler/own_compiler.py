"""Our compiler, for virtual devices: support → regions → memory plan → packages, one function per stage."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from atoll.compiler.emit import (
    NAME,
    Compiled,
    CompiledSegment,
    caching_token,
    parameter_blobs,
    region_package,
    region_skeleton,
    segment_name,
    with_custom_operators,
)
from atoll.compiler.interface import Attempt, CompiledFiles, CompileOptions, Compiler
from atoll.compiler.memory import ModelParameters, ModelPlan, model_parameters, plan_memory
from atoll.compiler.memory.order import OrderSearch, best_order
from atoll.compiler.package_format import write_package
from atoll.errors import UnsupportedModelError, UsageError
from atoll.findings import Finding
from atoll.model.graph import Graph, Model
from atoll.model.load import load
from atoll.model.subgraph import boundary, extract
from atoll.products.partition import Partition
from atoll.products.progress import OnProgress, ignore
from atoll.support import Support, operator_support, require_compilable
from atoll.support.operators import Status
from atoll.support.regions import Regions, choose_regions
from atoll.version import __version__


@dataclass(frozen=True, slots=True)
class OwnCompiler(Compiler):
    """Our compiler, in this process."""

    options: CompileOptions = CompileOptions()

    @property
    def virtual(self) -> bool:
        """Its packages hold no machine code."""
        return True

    @property
    def name(self) -> str:
        """Its version is that of this package."""
        return NAME

    @property
    def identity(self) -> str:
        """As every :class:`Compiler`."""
        plain = self.options == CompileOptions(search_step=self.options.search_step)
        return f"{NAME} -k {self.options.search_step}{'' if plain else f' {self.options}'}"

    def compile(
        self,
        models: Sequence[Model],
        directory: str | Path,
        partition: Partition | None = None,
        on_progress: OnProgress = ignore,
    ) -> CompiledFiles:
        """As every :class:`Compiler`."""
        on_progress(f"compiling {', '.join(model.path for model in models)}")
        jobs = _jobs(models, partition, self.options)
        one = _search if self.options.search_step else _compile
        compiled = Compiled(tuple(segment for job in jobs for segment in one(job)), jobs[0].token)
        return CompiledFiles(NAME, True, compiled.write(directory), compiled.segments)

    def compile_file(self, path: Path, directory: Path) -> Path:
        """As every :class:`Compiler`."""
        return self.compiled([load(path)]).write(directory)[0]

    def compiled(
        self,
        models: Sequence[Model],
        partition: Partition | None = None,
        on_attempt: Callable[[Attempt], object] = ignore,
    ) -> Compiled:
        """The same in memory. ``on_attempt`` is called with each try of the search.

        Raises as :meth:`compile`.
        """
        jobs = _jobs(models, partition, self.options)
        one = partial(_search, on_attempt=on_attempt) if self.options.search_step else _compile
        return Compiled(tuple(segment for job in jobs for segment in one(job)), jobs[0].token)

    def best_order(self, models: Sequence[Model], rates: Sequence[float]) -> OrderSearch:
        """In which order to co-compile models of which model i runs ``rates[i]`` times as often as one of rate 1.

        Raises as :meth:`compile`.
        """
        _require_consistent(models, 1, self.options)
        for model in models:
            require_compilable(model)
        regions = _choose_regions(models, self.options)
        return best_order(_parameters(models, regions, self.options), rates, self.options.generation)


@dataclass(frozen=True, slots=True)
class _Job:
    """Models that share a chip; all segments of a model share the token."""

    parts: Sequence[Model]
    index: int
    """The number of the segment."""
    count: int
    options: CompileOptions
    token: int


def _require_consistent(models: Sequence[Model], segments: int, options: CompileOptions) -> None:
    problem = ""
    if len(models) > 1 and segments > 1:
        problem = "several models cannot be cut into segments"
    elif options.stop_at and segments > 1:
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


def _jobs(models: Sequence[Model], partition: Partition | None, options: CompileOptions) -> list[_Job]:
    """Segments have a chip each, co-compiled models share one."""
    segments = () if partition is None else partition.segments
    count = max(1, len(segments))
    _require_consistent(models, count, options)
    for model in models:
        require_compilable(model)
    token = caching_token(models, options, [segment.operators for segment in segments], __version__)
    if count == 1:
        return [_Job(models, 0, 1, options, token)]
    parts = [extract(models[0], item.operators, inputs=item.inputs, outputs=item.outputs) for item in segments]
    return [_Job([part], number, count, options, token) for number, part in enumerate(parts)]


def _search(job: _Job, on_attempt: Callable[[Attempt], object] = ignore) -> list[CompiledSegment]:
    """Compile a segment; where that fails, stop earlier and earlier."""
    (part,) = job.parts
    graph = part.main
    tensors: tuple[str, ...] = ()
    for count in range(len(graph.operators), 0, -job.options.search_step):
        if count < len(graph.operators):
            tensors = tuple(graph.tensors[i].name for i in boundary(graph, range(count))[1])
        attempt = Attempt(job.index, count, tensors)
        on_attempt(attempt)
        try:
            return _compile(job, count)
        except UnsupportedModelError as error:
            on_attempt(replace(attempt, failure=error))
            failure = error
    raise failure


def _compile(job: _Job, most: int | None = None) -> list[CompiledSegment]:
    """support → regions → memory plan → packages. Of each part the first ``most`` operators may be mapped."""
    begin = time.perf_counter()
    regions = _choose_regions(job.parts, job.options, most)
    plan = plan_memory(_parameters(job.parts, regions, job.options), job.options.generation)
    emitted = [_emit(part, chosen, memory, job) for part, chosen, memory in zip(job.parts, regions, plan.models)]
    seconds = time.perf_counter() - begin
    return [
        CompiledSegment(segment_name(part.path, job.index, job.count), part, model, chosen, memory, seconds)
        for part, model, chosen, memory in zip(job.parts, emitted, regions, plan.models)
    ]


def _choose_regions(parts: Sequence[Model], options: CompileOptions, most: int | None = None) -> list[Regions]:
    runtime = options.generation.default_runtime if options.min_runtime is None else options.min_runtime
    chosen = []
    for number, part in enumerate(parts):
        support = _first_operators(part.main, operator_support(part.main, runtime), most)
        stop_at = options.stop_at[number] if options.stop_at else ()
        chosen.append(choose_regions(part.main, support, options.all_regions, stop_at))
    return chosen


def _parameters(parts: Sequence[Model], regions: Sequence[Regions], options: CompileOptions) -> list[ModelParameters]:
    return [
        model_parameters(part.main, itertools.chain(*chosen.regions), part.path, options.generation)
        for part, chosen in zip(parts, regions)
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


def _emit(model: Model, regions: Regions, memory: ModelPlan, job: _Job) -> Model:
    graph = model.main
    steps: list[tuple[tuple[int, ...], bytes | None]] = []
    for step in regions.steps:
        package = None
        if step.on_tpu:
            where = step.operators, memory.layers, job.options.generation
            cached, streamed = parameter_blobs(graph, *where)
            beside = b"" if job.options.cpu_graph else region_skeleton(model, *where)
            package = write_package(
                region_package(graph, step.operators, job.token, regions.runtime, cached.data, streamed.data, beside)
            )
        steps.append((step.operators, package))
    return with_custom_operators(model, steps, job.options.cpu_graph)
