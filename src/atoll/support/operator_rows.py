"""Operators and their statuses → rows as the vendor's log lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.model.graph import Graph


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """Operators of one kind that share a status, as the vendor's log lists them."""

    operator: str
    count: int
    status: str


def operator_rows(graph: Graph, statuses: Sequence[str]) -> tuple[OperatorRow, ...]:
    """One row per operator kind and status; kinds in the order of their first operator."""
    counts = Counter((operator.name, status) for operator, status in zip(graph.operators, statuses))
    first = {name: n for n, name in reversed(list(enumerate(operator.name for operator in graph.operators)))}
    ordered = sorted(counts.items(), key=lambda item: first[item[0][0]])
    return tuple(OperatorRow(name, count, status) for (name, status), count in ordered)


def vendor_rows(graph: Graph, statuses: Sequence[str]) -> tuple[OperatorRow, ...]:
    """One row per builtin and status, rows of one builtin together; every custom operator is a ``CUSTOM``."""
    counts = Counter((operator.kind, status) for operator, status in zip(graph.operators, statuses))
    first = {kind: n for n, (kind, _) in reversed(list(enumerate(counts)))}
    ordered = sorted(counts.items(), key=lambda item: first[item[0][0]])
    return tuple(OperatorRow(kind, count, status) for (kind, status), count in ordered)
