"""Whole models → whole models: parts cut off and joined, a compiled graph and its twin of original operators in step.

A file compiled by atoll holds two graphs of one network: graph 0 for the device, and, under the signature ``cpu``, the
original operators that a virtual device runs. Tensors have the same names in both, so an edit that speaks of tensors by
name applies to both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from atoll.errors import UnsupportedModelError
from atoll.model.compiled import CPU_SIGNATURE, is_compiled
from atoll.model.graph import Graph, Model, Signature, Tensor
from atoll.model.subgraph import between, calls_graphs, extract, renumbered, with_unique_names


def twin(model: Model) -> int | None:
    """Index of the graph with the original operators: 0 in a model not compiled, None where they are not kept."""
    for signature in model.signatures:
        if signature.key == CPU_SIGNATURE and signature.graph:
            return signature.graph
    return None if is_compiled(model) else 0


def edited(model: Model, edit: Callable[[Graph], Graph]) -> Model:
    """The model with ``edit`` applied to graph 0 and to its twin; signatures follow, metadata is dropped.

    Tensor names are made unique first, so that ``edit`` can rely on them.
    """
    chosen = {0, twin(model) or 0}
    graphs = tuple(edit(with_unique_names(g)) if i in chosen else g for i, g in enumerate(model.graphs))
    signatures = tuple(
        _signature(s.key, s.graph, model.graphs[s.graph], graphs[s.graph], s) if s.graph in chosen else s
        for s in model.signatures
    )
    return replace(model, graphs=graphs, signatures=signatures, metadata=(), unnamed_metadata=(), appendix=None)


def up_to(model: Model, outputs: Sequence[str]) -> Model:
    """The part of the model that computes the tensors ``outputs``, with them as its outputs; inputs in their order.

    Raises:
        KeyError: a name is not a tensor of graph 0, or of its twin.
    """

    def cut(graph: Graph) -> Graph:
        return extract(Model((graph,)), between(graph, (), outputs), outputs=outputs).main

    return edited(model, cut)


def join(base: Model, head: Model, links: Mapping[str, str], bypass: Sequence[str] = ()) -> Model:
    """One model in which tensors of ``base`` feed the inputs of ``head``.

    ``links`` maps head input names to base tensor names (outputs, or inputs that both share); ``bypass`` are base
    outputs that become outputs behind those of the head. Head tensors whose name is taken get a new one. The result
    has a twin when both models have one or need none. The caller has checked that linked tensors fit.

    Raises:
        UnsupportedModelError: an operator of either model calls other graphs (IF, WHILE, ...).
    """
    base, head = edited(base, _without_calls), edited(head, _without_calls)
    head = _renamed(head, {tensor.name for graph in base.graphs for tensor in graph.tensors}, links)
    graphs = [_join_graphs(base.main, head.main, links, bypass)]
    twins = twin(base), twin(head)
    if any(twins) and None not in twins:
        graphs.append(_join_graphs(base.graphs[twins[0] or 0], head.graphs[twins[1] or 0], links, bypass))
        graphs[1] = replace(graphs[1], name=CPU_SIGNATURE)
    keys = ("serving_default", CPU_SIGNATURE)
    signatures = tuple(_signature(key, i, graph, graph) for i, (key, graph) in enumerate(zip(keys, graphs)))
    return Model(tuple(graphs), head.description or base.description, base.version, signatures)


def _without_calls(graph: Graph) -> Graph:
    for index, operator in enumerate(graph.operators):
        if calls_graphs(operator):
            raise UnsupportedModelError(
                f"{graph.where(index)} runs another graph of its model, and such models cannot be joined",
                "Convert the network without control flow.",
            )
    return graph


def _renamed(model: Model, taken: Collection[str], kept: Collection[str]) -> Model:
    """The model with new names for the tensors whose name is ``taken``, the same in every graph."""
    occupied = {*taken, *(tensor.name for graph in model.graphs for tensor in graph.tensors)}
    names: dict[str, str] = {}
    for graph in model.graphs:
        for tensor in graph.tensors:
            if tensor.name in taken and tensor.name not in names and tensor.name not in kept:
                number = 1
                while f"{tensor.name}_{number}" in occupied:
                    number += 1
                names[tensor.name] = f"{tensor.name}_{number}"
                occupied.add(names[tensor.name])

    def rename(graph: Graph) -> Graph:
        return replace(graph, tensors=tuple(replace(t, name=names.get(t.name, t.name)) for t in graph.tensors))

    return replace(model, graphs=tuple(rename(graph) for graph in model.graphs)) if names else model


def _join_graphs(base: Graph, head: Graph, links: Mapping[str, str], bypass: Sequence[str]) -> Graph:
    place = {tensor.name: i for i, tensor in enumerate(base.tensors)}
    linked = {i: place[links[head.tensors[i].name]] for i in head.inputs if head.tensors[i].name in links}
    tensors: list[Tensor] = list(base.tensors)
    number = dict(linked)
    for i, tensor in enumerate(head.tensors):
        if i not in linked:
            number[i] = len(tensors)
            tensors.append(tensor)
    return Graph(
        tensors=tuple(tensors),
        operators=(*base.operators, *(renumbered(operator, number) for operator in head.operators)),
        inputs=(*base.inputs, *(number[i] for i in head.inputs if i not in linked)),
        outputs=(*(number[i] for i in head.outputs), *(place[name] for name in bypass)),
        name=base.name,
    )


def _signature(key: str, number: int, old: Graph, new: Graph, model: Signature | None = None) -> Signature:
    """The arguments of graph ``number``: those whose tensors are still there under the names of ``model``."""

    def arguments(indices: Sequence[int], before: Mapping[str, int]) -> dict[str, int]:
        known = {old.tensors[i].name: argument for argument, i in before.items()}
        return {known.get(new.tensors[i].name, new.tensors[i].name): i for i in indices}

    inputs, outputs = (model.inputs, model.outputs) if model else ({}, {})
    return Signature(key, arguments(new.inputs, inputs), arguments(new.outputs, outputs), number)
