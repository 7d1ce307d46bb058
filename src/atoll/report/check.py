"""A model's mapping → the verdict as rows and findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.findings import Finding
from atoll.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """Operators of one kind that share a status, as the vendor's log lists them."""

    operator: str
    count: int
    status: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What ``atoll check`` says about a model."""

    model: str
    total_operators: int
    mapped_operators: int
    mapped_parameters: float
    """Share of the constant bytes that mapped operators read, 0 to 1."""
    runtime: int
    """The oldest Edge TPU runtime that can run what is mapped."""
    operators: tuple[OperatorRow, ...]
    findings: tuple[Finding, ...]
    """Every reason why an operator stays on the CPU."""


def operator_rows(graph: Graph, statuses: Sequence[str]) -> tuple[OperatorRow, ...]:
    """One row per operator kind and status; kinds in the order of their first operator."""
    counts = Counter((operator.name, status) for operator, status in zip(graph.operators, statuses))
    first = {name: n for n, name in reversed(list(enumerate(operator.name for operator in graph.operators)))}
    ordered = sorted(counts.items(), key=lambda item: first[item[0][0]])
    return tuple(OperatorRow(name, count, status) for (name, status), count in ordered)
