"""``atoll.compile``: models → files for the Edge TPU, with what was decided and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from atoll.api.compile_job import Compilation, CompileJob, cut
from atoll.compiler.choosing import Codegen, choose_compiler
from atoll.compiler.emit import NAME
from atoll.compiler.interface import SECONDS, Attempt, CompiledFiles, CompileOptions, Compiler
from atoll.compiler.own_compiler import OwnCompiler
from atoll.errors import UsageError
from atoll.files import write_file
from atoll.hardware.generations import DEFAULT
from atoll.hardware.generations import generation as generation_named
from atoll.model.graph import Model
from atoll.model.load import ModelLike, load
from atoll.products.arguments import require_types, require_within
from atoll.products.partition import Partition
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.reporting.compile_report import CompileReport
from atoll.reporting.file_report import FileReport, file_report, operators_table
from atoll.support import require_compilable

_VENDOR_FIGURES = {
    "operators": "total_operators",
    "mapped_operators": "mapped_operators",
    "subgraphs": "subgraphs",
    "on_chip_bytes": "on_chip_bytes",
    "remaining_bytes": "remaining_bytes",
    "off_chip_bytes": "off_chip_bytes",
    "runtime": "runtime",
}
"""What the vendor's compiler may say of a file, and where it stands in its report."""


