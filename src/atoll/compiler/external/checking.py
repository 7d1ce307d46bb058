"""A file of the vendor's compiler and the segment that it was made of → does it fit, and what does the vendor say."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from atoll.compiler.emit import CompiledSegment
from atoll.compiler.external.agreement import Agreement, differences, predicted_figures, vendor_figures
from atoll.compiler.external.calling import VendorResult
from atoll.compiler.external.report_parser import parse_vendor
from atoll.compiler.packages import packages, require_real
from atoll.errors import AtollError, CompilerResultError
from atoll.model.graph import Graph, Model
from atoll.model.tflite import read_model

_log = logging.getLogger("atoll")


def agreement(segment: CompiledSegment, result: VendorResult) -> Agreement:
    """Check a file of the vendor's compiler, and put its answer beside our prediction.

    Raises:
        CompilerResultError: the file cannot be used, or the compiler did not say what it did.
    """
    made = packages(_require_fitting(segment.source.main, result))
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
        ("inputs", _tensors(segment, segment.inputs), _tensors(compiled, compiled.inputs)),
        ("outputs", _tensors(segment, segment.outputs), _tensors(compiled, compiled.outputs)),
    ):
        if expected != got:
            return (
                f"the {what} of the compiled file are {'; '.join(sorted(got))}, those of the segment "
                f"{'; '.join(sorted(expected))}"
            )
    return ""


def _tensors(graph: Graph, tensors: Sequence[int]) -> set[str]:
    return {f"{t.name} {t.dtype.name.lower()} {list(t.shape)}" for t in (graph.tensors[i] for i in tensors)}
