"""What ``atoll check`` says: which operators of a model the Edge TPU would run, and why not the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from atoll.findings import Finding
from atoll.model.graph import Graph, Operator
from atoll.products.result import Result
from atoll.products.table import Column, Table
from atoll.support.operator_rows import OperatorRow


@dataclass(frozen=True, slots=True, repr=False)
class CheckReport(Result):
    """What ``atoll check`` says about a model."""

    schema: ClassVar[str] = "check/2"

    model: str
    total_operators: int
    mapped_operators: int
    mapped_parameters: float
    """Share of the constant bytes that mapped operators read, 0 to 1."""
    mapped_macs: float
    """Share of the multiply-accumulates, 0 to 1."""
    runtime: int
    """The oldest Edge TPU runtime that can run what is mapped."""
    operators: tuple[OperatorRow, ...]
    findings: tuple[Finding, ...]
    """Every reason why an operator stays on the CPU."""

    def answer(self) -> tuple[str, ...]:
        """How much of the model the Edge TPU would run."""
        if not self.mapped_operators:
            return (f"None of the {self.total_operators} operators would run on the Edge TPU.",)
        return (
            f"{self.mapped_operators} of {self.total_operators} operators would run on the Edge TPU, with "
            f"{self.mapped_macs:.1%} of the multiply-accumulates and {self.mapped_parameters:.1%} of the parameters. "
            f"They need runtime version {self.runtime}.",
        )

    def tables(self) -> tuple[Table, ...]:
        """The operators by kind and status, and the reasons of those that stay on the CPU."""
        kinds = Table.of(
            (Column("operator", "name"), Column("count", "number"), Column("status")),
            [(row.operator, row.count, row.status) for row in self.operators],
            "Operators by kind",
        )
        reasons = Table.of(
            (
                Column("operator", "name"),
                Column("why"),
                Column("what to do"),
                Column("operators behind it", "number", importance=1),
            ),
            [
                (stop.where, finding.why, finding.remedy, len(stop.behind) or None)
                for stop in stops(self.findings)
                for finding in stop.reasons
            ],
            "Why operators stay on the CPU",
            records=True,
        )
        return (kinds, reasons) if reasons.rows else (kinds,)

    def basis(self) -> tuple[str, ...]:
        """What the column of followers means."""
        if not any(stop.behind for stop in stops(self.findings)):
            return ()
        return (
            "Operators behind one that stays on the CPU could run on the Edge TPU, but only one region is mapped "
            "(atoll compile -a maps all).",
        )


def multiply_accumulates(graph: Graph, operator: Operator) -> int:
    """In one inference: what convolutions, fully connected layers and LSTMs multiply; 0 for everything else."""
    weights = graph.tensor_of(operator, 1)
    output = graph.tensors[operator.outputs[0]] if operator.outputs else None
    source = graph.tensor_of(operator, 0)
    if weights is None or output is None or source is None:
        return 0
    if operator.kind in ("CONV_2D", "FULLY_CONNECTED") and weights.shape:
        return output.elements * weights.elements // max(1, weights.shape[0])
    if operator.kind == "DEPTHWISE_CONV_2D" and weights.shape:
        return output.elements * weights.elements // max(1, weights.shape[-1])
    if operator.kind == "TRANSPOSE_CONV" and weights.shape:
        data = graph.tensor_of(operator, 2)
        return data.elements * weights.elements // max(1, weights.shape[-1]) if data is not None else 0
    if operator.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM" and source.shape:
        gates = sum(t.elements for i in range(1, 9) if (t := graph.tensor_of(operator, i)) is not None)
        return gates * source.elements // max(1, source.shape[-1])
    return 0


@dataclass(frozen=True, slots=True)
class Stop:
    """An operator that stays on the CPU for reasons of its own, and those that only stay there because of it."""

    where: str
    reasons: tuple[Finding, ...]
    behind: tuple[str, ...]
    """Operators that the Edge TPU could run but that follow this one, in execution order."""


def stops(findings: Sequence[Finding]) -> tuple[Stop, ...]:
    """The findings of :attr:`CheckReport.findings` by operator, consequences with their cause."""
    reasons: dict[str, list[Finding]] = {}
    behind: dict[str, list[str]] = {}
    for finding in findings:
        if finding.follows:
            behind.setdefault(finding.follows, []).append(finding.where)
        else:
            reasons.setdefault(finding.where, []).append(finding)
    return tuple(Stop(where, tuple(own), tuple(behind.get(where, ()))) for where, own in reasons.items())
