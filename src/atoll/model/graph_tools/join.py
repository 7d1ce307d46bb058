"""A base and a head → one model, the base's outputs feeding the head's inputs."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.errors import InputError
from atoll.model.edit import edited, join
from atoll.model.graph import Graph, Model
from atoll.model.graph_tools.fit import describe, named, require_fit


def join_tflite_models(base: Model, head: Model, bypass_output_tensors: Sequence[str] = ()) -> Model:
    """Join two models, either or both compiled; equal, bit for bit, to running one after the other.

    A head input takes the base output of its name; a head input named like a base input shares it. When no name fits
    and there are as many head inputs as base outputs, they are joined in order. Base outputs that feed nothing are no
    outputs of the result, unless ``bypass_output_tensors`` names them: they come behind the head's outputs.

    Raises:
        InputError: a head input has no partner, or one of another shape, type or scale.
        UsageError: a tensor to bypass is not a base output.
        UnsupportedModelError: a model has control flow.
    """
    base, head = (edited(model, lambda graph: graph) for model in (base, head))
    for name in bypass_output_tensors:
        named(base.main, base.main.outputs, name, "output")
    links = _links(base.main, head.main)
    tensors = {tensor.name: tensor for tensor in base.main.tensors}
    for index in head.main.inputs:
        target = head.main.tensors[index]
        require_fit(tensors[links[target.name]], target, f"head input '{target.name}'")
    return join(base, head, links, bypass_output_tensors)


def _links(base: Graph, head: Graph) -> dict[str, str]:
    outputs = [base.tensors[i].name for i in base.outputs]
    inputs = [head.tensors[i].name for i in head.inputs]
    shared = {base.tensors[i].name for i in base.inputs}
    if not set(inputs) & set(outputs) and len(inputs) == len(outputs):
        return dict(zip(inputs, outputs))
    for index in head.inputs:
        if head.tensors[index].name not in {*outputs, *shared}:
            offered = "; ".join(describe(base.tensors[i]) for i in base.outputs) or "none"
            raise InputError(
                f"nothing of the base feeds the head's input {describe(head.tensors[index])}",
                f"The base's outputs are: {offered}. Names must agree, or the numbers of inputs and outputs.",
            )
    return {name: name for name in inputs}
