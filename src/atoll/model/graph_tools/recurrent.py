"""A model that takes its state in and gives it out → one that keeps it from inference to inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from atoll.errors import UnsupportedModelError, UsageError
from atoll.model.edit import edited, twin
from atoll.model.graph import Buffer, DType, Graph, Model, Operator, Tensor
from atoll.model.graph_tools.fit import named, require_fit
from atoll.model.subgraph import renumbered


def append_recurrent_links(model: Model, links: Mapping[str, str]) -> Model:
    """Feed outputs back: ``links`` maps the names of inputs to the names of the outputs that are their next values.

    Both disappear from the model's inputs and outputs; the others stay, in their order. The state begins with the zero
    point of int8 tensors and zero bytes of others.

    Without compiled operators the state is a variable tensor, which LiteRT also resets in ``reset_all_variables``:
    the output itself, as the vendor's tool does it, where every reader of the old state runs before the new one is
    written; otherwise a tensor into which the new state is copied at the end. Around compiled operators it is a
    resource variable, reset by a new interpreter: LiteRT gives a delegate no node that waits for a tensor written
    later, and the vendor's form of a compiled recurrent model does not even load through the delegate.

    Raises:
        UsageError: a name is not an input or output, or occurs twice, or there are no links.
        InputError: the two tensors differ in shape, type or scale.
        UnsupportedModelError: an output is itself a linked input, or the state is a scalar.
    """
    _check(model, links)
    if twin(model) != 0:
        return _with_resources(model, links)
    return edited(model, lambda graph: _with_variables(graph, links))


def recurrent_links(inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, str]:
    """The links of :func:`append_recurrent_links` from two lists: each output feeds the input in the same place.

    Raises:
        UsageError: The lists differ in length, or an input is named twice.
    """
    if len(inputs) != len(outputs):
        raise UsageError(
            f"{len(inputs)} inputs and {len(outputs)} outputs are named", "Each input needs the output that feeds it."
        )
    if len(set(inputs)) < len(inputs):
        raise UsageError("an input is named twice", "Each input can be fed by one output.")
    return dict(zip(inputs, outputs))


def _check(model: Model, links: Mapping[str, str]) -> None:
    graph = model.main
    if not links:
        raise UsageError("no recurrent links are named", "Name at least one input and the output that feeds it.")
    if len(set(links.values())) < len(links):
        raise UsageError("an output is named twice", "Each output can feed one input.")
    for source, target in links.items():
        taken = graph.tensors[named(graph, graph.inputs, source, "input")]
        given = graph.tensors[named(graph, graph.outputs, target, "output")]
        require_fit(given, taken, f"output '{target}' cannot feed input '{source}'")
        if target in links:
            raise UnsupportedModelError(f"output '{target}' is itself a linked input", "Put an operator in between.")
        if not given.shape:
            raise UnsupportedModelError(f"the state '{target}' is a scalar", "Give it the shape [1].")


def _read_before_written(graph: Graph, source: str, target: str) -> bool:
    """Whether an operator writes ``target`` and all that read ``source`` stand before it."""
    index = {tensor.name: i for i, tensor in enumerate(graph.tensors)}
    readers = [n for n, operator in enumerate(graph.operators) if index[source] in operator.inputs]
    writers = [n for n, operator in enumerate(graph.operators) if index[target] in operator.outputs]
    return bool(writers) and all(n < writers[0] for n in readers)


def _with_variables(graph: Graph, links: Mapping[str, str]) -> Graph:
    index = {tensor.name: i for i, tensor in enumerate(graph.tensors)}
    direct = {index[a]: index[b] for a, b in links.items() if _read_before_written(graph, a, b)}
    number = {**{i: i for i in range(len(graph.tensors))}, **direct}
    variables = {number[index[source]] for source in links}
    copies = [_copy(index[b], index[a]) for a, b in links.items() if index[a] not in direct]
    operators = [replace(operator, inputs=renumbered(operator, number).inputs) for operator in graph.operators]
    return replace(
        _without_ends(graph, links),
        tensors=tuple(replace(t, is_variable=True) if i in variables else t for i, t in enumerate(graph.tensors)),
        operators=(*operators, *copies),
    )


def _copy(source: int, target: int) -> Operator:
    """A concatenation of one tensor: the kernel that copies any element type and is never done in place."""
    options = {"axis": 0, "fused_activation_function": 0}
    return Operator("CONCATENATION", (source,), (target,), options, "ConcatenationOptions")


def _without_ends(graph: Graph, links: Mapping[str, str]) -> Graph:
    return replace(
        graph,
        inputs=tuple(i for i in graph.inputs if graph.tensors[i].name not in links),
        outputs=tuple(i for i in graph.outputs if graph.tensors[i].name not in links.values()),
    )


def _with_resources(model: Model, links: Mapping[str, str]) -> Model:
    """Read the states at the begin, assign them at the end; one more graph, called once, sets them to zero."""
    initial = len(model.graphs)
    states = [tensor for tensor in model.main.tensors if tensor.name in links]
    linked = edited(model, lambda graph: _with_reads_and_assignments(graph, links, initial))
    return replace(linked, graphs=(*linked.graphs, _initialisation(states)))


def _with_reads_and_assignments(graph: Graph, links: Mapping[str, str], initial: int) -> Graph:
    index = {tensor.name: i for i, tensor in enumerate(graph.tensors)}
    handles = {source: len(graph.tensors) + n for n, source in enumerate(links)}
    before = [Operator("CALL_ONCE", (), (), {"init_subgraph_index": initial}, "CallOnceOptions")]
    for source, handle in handles.items():
        before.append(_handle(source, handle))
        before.append(Operator("READ_VARIABLE", (handle,), (index[source],), {}, "ReadVariableOptions"))
    after = [_assignment(handle, index[links[source]]) for source, handle in handles.items()]
    return replace(
        _without_ends(graph, links),
        tensors=(*graph.tensors, *(_handle_tensor(source) for source in handles)),
        operators=(*before, *graph.operators, *after),
    )


def _initialisation(states: Sequence[Tensor]) -> Graph:
    tensors, operators = [], []
    for number, state in enumerate(states):
        zero = 0
        if state.dtype is DType.INT8 and state.quantization is not None and len(state.quantization.zero_point):
            zero = int(state.quantization.zero_point[0])
        values = np.full(state.shape, zero, state.dtype.numpy)
        buffer = Buffer(np.frombuffer(values.tobytes(), np.uint8))
        tensors += [_handle_tensor(state.name), replace(state, name=f"{state.name}/initial", buffer=buffer)]
        operators += [_handle(state.name, 2 * number), _assignment(2 * number, 2 * number + 1)]
    return Graph(tuple(tensors), tuple(operators), (), (), "initial_state")


def _handle_tensor(state: str) -> Tensor:
    return Tensor(f"{state}/variable", (), DType.RESOURCE)


def _handle(state: str, output: int) -> Operator:
    options = {"container": "", "shared_name": state}
    return Operator("VAR_HANDLE", (), (output,), options, "VarHandleOptions")


def _assignment(handle: int, value: int) -> Operator:
    return Operator("ASSIGN_VARIABLE", (handle, value), (), {}, "AssignVariableOptions")
