"""Mapped operators of a graph and the size of each → :class:`ModelParameters`."""

from __future__ import annotations

from collections.abc import Iterable

from atoll.compiler.memory.memory_plan import LayerKind, LayerParameters, ModelParameters
from atoll.compiler.memory.reserve import reserve_rows
from atoll.compiler.parameters.sizes import ParameterSize, parameter_size
from atoll.hardware.generations import DEFAULT, Generation
from atoll.model.graph import Graph, Operator


def model_parameters(
    graph: Graph,
    operators: Iterable[int],
    name: str = "",
    generation: Generation = DEFAULT,
) -> ModelParameters:
    """The layers with parameters among the mapped ``operators`` (indices), and the reserve of their executable.

    Args:
        graph: The model's graph 0.
        operators: Indices of the mapped operators.
        name: Of the model, for messages.
        generation: Of the compiler: how it lays parameters out.

    Raises:
        UnsupportedModelError: As :func:`atoll.compiler.parameters.parameter_size`.
    """
    chosen = sorted(operators)
    layers = []
    for index in chosen:
        operator = graph.operators[index]
        size = parameter_size(graph, operator, generation)
        if size.nbytes:
            kind = _kind(graph, operator, size)
            output = graph.tensors[operator.outputs[0]].name
            layers.append(LayerParameters(output, kind, size.nbytes, size.block_rows, index))
    return ModelParameters(name, tuple(layers), reserve_rows(_input_shapes(graph, chosen), generation))


def _kind(graph: Graph, operator: Operator, size: ParameterSize) -> LayerKind:
    if size.streamed:
        return LayerKind.CONSTANT
    if not size.block_rows:
        return LayerKind.TABLE
    if operator.kind == "DEPTHWISE_CONV_2D":
        return LayerKind.DEPTHWISE
    shape = graph.tensors[operator.outputs[0]].shape
    if len(shape) != 4 or shape[1:3] == (1, 1):
        return LayerKind.DENSE
    return LayerKind.SPATIAL


def _input_shapes(graph: Graph, operators: Iterable[int]) -> list[tuple[int, ...]]:
    """Shapes of the computed tensors that enter the mapped operators."""
    chosen = [graph.operators[index] for index in operators]
    written = {tensor for operator in chosen for tensor in operator.outputs}
    read = dict.fromkeys(tensor for operator in chosen for tensor in operator.inputs if tensor >= 0)
    return [graph.tensors[i].shape for i in read if i not in written and not graph.tensors[i].is_constant]
