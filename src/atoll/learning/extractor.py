"""A plain embedding extractor → a model that can be trained by imprinting."""

from __future__ import annotations

import numpy as np

from atoll.errors import UntrainableModelError, UsageError
from atoll.learning.layers import CONV_OPTIONS, FC_OPTIONS, ZERO_POINT, Layers, affine, symmetric
from atoll.model.edit import edited, join
from atoll.model.graph import DType, Graph, Model, Tensor


def embedding_of(model: Model) -> Tensor:
    """The one output of an embedding extractor: uint8 or int8, [1, 1, 1, x] or [1, x].

    Raises:
        UntrainableModelError: it has another type or shape, or there are several outputs.
    """
    graph: Graph = model.main
    where = model.path or "the extractor"
    if len(graph.outputs) != 1:
        names = ", ".join(f"'{graph.tensors[i].name}'" for i in graph.outputs)
        raise UntrainableModelError(f"{where} has {len(graph.outputs)} outputs: {names}", "It must have one.")
    tensor = graph.tensors[graph.outputs[0]]
    if any(operator.kind == "SOFTMAX" and graph.outputs[0] in operator.outputs for operator in graph.operators):
        raise UntrainableModelError(
            f"{where} ends with SOFTMAX: its output '{tensor.name}' holds scores of classes, not an embedding",
            "Cut the model behind its global pooling: atoll graph partition_with_num_ops.",
        )
    if tensor.dtype not in (DType.UINT8, DType.INT8) or tensor.quantization is None:
        raise UntrainableModelError(
            f"{where}: its output '{tensor.name}' is {tensor.dtype.name.lower()}",
            "Quantise the extractor to 8 bits, outputs included.",
        )
    scale = tensor.quantization.scale
    if len(scale) != 1 or not 0 < float(scale[0]) < np.inf:
        raise UntrainableModelError(f"{where}: its output '{tensor.name}' has no usable scale", "Convert it again.")
    if tensor.shape[:-1] not in ((1,), (1, 1, 1)) or not tensor.shape[-1]:
        raise UntrainableModelError(
            f"{where}: its output '{tensor.name}' is {list(tensor.shape)}, an embedding [1, 1, 1, x] or [1, x]",
            "Cut the model behind its global pooling.",
        )
    return tensor


def with_imprinting_tail(extractor: Model, factor: float = 16.0) -> Model:
    """Append L2 normalisation and an untrained last layer with one class, as ``ImprintingEngine`` needs them.

    A 4-D embedding gets CONV_2D, MUL, RESHAPE, SOFTMAX, a 2-D one FULLY_CONNECTED, SOFTMAX. ``factor`` is what cosines
    are multiplied with before the softmax: the larger, the surer of itself the classifier.

    Raises:
        UntrainableModelError: the extractor's output is no 8-bit embedding.
        UsageError: the factor is not positive.
    """
    if not 0 < factor < np.inf:
        raise UsageError(f"the scale factor is {factor}", "It must be a positive number.")
    extractor = edited(extractor, lambda graph: graph)
    source = embedding_of(extractor)
    dtype, dim = source.dtype, source.shape[-1]
    layers = Layers(source)
    unit = symmetric(1.0, dtype)
    layers.layer("L2_NORMALIZATION", "embedding", source.shape, unit, options={"fused_activation_function": 0})
    # Typical weights of unit length; imprinting widens the scale where a class needs it.
    weight_scale = affine(4 / np.sqrt(dim) / 127, ZERO_POINT[dtype])
    weights, bias = np.zeros((1, dim)), np.zeros(1)
    if len(source.shape) == 2:
        layers.linear("logits", "FULLY_CONNECTED", weights, bias, weight_scale, unit, FC_OPTIONS)
        layers.softmax("scores", factor)
    else:
        layers.linear("logits", "CONV_2D", weights, bias, weight_scale, unit, CONV_OPTIONS)
        most = int(np.iinfo(dtype.numpy).max)
        scale = affine(factor / (most - ZERO_POINT[dtype]), ZERO_POINT[dtype])
        constant = layers.constant("factor", np.array([most], dtype.numpy), scale)
        options = {"fused_activation_function": 0}
        layers.layer("MUL", "scaled", (1, 1, 1, 1), symmetric(factor, dtype), constant, options=options)
        layers.reshape("reshaped", (1, 1))
        layers.softmax("scores")
    return join(extractor, layers.model(), {source.name: source.name})
