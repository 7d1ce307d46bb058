"""A graph and a set of its operators → steps that run one after the other, each all inside or all outside the set."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from atoll.model import DType, Graph
from atoll.model.subgraph import calls_graphs


@dataclass(frozen=True, slots=True)
class Step:
    """Operators that run together, in execution order, on one kind of device."""

    operators: tuple[int, ...]
    on_tpu: bool


def partition(graph: Graph, supported: Collection[int]) -> tuple[Step, ...]:
    """Cut the graph into steps as TensorFlow Lite does for a delegate.

    The first operator that is ready decides whether a step is for the Edge TPU; then every operator of that sort
    whose inputs are there joins it. So each step is as large as it can be, no path leaves a step and returns to it,
    and the steps are in an order in which they can run. Linear in the number of operators and edges.
    """
    chosen = frozenset(supported)
    needed = predecessors(graph)
    step_of: dict[int, int] = {}
    # An operator's earliest step: the latest of what it needs, or one later when it is of the other sort. Steps
    # alternate, so it is enough to know the sort of the first one.
    first_on_tpu = 0 in chosen
    for index in range(len(graph.operators)):
        earliest = max((step_of[other] for other in needed[index]), default=0)
        fits = (earliest % 2 == 0) == ((index in chosen) == first_on_tpu)
        step_of[index] = earliest if fits else earliest + 1
    members: dict[int, list[int]] = {}
    for index, number in step_of.items():
        members.setdefault(number, []).append(index)
    return tuple(Step(tuple(members[number]), (number % 2 == 0) == first_on_tpu) for number in sorted(members))


def predecessors(graph: Graph) -> tuple[frozenset[int], ...]:
    """Per operator, the operators that have to run before it.

    Those that write what it reads; and, where operators share state (a variable tensor, a resource, or whatever a
    called graph does), the one before it that does.
    """
    writer: dict[int, int] = {}
    last_user: dict[int, int] = {}
    last_stateful = -1
    result: list[frozenset[int]] = []
    for index, operator in enumerate(graph.operators):
        before = {writer[i] for i in operator.inputs if i in writer}
        tensors = [i for i in (*operator.inputs, *operator.outputs) if i >= 0]
        for i in tensors:
            if graph.tensors[i].is_variable:
                before.add(last_user.get(i, -1))
                last_user[i] = index
        if calls_graphs(operator) or any(graph.tensors[i].dtype in (DType.RESOURCE, DType.VARIANT) for i in tensors):
            before.add(last_stateful)
            last_stateful = index
        for i in operator.outputs:
            writer[i] = index
        result.append(frozenset(before - {-1, index}))
    return tuple(result)
