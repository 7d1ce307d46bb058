"""The names of a layer's tensors → the layer, as the vendor's tools name one."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.errors import UsageError
from atoll.model.graph import Graph, Model


def named_layer(
    model: Model, output: str | None = None, operands: Sequence[str | None] = (), feature_dim: int = 0
) -> str | None:
    """The name of a layer's output, after what else is known of the layer was compared with it.

    Args:
        model: The layer is one of its graph 0.
        output: Name of the layer's output; None: that of the first operator that reads all of ``operands``.
        operands: Names of its input, weights and bias; None for those that are not known.
        feature_dim: The dimension of the output that counts features; 0: not known, as the vendor's default is.

    Returns:
        The name, or None when neither an output nor operands are given.

    Raises:
        UsageError: No layer has these operands, or the layer has others, or the features are another dimension.
    """
    graph = model.main
    layer = output or _reading(graph, operands)
    if layer is None and any(operands):
        raise UsageError("no layer has the tensors named", "Look at their names with: atoll check MODEL")
    for operator in graph.operators:
        if layer in {tensor.name for tensor in graph.outputs_of(operator)}:
            for position, (name, what) in enumerate(zip(operands, ("input", "weights", "bias"))):
                tensor = graph.tensor_of(operator, position)
                if name and (tensor is None or tensor.name != name):
                    actual = f"'{tensor.name}'" if tensor else "none"
                    raise UsageError(f"the {what} of '{layer}' is not '{name}'", f"It is {actual}.")
    for tensor in graph.tensors:
        if feature_dim and tensor.name == layer and feature_dim != len(tensor.shape) - 1:
            raise UsageError(
                f"--feature_dim_index is {feature_dim}, the output '{layer}' is {list(tensor.shape)}",
                "The features of a layer are the last dimension of its output.",
            )
    return layer


def _reading(graph: Graph, operands: Sequence[str | None]) -> str | None:
    wanted = {name for name in operands if name}
    for operator in graph.operators:
        if wanted and wanted <= {tensor.name for tensor in graph.inputs_of(operator)}:
            return graph.tensors[operator.outputs[0]].name
    return None
