"""``atoll.check``: a model → which of its operators the Edge TPU would run, and why not the others."""

from __future__ import annotations

from atoll.model.load import ModelLike, load
from atoll.products.arguments import require_types
from atoll.reporting.check_report import CheckReport, multiply_accumulates
from atoll.support import choose_regions, operator_support, require_compilable
from atoll.support.operator_rows import operator_rows
from atoll.support.operators import DEFAULT_RUNTIME


def check(model: ModelLike, *, min_runtime: int = DEFAULT_RUNTIME) -> CheckReport:
    """Say which operators of a model would run on the Edge TPU, and why the others would not. Nothing is compiled.

    Args:
        model: A model, or the path of a ``.tflite`` file.
        min_runtime: The oldest Edge TPU runtime version that must be able to run the result.

    Raises:
        FileAccessError, InvalidModelError: The file cannot be read.
        UnsupportedModelError: The model is not quantised, has dynamic shapes, or is compiled already.
        UsageError: There is no such runtime.

    >>> report = atoll.check("mobilenet_v2.tflite")  # doctest: +SKIP
    >>> report.mapped_operators, report.total_operators  # doctest: +SKIP
    (65, 65)
    """
    require_types(check, locals())
    loaded = load(model)
    require_compilable(loaded)
    graph = loaded.main
    regions = choose_regions(graph, operator_support(graph, min_runtime))
    parameters = [graph.constant_bytes(operator) for operator in graph.operators]
    macs = [multiply_accumulates(graph, operator) for operator in graph.operators]
    mapped = [index for region in regions.regions for index in region]
    return CheckReport(
        model=loaded.path,
        total_operators=len(graph.operators),
        mapped_operators=len(mapped),
        mapped_parameters=sum(parameters[i] for i in mapped) / max(1, sum(parameters)),
        mapped_macs=sum(macs[i] for i in mapped) / max(1, sum(macs)),
        runtime=regions.runtime,
        operators=operator_rows(graph, regions.statuses),
        findings=tuple(finding for findings in regions.findings for finding in findings),
    )
