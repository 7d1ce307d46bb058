"""A model, where its operators run, and packages → the compiled model: one custom operator per region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from atoll.model.compiled import CPU_SIGNATURE, CUSTOM_OP
from atoll.model.graph import Graph, Model, Operator, Signature
from atoll.model.subgraph import boundary, renumbered


def with_custom_operators(
    model: Model, steps: Sequence[tuple[tuple[int, ...], bytes | None]], keep_cpu_graph: bool = True
) -> Model:
    """Replace regions of graph 0 by an ``edgetpu-custom-op`` each, which carries its package.

    ``steps`` holds every operator once, in an order in which they can run: a region with its package, or operators
    that stay on the CPU with None. With ``keep_cpu_graph`` the original graph is added as the last one, under the
    signature ``cpu``; its constants are the same buffers, stored once. A model without regions comes back unchanged.
    """
    if all(package is None for _, package in steps):
        return model
    graph = model.main
    operators: list[Operator] = []
    for indices, package in steps:
        if package is None:
            operators += [graph.operators[i] for i in indices]
        else:
            ends = boundary(graph, indices)
            operators.append(Operator("CUSTOM", *ends, custom_code=CUSTOM_OP, custom_options=package))
    main = _without_unused_tensors(replace(graph, operators=tuple(operators)))
    if not keep_cpu_graph:
        return replace(model, graphs=(main, *model.graphs[1:]), signatures=_signatures(model, main))
    graphs = (main, *model.graphs[1:], replace(graph, name=CPU_SIGNATURE))
    on_cpu = _default_signature(model, CPU_SIGNATURE, len(graphs) - 1)
    return replace(model, graphs=graphs, signatures=(*_signatures(model, main), on_cpu))


def _without_unused_tensors(graph: Graph) -> Graph:
    used = {*graph.inputs, *graph.outputs}
    for operator in graph.operators:
        used.update(i for i in (*operator.inputs, *operator.outputs, *operator.intermediates) if i >= 0)
    number = {old: new for new, old in enumerate(sorted(used))}
    return replace(
        graph,
        tensors=tuple(graph.tensors[i] for i in number),
        operators=tuple(renumbered(operator, number) for operator in graph.operators),
        inputs=tuple(number[i] for i in graph.inputs),
        outputs=tuple(number[i] for i in graph.outputs),
    )


def _default_signature(model: Model, key: str, graph: int = 0) -> Signature:
    """The arguments of graph 0 under ``key``: those of its own signature, else the tensor names."""
    for signature in model.signatures:
        if signature.graph == 0:
            return replace(signature, key=key, graph=graph)
    main = model.main
    inputs, outputs = ({main.tensors[i].name: i for i in indices} for indices in (main.inputs, main.outputs))
    return Signature(key, inputs, outputs, graph)


def _signatures(model: Model, main: Graph) -> tuple[Signature, ...]:
    """The model's signatures with the indices of the new graph 0 (tensors keep their names)."""
    index = {tensor.name: i for i, tensor in enumerate(main.tensors)}

    def moved(arguments: Mapping[str, int]) -> dict[str, int]:
        return {name: index[model.main.tensors[i].name] for name, i in arguments.items()}

    own = model.signatures
    if not any(signature.graph == 0 for signature in own):
        own = (_default_signature(model, "serving_default"), *own)
    return tuple(s if s.graph else replace(s, inputs=moved(s.inputs), outputs=moved(s.outputs)) for s in own)
