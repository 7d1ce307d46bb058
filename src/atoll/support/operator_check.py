"""A graph → :class:`Support`: per operator, whether the Edge TPU can run it, every reason why not, the runtime."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.errors import UsageError
from atoll.findings import Finding
from atoll.hardware.generations import RUNTIMES
from atoll.model import Graph
from atoll.support.operators import DEFAULT_RUNTIME, Status, reasons


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say about one operator."""

    findings: tuple[Finding, ...]
    """Every reason why it cannot be mapped, the one that the vendor's compiler prints first; empty if it can."""
    runtime: int | None
    """The oldest Edge TPU runtime that could run it, None if none can."""

    @property
    def supported(self) -> bool:
        """Whether it can be mapped."""
        return not self.findings

    @property
    def status(self) -> str:
        """The vendor's status string, as if the operator stood alone."""
        return self.findings[0].status if self.findings else Status.MAPPED.value


@dataclass(frozen=True, slots=True)
class Support:
    """A verdict per operator, in execution order, for one runtime version."""

    verdicts: tuple[Verdict, ...]
    min_runtime: int

    def supported(self, index: int) -> bool:
        """Whether an operator can be mapped."""
        return self.verdicts[index].supported

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All reasons of all operators."""
        return tuple(finding for verdict in self.verdicts for finding in verdict.findings)


def operator_support(graph: Graph, min_runtime: int = DEFAULT_RUNTIME) -> Support:
    """Apply every rule of the operator table to every operator.

    ``min_runtime`` is the oldest Edge TPU runtime that has to be able to run the result (the vendor's ``-m``).

    Raises:
        UsageError: there is no such runtime version.
    """
    if min_runtime not in RUNTIMES:
        raise UsageError(
            f"there is no Edge TPU runtime version {min_runtime}",
            f"Choose one of {', '.join(map(str, RUNTIMES))}; {DEFAULT_RUNTIME} is the default.",
        )
    verdicts = []
    for index in range(len(graph.operators)):
        oldest = next((version for version in RUNTIMES if next(reasons(graph, index, version), None) is None), None)
        verdicts.append(Verdict(tuple(reasons(graph, index, min_runtime)), oldest))
    return Support(tuple(verdicts), min_runtime)
