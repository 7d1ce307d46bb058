"""A model and its cuts → segments compiled by the vendor's compiler, checked, beside what we predicted of them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from atoll import toolchain
from atoll.compiler.emit import CompiledSegment
from atoll.compiler.external import VendorCompiler, VendorResult, compile_all, find_compiler
from atoll.compiler.external.agreement import Agreement, differences, predicted_figures, vendor_figures
from atoll.compiler.external.report_parser import parse_vendor
from atoll.compiler.external.vendor_compiler import INSTALL, SECONDS
from atoll.errors import (
    AtollError,
    CompilerFailedError,
    CompilerInvalidError,
    CompilerMissingError,
    CompilerResultError,
    UsageError,
)
from atoll.files import map_file, output_directory
from atoll.model.graph import Graph, Model
from atoll.model.tflite import read_model, write_model
from atoll.partitioning import Partition

Mode = Literal["auto", "virtual", "vendor"]

_log = logging.getLogger("atoll")


@dataclass(frozen=True, slots=True)
class VendorCompiled:
    """Files for real Edge TPUs, one per segment, in the order of the segments."""

    compiler: VendorCompiler
    paths: list[Path]
    segments: tuple[Agreement, ...]
    predicted: tuple[CompiledSegment, ...]
    """How our own compiler would have compiled them."""


def choose_codegen(
    mode: Mode,
    compiler_path: str | None,
    devices_real: bool,
    say: Callable[[str], object] = _log.info,
) -> VendorCompiler | None:
    """The vendor's compiler when it is to be used, None for our own.

    ``auto`` takes it when real devices will run the result and it is there. ``say`` is told what was chosen, and why.

    Raises:
        CompilerMissingError: one was asked for and is not there.
        CompilerInvalidError: what was named, or all that is found under its name, is something else.
        UsageError: a compiler is named and not to be used.
    """
    if mode == "virtual":
        if compiler_path is not None:
            raise UsageError("--compiler names the vendor's compiler, --codegen virtual does not use it", "Drop one.")
        return None
    if mode == "auto" and compiler_path is None and not devices_real:
        say("code generator: atoll's own, because the devices are virtual")
        return None
    try:
        found = find_compiler(compiler_path)
    except CompilerInvalidError as error:
        raise CompilerInvalidError(error.message, f"{error.hint} --codegen virtual does without.") from error
    if found is not None:
        say(f"code generator: the vendor's compiler {found.version}, {found.path}")
    elif mode == "vendor":
        raise CompilerMissingError("the vendor's compiler is not installed", INSTALL)
    else:
        say("code generator: atoll's own, for virtual devices; the vendor's compiler, for real ones, was not found")
    return found


def vendor_compile(
    model: Model,
    partition: Partition,
    compiler: VendorCompiler,
    directory: str | Path,
    *,
    min_runtime: int | None = None,
    seconds: int = SECONDS,
    all_regions: bool = False,
    on_segment: Callable[[int], object] = int,
) -> VendorCompiled:
    """Cut ``model`` as ``partition`` says and have the vendor's compiler compile each segment, side by side.

    What it fails on is tried again with an earlier stop, which the segment's record says. The files (``.tflite`` and
    ``.log``, named as the vendor names them) appear in ``directory`` all together or not at all.

    Args:
        min_runtime: The oldest Edge TPU runtime that must be able to run the files; None: the compiler's default.
        seconds: What each segment may take.
        all_regions: Map every supported part of a segment, not only the first.
        on_segment: Told how many segments are compiled.

    Raises:
        AtollError: our own compiler, which predicts the result, refuses the model: as
            :func:`atoll.toolchain.compile_models`.
        CompilerFailedError: with the segment, what the compiler said, and what that means.
        CompilerResultError: a file that it made does not fit its segment.
        OutputError: ``directory`` cannot be written.
    """
    options = toolchain.CompileOptions(len(partition.segments), min_runtime, all_regions)
    _, predicted = toolchain.compile_models([model], options, partition=partition)
    with tempfile.TemporaryDirectory(prefix="atoll-") as temporary:
        plain, made = Path(temporary, "plain"), Path(temporary, "compiled")
        plain.mkdir()
        made.mkdir()
        sources = [plain / segment.name.replace("_edgetpu.tflite", ".tflite") for segment in predicted.segments]
        for path, segment in zip(sources, predicted.segments):
            write_model(segment.source, path)
        try:
            results = compile_all(compiler, sources, made, min_runtime, seconds, None, all_regions, on_segment)
            agreements = tuple(map(_agreement, predicted.segments, results))
        except CompilerFailedError as error:
            raise _located(error, model, sources, partition) from error
        return VendorCompiled(compiler, _publish(results, directory), agreements, predicted.segments)


def _agreement(segment: CompiledSegment, result: VendorResult) -> Agreement:
    """Check a file of the vendor's compiler, and put its answer beside our prediction."""
    from atoll.compiler.packages import packages

    compiled = _require_fitting(segment.source.main, result)
    made = packages(compiled)
    runtime = max((package.min_runtime_version for package in made), default=None)
    parsed = parse_vendor(result.text).models
    if not parsed:
        raise CompilerResultError(
            f"{result.model}: the vendor's compiler printed no report", "Is it a wrapper that hides the output?"
        )
    predicted, answer = predicted_figures(segment), vendor_figures(parsed[-1], len(made), runtime)
    if result.searched:
        _log.warning("%s: the vendor's compiler failed at first, and now stops earlier", segment.name)
    found = differences(predicted, answer)
    return Agreement(segment.name, predicted, answer, found, result.searched, result.seconds)


