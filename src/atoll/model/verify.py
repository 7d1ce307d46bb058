"""Whether a model keeps the rules that every stage relies on; checked at each boundary."""

from __future__ import annotations

from atoll.model.graph import Graph, Model, Quantization, Tensor


class InconsistentModelError(ValueError):
    """A model that contradicts itself; the message names the graph, the operator or the tensor."""


def verify(model: Model) -> None:
    """Check indices, shapes, constants, and that operators stand in execution order.

    Raises:
        InconsistentModelError: names the first rule that is broken and where.
    """
    if not model.graphs:
        raise InconsistentModelError("there is no graph in it")
    for number, graph in enumerate(model.graphs):
        try:
            _verify_graph(graph)
        except InconsistentModelError as error:
            raise InconsistentModelError(f"graph {number}: {error}") from None
    for signature in model.signatures:
        if signature.graph >= len(model.graphs):
            raise InconsistentModelError(f"signature '{signature.key}' names graph {signature.graph}")
        indices = [*signature.inputs.values(), *signature.outputs.values()]
        _verify_indices(model.graphs[signature.graph], indices, f"signature '{signature.key}'")


def _verify_graph(graph: Graph) -> None:
    for tensor in graph.tensors:
        _verify_tensor(tensor)
    _verify_indices(graph, graph.inputs, "the input list")
    _verify_indices(graph, graph.outputs, "the output list")
    available = set(graph.inputs) | {i for i, t in enumerate(graph.tensors) if t.is_constant or t.is_variable}
    for index, operator in enumerate(graph.operators):
        present = [i for i in operator.inputs if i != -1]
        _verify_indices(
            graph, [*present, *operator.outputs, *operator.intermediates], f"operator {index} {operator.name}"
        )
        available.update(operator.outputs)
    produced: set[int] = set()
    for index, operator in enumerate(graph.operators):
        for i in operator.outputs:
            if i in produced or i in graph.inputs or graph.tensors[i].is_constant:
                raise InconsistentModelError(
                    f"tensor '{graph.tensors[i].name}' is written twice, by {graph.where(index)}"
                )
        for i in operator.inputs:
            # A tensor that nothing writes is an optional input some converters leave dangling: LiteRT accepts it.
            if i >= 0 and i in available and i not in produced and not _given(graph, i):
                raise InconsistentModelError(
                    f"{graph.where(index)} reads '{graph.tensors[i].name}' before it is written"
                )
        produced.update(operator.outputs)


def _given(graph: Graph, index: int) -> bool:
    tensor = graph.tensors[index]
    return tensor.is_constant or tensor.is_variable or index in graph.inputs


def _verify_indices(graph: Graph, indices: object, who: str) -> None:
    for index in indices:  # type: ignore[attr-defined]
        if not 0 <= index < len(graph.tensors):
            raise InconsistentModelError(f"{who} names tensor {index}; there are {len(graph.tensors)}")


def _verify_tensor(tensor: Tensor) -> None:
    who = f"tensor '{tensor.name}' of shape {list(tensor.shape)}"
    if any(size < 0 for size in tensor.shape):
        raise InconsistentModelError(f"{who} has a negative size")
    if tensor.quantization is not None:
        _verify_quantization(tensor, tensor.quantization, who)
    dense = tensor.dtype.bits and tensor.sparsity is None
    if tensor.buffer is not None and dense and len(tensor.buffer.data) != tensor.nbytes:
        raise InconsistentModelError(f"{who} needs {tensor.nbytes} bytes and has {len(tensor.buffer.data)}")


def _verify_quantization(tensor: Tensor, quantization: Quantization, who: str) -> None:
    scales, zero_points, axis = len(quantization.scale), len(quantization.zero_point), quantization.axis
    if scales and zero_points not in (1, scales):
        raise InconsistentModelError(f"{who} has {scales} scales and {zero_points} zero points")
    if scales > 1 and not (0 <= axis < len(tensor.shape) and tensor.shape[axis] == scales):
        raise InconsistentModelError(f"{who} has {scales} scales along axis {axis}")
