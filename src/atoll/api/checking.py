"""A model → which of its operators the Edge TPU would run, and why not the others; nothing is compiled.

Apart from :mod:`atoll.toolchain` because what a compilation needs beyond this takes longer to import than a check.
"""

from __future__ import annotations

from atoll.model import Model
from atoll.model.subgraph import with_unique_names
from atoll.reporting.check_report import CheckReport, multiply_accumulates
from atoll.support import check, require_compilable
from atoll.support.operator_rows import operator_rows
from atoll.support.operators import DEFAULT_RUNTIME
from atoll.support.regions import map_operators


def check_model(model: Model, min_runtime: int = DEFAULT_RUNTIME) -> CheckReport:
    """The verdict on a model, for devices with runtime ``min_runtime`` or newer.

    Raises:
        UnsupportedModelError: it is not quantised, has dynamic shapes, or is compiled already.
        UsageError: there is no such runtime.
    """
    require_compilable(model)
    graph = with_unique_names(model.main)
    mapping = map_operators(graph, check(graph, min_runtime))
    parameters = [graph.constant_bytes(operator) for operator in graph.operators]
    macs = [multiply_accumulates(graph, operator) for operator in graph.operators]
    mapped = [index for region in mapping.regions for index in region]
    return CheckReport(
        model=model.path,
        total_operators=len(graph.operators),
        mapped_operators=len(mapped),
        mapped_parameters=sum(parameters[i] for i in mapped) / max(1, sum(parameters)),
        mapped_macs=sum(macs[i] for i in mapped) / max(1, sum(macs)),
        runtime=mapping.runtime,
        operators=operator_rows(graph, mapping.statuses),
        findings=tuple(finding for findings in mapping.findings for finding in findings),
    )
