"""Parts of a graph: which operators lie between given tensors, and a model made of chosen operators."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from atoll.model.graph import Graph, Model, Operator, Tensor


def boundary(graph: Graph, operators: Collection[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tensors that cross into and out of a set of operators.

    Inputs are what the set reads and something else provides; outputs are what it writes and an operator outside
    reads, or the graph gives out. The graph's own inputs and outputs come first, in their order, then the others
    in the order in which they are written.
    """
    chosen = set(operators)
    written_inside = {i for index in chosen for i in graph.operators[index].outputs}
    written_outside = {i for n, op in enumerate(graph.operators) if n not in chosen for i in op.outputs}
    read_inside = {i for index in chosen for i in graph.operators[index].inputs if i >= 0}
    read_outside = {i for n, op in enumerate(graph.operators) if n not in chosen for i in op.inputs}
    entering = read_inside & (written_outside | set(graph.inputs))
    leaving = written_inside & (read_outside | set(graph.outputs))
    order = {i: n for n, op in enumerate(graph.operators) for i in op.outputs}
    return (
        tuple(
            dict.fromkeys([i for i in graph.inputs if i in entering] + sorted(entering, key=lambda i: order.get(i, -1)))
        ),
        tuple(dict.fromkeys([i for i in graph.outputs if i in leaving] + sorted(leaving, key=lambda i: order[i]))),
    )


def between(graph: Graph, inputs: Iterable[str], outputs: Sequence[str]) -> tuple[int, ...]:
    """The operators that compute the tensors ``outputs`` from the tensors ``inputs``, in execution order.

    Raises:
        KeyError: a name of ``outputs`` is not a tensor of the graph.
    """
    stop = set(inputs)
    names = {tensor.name: i for i, tensor in enumerate(graph.tensors)}
    writer = {i: n for n, operator in enumerate(graph.operators) for i in operator.outputs}
    needed: set[int] = set()
    pending = [names[name] for name in outputs]
    while pending:
        tensor = pending.pop()
        index = writer.get(tensor)
        if index is None or index in needed or graph.tensors[tensor].name in stop:
            continue
        needed.add(index)
        pending.extend(i for i in graph.operators[index].inputs if i >= 0)
    return tuple(sorted(needed))


def extract(
    model: Model,
    operators: Collection[int],
    graph: int = 0,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> Model:
    """A stand-alone model of the chosen operators of one graph; tensors keep their names, buffers are shared.

    ``inputs`` and ``outputs`` (tensor names) fix the order of the graph inputs and outputs, and may add tensors that
    merely pass through; by default they are the :func:`boundary`.
    """
    source = model.graphs[graph]
    chosen = sorted(operators)
    entering, leaving = boundary(source, chosen)
    by_name = {tensor.name: i for i, tensor in enumerate(source.tensors)}
    entering = entering if inputs is None else tuple(by_name[name] for name in inputs)
    leaving = leaving if outputs is None else tuple(by_name[name] for name in outputs)
    kept = [source.operators[index] for index in chosen]
    used = {*entering, *leaving}
    for operator in kept:
        used.update(i for i in (*operator.inputs, *operator.outputs, *operator.intermediates) if i >= 0)
    number = {old: new for new, old in enumerate(sorted(used))}
    part = Graph(
        tensors=tuple(source.tensors[i] for i in number),
        operators=tuple(renumbered(operator, number) for operator in kept),
        inputs=tuple(number[i] for i in entering),
        outputs=tuple(number[i] for i in leaving),
        name=source.name,
    )
    called = model.graphs[1:] if any(calls_graphs(operator) for operator in kept) else ()
    return replace(model, graphs=(part, *called), signatures=(), metadata=(), unnamed_metadata=(), appendix=None)


def renumbered(operator: Operator, number: dict[int, int]) -> Operator:
    """The operator with its tensor indices translated; -1 (left out) stays."""

    def translate(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(number[i] if i >= 0 else -1 for i in indices)

    return replace(
        operator,
        inputs=translate(operator.inputs),
        outputs=translate(operator.outputs),
        intermediates=translate(operator.intermediates),
    )


def calls_graphs(operator: Operator) -> bool:
    """Whether the operator runs other graphs of the model (IF, WHILE, CALL_ONCE, ...)."""
    return any("subgraph_index" in name for name in operator.options)


def with_unique_names(graph: Graph) -> Graph:
    """The graph with every tensor name occurring once, so that values can be passed on by name.

    Later tensors of a repeated or empty name get a number; the graph itself when all names are unique already.
    """
    seen: set[str] = set()
    tensors: list[Tensor] = []
    for index, tensor in enumerate(graph.tensors):
        name = tensor.name or f"tensor_{index}"
        number = 1
        while name in seen:
            name, number = f"{tensor.name}_{number}", number + 1
        seen.add(name)
        tensors.append(tensor if name == tensor.name else replace(tensor, name=name))
    return graph if all(a is b for a, b in zip(tensors, graph.tensors)) else replace(graph, tensors=tuple(tensors))