def _require_fitting(graph: Graph, result: VendorResult) -> Model:
    """The compiled file, which must be readable, for real chips, and take and give what the segment does."""
    # Choosing a code generator needs no interpreter and starts twice as fast without.
    from atoll.compiler.packages import packages, require_real

    try:
        model = read_model(result.output)
        for package in packages(model):
            require_real(package, str(result.output))
    except AtollError as error:
        hint = "Try again; if it comes back, take another cut or another version of the compiler."
        raise CompilerResultError(f"{result.model}: its compiled file cannot be used: {error.message}", hint) from error
    difference = interface_difference(graph, model.main)
    if difference:
        hint = "A pipeline passes tensors on by name. Is the compiler a wrapper that compiles another file?"
        raise CompilerResultError(f"{result.model}: {difference}", hint)
    return model


def interface_difference(segment: Graph, compiled: Graph) -> str:
    """By which tensors (names, types, shapes) a compiled file is not that of its segment; "" where they agree."""
    for what, expected, got in (
        ("inputs", _interface(segment, segment.inputs), _interface(compiled, compiled.inputs)),
        ("outputs", _interface(segment, segment.outputs), _interface(compiled, compiled.outputs)),
    ):
        if expected != got:
            return (
                f"the {what} of the compiled file are {'; '.join(sorted(got))}, those of the segment "
                f"{'; '.join(sorted(expected))}"
            )
    return ""


def _interface(graph: Graph, tensors: Sequence[int]) -> set[str]:
    return {f"{t.name} {t.dtype.name.lower()} {list(t.shape)}" for t in (graph.tensors[i] for i in tensors)}


def _located(
    error: CompilerFailedError, model: Model, sources: Sequence[Path], partition: Partition
) -> CompilerFailedError:
    """The failure with the segment in place of a temporary file: which operators, and what to change."""
    number, path = next((n, path) for n, path in enumerate(sources) if error.message.startswith(f"{path}: "))
    reason, count = error.message.removeprefix(f"{path}: "), len(sources)
    if count == 1:
        return type(error)(f"{model.path}: {reason}", error.hint)
    operators = partition.segments[number].operators
    span = f"operators {model.main.where(operators[0])} to {model.main.where(operators[-1])}"
    hint = f"{error.hint} Or cut elsewhere: atoll partition writes a file of cuts that you can edit."
    return type(error)(f"{model.path}, segment {number} of {count} ({span}): {reason}", hint)


def _publish(results: Sequence[VendorResult], directory: str | Path) -> list[Path]:
    with output_directory(directory) as output:
        for result in results:
            if result.log.is_file():
                output.write(result.log.name, map_file(result.log))
        return [output.write(result.output.name, map_file(result.output)) for result in results]