def compile(  # noqa: A001 - the command's name
    models: ModelLike | Sequence[ModelLike],
    *,
    output_dir: str | Path = "",
    segments: int | None = None,
    partition: str | Path | Partition | None = None,
    min_runtime: int | None = None,
    all_regions: bool = False,
    stop_at: str = "",
    search: bool = False,
    search_step: int | None = None,
    timeout: float = SECONDS,
    order: Literal["given", "best"] = "given",
    rates: Mapping[str, float] | Sequence[str] = (),
    generation: str | None = None,
    cpu_graph: bool = True,
    codegen: Codegen = "auto",
    compiler: str | None = None,
    csv: str | Path | None = None,
    on_attempt: Callable[[Attempt], object] = ignore,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> CompileReport:
    """Compile a model for the Edge TPU, or several that share one Edge TPU's memory.

    Our own files run on virtual devices and, without any, on the CPU; real Edge TPUs need the vendor's compiler. With
    that, the report has its answer and what we predicted. All files are named as the vendor names them.

    Args:
        models: A model, or several; each a model, or the path of a ``.tflite`` file.
        output_dir: Where the files go, made if it is not there; "": the current directory.
        segments: How many files to cut one model into, each for an Edge TPU of its own; None: 1.
        partition: Where to cut instead: a partition, or a file that ``atoll partition`` wrote.
        min_runtime: The oldest Edge TPU runtime that must be able to run the files; None: the compiler's default.
        all_regions: Map every supported part of a model, each as its own custom operator, not only the first.
        stop_at: Tensors where mapping stops, with commas between; lists of several models with colons between.
        search: If compilation fails, stop earlier in the graph and try again.
        search_step: Operators per such try, 1 or more; None: 1.
        timeout: Seconds that our compiler may take for all, or the vendor's for each segment.
        order: ``best`` searches the order of co-compiled models in which the fewest bytes are sent to the Edge TPU.
        rates: For that, how often a model runs, by its path: ``{"a.tflite": 30}`` or ``["a.tflite=30"]``; else 1.
        generation: Which of the vendor's compilers ours follows: ``1.0``, ``2.0``, ... ``16``; None: 16.
        cpu_graph: Keep the original operators in the file, so that plain LiteRT runs it.
        codegen: Who compiles; ``auto``: the vendor's compiler if it is installed and can do what is asked for.
        compiler: Path of the vendor's compiler; None: what ATOLL_EDGETPU_COMPILER names, or the first in PATH.
        csv: Write one row per operator to this file.
        on_attempt: Called with each try of ``search``, when it begins and when it fails.
        on_progress: Called with what is compiled.
        on_message: Called with which compiler was chosen, and why.

    Raises:
        FileAccessError, InvalidModelError: A file cannot be read.
        UnsupportedModelError: A model is not quantised, has dynamic shapes, or is compiled already.
        PartitionError: It cannot be cut as asked.
        UsageError: Arguments contradict each other, or name a tensor, a runtime or a generation that does not exist.
        CompilationTimeoutError, CompilerFaultError: The time is over, or our compiler itself failed.
        CompilerMissingError, CompilerInvalidError: There is no such compiler.
        CompilerFailedError, CompilerResultError: The vendor's compiler failed, or its file does not fit.
        OutputError: A file cannot be written. (Nothing is, then.)

    >>> report = atoll.compile("mobilenet_v2.tflite", output_dir="out", segments=2)  # doctest: +SKIP
    >>> [file.output for file in report.files]  # doctest: +SKIP
    ['mobilenet_v2_segment_0_of_2_edgetpu.tflite', 'mobilenet_v2_segment_1_of_2_edgetpu.tflite']
    """
    require_types(compile, locals())
    require_within(1, segments=segments, search_step=search_step)
    require_within(0.001, 1e6, timeout=timeout)
    given = (models,) if isinstance(models, str | Path | Model) else tuple(models)
    names = tuple(model.path if isinstance(model, Model) else str(model) for model in given)
    _require_one_cut(names, segments, partition)
    if search_step is not None and not search:
        raise UsageError("--search-step says how --search steps back", "Add --search.")
    weights = _weights(names, rates, order)
    options = CompileOptions(
        min_runtime=min_runtime,
        all_regions=all_regions,
        search_step=(search_step or 1) if search else 0,
        seconds=math.ceil(timeout),
        generation=DEFAULT if generation is None else generation_named(generation),
        cpu_graph=cpu_graph,
    )
    ours = {
        "--intermediate-tensors": bool(stop_at),
        "--order": order != "given",
        "--generation": generation is not None,
        "--no-cpu-subgraph": not cpu_graph,
        "--csv": csv is not None,
        "several models on one Edge TPU": len(names) > 1,
    }
    only_ours = next((option for option, asked in ours.items() if asked), "")
    chosen = _choose(codegen, compiler, options, only_ours, on_message)
    job = CompileJob(given, options, partition or segments or 1, stop_at, str(output_dir), weights)
    if chosen.virtual:
        report = _compile_here(job, timeout, names, on_attempt, on_progress)
    else:
        report = _compile_by(chosen, job, names, on_progress)
    if csv is not None:
        from atoll.reporting.formats.csv import table_csv

        write_file(csv, table_csv(operators_table(report.files)))
    return report


def _compile_here(
    job: CompileJob,
    timeout: float,
    names: tuple[str, ...],
    on_attempt: Callable[[Attempt], object],
    on_progress: OnProgress,
) -> CompileReport:
    on_progress(f"compiling {', '.join(names)}")
    with Compilation(job, timeout) as compilation:
        files = compilation.wait(on_attempt)
    return CompileReport(
        models=names,
        directory=job.directory,
        compiler=NAME,
        compiler_path="",
        virtual=True,
        default_runtime=job.options.generation.default_runtime,
        files=files,
        attempts=tuple(compilation.attempts),
        orders=compilation.orders,
    )


def _compile_by(chosen: Compiler, job: CompileJob, names: tuple[str, ...], on_progress: OnProgress) -> CompileReport:
    model = load(job.models[0])
    require_compilable(model)
    done = chosen.compile([model], job.directory or ".", cut(model, job.cuts), on_progress)
    return CompileReport(
        models=names,
        directory=job.directory,
        compiler=done.compiler,
        compiler_path=done.program,
        virtual=False,
        default_runtime=DEFAULT.default_runtime,
        files=tuple(_as_the_vendor_says(done)),
        agreements=done.agreements,
    )


def _as_the_vendor_says(done: CompiledFiles) -> Iterator[FileReport]:
    """Our prediction, with the vendor's figures where it gives any."""
    for path, segment, agreement in zip(done.paths, done.segments, done.agreements):
        report = file_report(segment, path.stat().st_size)
        said = {name: getattr(agreement.vendor, name) for name in _VENDOR_FIGURES}
        known = {_VENDOR_FIGURES[name]: value for name, value in said.items() if value is not None}
        yield replace(report, milliseconds=round(agreement.seconds * 1e3), **known)


def _choose(
    codegen: Codegen, path: str | None, options: CompileOptions, only_ours: str, on_message: OnMessage
) -> Compiler:
    """The compiler; ``only_ours`` is what was asked for that only ours does, "" if nothing."""
    if only_ours and codegen == "auto" and path is None:
        on_message(f"code generator: atoll's own, for virtual devices: only it has {only_ours}")
        return OwnCompiler(options)
    chosen = choose_compiler(codegen, path, real_devices=True, options=options, on_message=on_message)
    if only_ours and not chosen.virtual:
        raise UsageError(
            f"the vendor's compiler is not asked for {only_ours}", "Leave it out, or take --codegen virtual."
        )
    return chosen


def _require_one_cut(models: Sequence[str], segments: int | None, partition: object) -> None:
    if not models:
        raise UsageError("no model is given", "Name one or more .tflite files.")
    if len(models) > 1 and (segments or 1) > 1:
        raise UsageError("several models cannot be cut into segments", "Compile them one after the other.")
    if partition is None:
        return
    if len(models) > 1:
        raise UsageError("--partition says how to cut one model, and several are given", "Name one model.")
    if segments is not None:
        raise UsageError("--partition and --segments both say how many segments there are", "Leave --segments out.")


def _weights(models: Sequence[str], rates: Mapping[str, float] | Sequence[str], order: str) -> tuple[float, ...] | None:
    """Per model, how often it runs; None when no order is to be searched."""
    if order != "best":
        if rates:
            raise UsageError("--rate goes with --order best only", "Add --order best.")
        return None
    if len(models) < 2:
        raise UsageError("--order best needs several models", "Name the models that run on the same Edge TPU.")
    result = dict.fromkeys(models, 1.0)
    given = [f"{model}={rate}" for model, rate in rates.items()] if isinstance(rates, Mapping) else rates
    for text in given:
        name, _, number = text.rpartition("=")
        if name not in result:
            import difflib

            near = difflib.get_close_matches(name, models, n=1, cutoff=0.0)
            raise UsageError(f"--rate {text}: '{name}' is not one of the models", f"Did you mean {near[0]}={number}?")
        try:
            result[name] = float(number)
        except ValueError:
            result[name] = math.nan
        if not 0 <= result[name] < math.inf:
            raise UsageError(f"--rate {text}: '{number}' is not a rate", "Give inferences per second, 0 or more.")
    return tuple(result[model] for model in models)
