"""A graph and its support → :class:`Regions`: what goes to the Edge TPU, what stays on the CPU, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.errors import UsageError
from atoll.findings import Finding
from atoll.hardware.generations import RUNTIMES
from atoll.model import Graph
from atoll.support.operator_check import Support
from atoll.support.operators import Status
from atoll.support.steps import Step, partition, predecessors

_AFTER = "Make that operator one the Edge TPU supports, or map later regions too (option -a)."


@dataclass(frozen=True, slots=True)
class Regions:
    """Which operators run where; every operator is in exactly one step."""

    steps: tuple[Step, ...]
    """All operators in an order in which they can run."""
    findings: tuple[tuple[Finding, ...], ...]
    """Per operator: every reason why it stays on the CPU, empty when it is mapped."""
    runtime: int
    """The oldest Edge TPU runtime that can run what is mapped."""

    @property
    def regions(self) -> tuple[tuple[int, ...], ...]:
        """The operators of each Edge TPU custom operator, in execution order."""
        return tuple(step.operators for step in self.steps if step.on_tpu)

    @property
    def cpu(self) -> tuple[int, ...]:
        """The operators that stay on the CPU, in the order of the graph."""
        return tuple(sorted(index for step in self.steps if not step.on_tpu for index in step.operators))

    @property
    def statuses(self) -> tuple[str, ...]:
        """Per operator: the vendor compiler's status string."""
        return tuple(reasons[0].status if reasons else Status.MAPPED.value for reasons in self.findings)


def choose_regions(graph: Graph, support: Support, all_regions: bool = False, stop_at: Sequence[str] = ()) -> Regions:
    """Choose the regions that go to the Edge TPU, as the vendor's compiler does.

    The graph is cut as TensorFlow Lite cuts it for a delegate (:func:`atoll.support.steps.partition`). The first
    Edge TPU step is the mapped region: what can be computed before, or beside, the first operator that is not
    supported. Operators in front of it, such as the QUANTIZE of a float input, stay on the CPU and stop nothing.

    Args:
        all_regions: map every later Edge TPU step too, each as an operator of its own (the vendor's ``-a``).
        stop_at: names of tensors; what follows any of them stays on the CPU (the vendor's ``-i``).

    Raises:
        UsageError: ``stop_at`` names a tensor that is not there.
    """
    needed = predecessors(graph)
    cut = _following(graph, needed, _tensors_named(graph, stop_at))
    supported = [i for i, verdict in enumerate(support.verdicts) if not verdict.findings and i not in cut]
    steps = partition(graph, supported)
    if not all_regions:
        first = next((step for step in steps if step.on_tpu), None)
        steps = partition(graph, first.operators if first else ())
    mapped = {index for step in steps if step.on_tpu for index in step.operators}
    runtimes = [runtime for i in mapped if (runtime := support.verdicts[i].runtime) is not None]
    return Regions(steps, _findings(graph, support, needed, steps, cut), max(runtimes, default=RUNTIMES[0]))


def _tensors_named(graph: Graph, names: Sequence[str]) -> dict[int, str]:
    by_name = {tensor.name: index for index, tensor in enumerate(graph.tensors)}
    for name in names:
        if name not in by_name:
            import difflib  # late: only for names that do not exist

            near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.0)
            raise UsageError(f"the model has no tensor '{name}'", f"The nearest name is '{near[0]}'." if near else "")
    return {by_name[name]: name for name in names}


def _following(graph: Graph, needed: tuple[frozenset[int], ...], stops: dict[int, str]) -> dict[int, Finding]:
    """The operators behind the tensors ``stops``, each with the finding that says so."""
    cut: dict[int, Finding] = {}
    for index, operator in enumerate(graph.operators) if stops else ():
        stop = next((stops[i] for i in operator.inputs if i in stops), None)
        origin = next((other for other in sorted(needed[index]) if other in cut), None)
        if stop is not None:
            why, status = f"It reads '{stop}', where mapping stops as asked.", Status.UNSPECIFIED
        elif origin is not None:
            why, status = f"It follows {graph.where(origin)}, behind the stop.", Status.MORE_THAN_ONE
        else:
            continue
        cut[index] = Finding("stop", graph.where(index), why, "Name later tensors, or none.", status.value)
    return cut


def _findings(
    graph: Graph,
    support: Support,
    needed: tuple[frozenset[int], ...],
    steps: tuple[Step, ...],
    cut: dict[int, Finding],
) -> tuple[tuple[Finding, ...], ...]:
    mapped = {index for step in steps if step.on_tpu for index in step.operators}
    # Operators in front of the first region do not stop it, so nothing is explained by them.
    front = frozenset(steps[0].operators) if mapped and not steps[0].on_tpu else frozenset()
    result: list[tuple[Finding, ...]] = []
    blockers: dict[int, int] = {}
    for index, verdict in enumerate(support.verdicts):
        reasons = verdict.findings + ((cut[index],) if index in cut else ())
        if reasons and index not in front:
            blockers[index] = index
        elif not reasons and index not in mapped:
            blockers[index] = max(blockers[other] for other in needed[index] if other in blockers)
            reasons = (_after(graph, index, blockers[index]),)
        result.append(reasons)
    return tuple(result)


def _after(graph: Graph, index: int, blocker: int) -> Finding:
    """Why a supported operator is not mapped: the operator it depends on, which is not supported."""
    follows = graph.where(blocker)
    why = f"It follows {follows}, which stays on the CPU, and only one region is mapped."
    return Finding("one_region", graph.where(index), why, _AFTER, Status.MORE_THAN_ONE.value, follows)
