"""A model → its tail: where the embedding comes out, and the last layers that imprinting may rewrite."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atoll.errors import UntrainableModelError
from atoll.model.compiled import CUSTOM_OP
from atoll.model.edit import twin
from atoll.model.graph import DType, Graph, Model, Operator, Tensor

_UNSUPPORTED = "Unsupported model architecture."
NO_L2NORM = f"{_UNSUPPORTED} Input model must have an L2Norm layer."
WRONG_TAIL = "The last 4 operators must be Conv2d, Mul, Reshape, Softmax"
NOT_FOLLOWED = f"{_UNSUPPORTED} L2Norm operator must be followed with the last Conv2d operator."
WRONG_EMBEDDING = "Embedding extractor's output tensor should be [1, 1, 1, x]"
WRONG_LOGITS = "Logit output tensor should be [1, x]"
WRONG_WEIGHTS = "Invalid number of weights."

TAILS = (("CONV_2D", "MUL", "RESHAPE", "SOFTMAX"), ("FULLY_CONNECTED", "SOFTMAX"))
"""The vendor's tail, and the one of models whose last layer is fully connected."""


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The end of an imprintable model (uint8 or int8)."""

    normalised: str
    """Name of the L2-normalised embedding: what the extractor gives out."""
    embedding: Tensor
    """What the last layer reads: the same values, possibly requantised."""
    operators: tuple[Operator, ...]
    """One of :data:`TAILS`."""
    weights: Tensor
    output: Tensor
    factor: float
    """What the cosines are multiplied with before the softmax: the constant of the MUL, else the softmax's beta."""

    @property
    def fully_connected(self) -> bool:
        """Whether the last layer is FULLY_CONNECTED, not CONV_2D."""
        return self.operators[0].kind == "FULLY_CONNECTED"

    @property
    def classes(self) -> int:
        """How many classes the model knows."""
        return self.output.shape[1]

    @property
    def dim(self) -> int:
        """How many numbers an embedding has."""
        return self.embedding.shape[-1]


def find_tail(model: Model) -> Tail:
    """Find and check the tail of an imprintable model.

    Raises:
        UntrainableModelError: with the vendor's message, and a hint that names the operator or tensor.
    """
    graph = model.main
    norms = [i for i, operator in enumerate(graph.operators) if operator.kind == "L2_NORMALIZATION"]
    compiled = [i for i, operator in enumerate(graph.operators) if operator.custom_code == CUSTOM_OP]
    if len(norms) != 1 and not (not norms and compiled):
        raise _refused(model, NO_L2NORM, f"It has {len(norms)} L2_NORMALIZATION operators; exactly one is needed.")
    tail = next((kinds for kinds in TAILS if _kinds(graph)[-len(kinds) :] == kinds), None)
    if tail is None:
        ending = ", ".join(operator.name for operator in graph.operators[-4:])
        raise _refused(model, WRONG_TAIL, f"They are {ending}; FullyConnected, Softmax would do too.")
    first = len(graph.operators) - len(tail)
    before = _before(graph, first)
    norm = norms[0] if norms else before
    if before is None or before != norm or not _chained(graph, first):
        raise _refused(model, NOT_FOLLOWED, f"{graph.where(first)} reads something else, or the tail is no chain.")
    _check_compiled_norm(model, graph.operators[norm])
    return _checked(model, graph, graph.operators[norm].outputs, graph.operators[first:])


def _kinds(graph: Graph) -> tuple[str, ...]:
    return tuple(operator.kind for operator in graph.operators)


def _before(graph: Graph, index: int) -> int | None:
    """The operator whose output operator ``index`` reads, directly or through one QUANTIZE."""
    writer = {i: n for n, operator in enumerate(graph.operators) for i in operator.outputs}
    found = writer.get(_first_input(graph, index))
    if found is not None and graph.operators[found].kind == "QUANTIZE":
        found = writer.get(_first_input(graph, found))
    return found


def _first_input(graph: Graph, index: int) -> int:
    return next(iter(graph.operators[index].inputs), -1)


def _chained(graph: Graph, first: int) -> bool:
    """Whether the operators from ``first`` on have one output each, the next one's input, at last the graph's only."""
    tail = graph.operators[first:]
    if any(len(operator.outputs) != 1 for operator in tail):
        return False
    if any(left.outputs[0] not in right.inputs for left, right in itertools.pairwise(tail)):
        return False
    return graph.outputs == tail[-1].outputs


def _check_compiled_norm(model: Model, operator: Operator) -> None:
    """Where the L2 normalisation is inside a compiled operator, find it in the original graph, or by its scale."""
    if operator.custom_code != CUSTOM_OP:
        return
    output = model.main.tensors[operator.outputs[0]]
    number = twin(model)
    if number is None:
        # The kernels of L2_NORMALIZATION know one output scale only, which hardly any other layer has.
        if output.quantization is not None and np.allclose(output.quantization.scale, 1 / 128):
            return
    elif _computed_by_norm(model.graphs[number], output.name):
        return
    raise _refused(model, NO_L2NORM, "There is none in the compiled operator either.")


def _computed_by_norm(graph: Graph, name: str) -> bool:
    """Whether an L2_NORMALIZATION, or a QUANTIZE behind one, writes the tensor ``name``."""
    for n, operator in enumerate(graph.operators):
        if name in (tensor.name for tensor in graph.outputs_of(operator)):
            source = _before(graph, n) if operator.kind == "QUANTIZE" else n
            return source is not None and graph.operators[source].kind == "L2_NORMALIZATION"
    return False


def _checked(model: Model, graph: Graph, normalised: Sequence[int], operators: Sequence[Operator]) -> Tail:
    """The tail, when types and shapes are right."""
    layer, softmax = operators[0], operators[-1]
    embedding, weights = graph.tensor_of(layer, 0), graph.tensor_of(layer, 1)
    output = graph.tensors[softmax.outputs[0]]
    assert embedding is not None
    dense = layer.kind == "FULLY_CONNECTED"
    if embedding.shape[:-1] != (1, 1, 1) and not (dense and embedding.shape[:-1] == (1,)):
        raise _refused(model, WRONG_EMBEDDING, f"'{embedding.name}' is {list(embedding.shape)}.")
    if len(output.shape) != 2 or output.shape[0] != 1 or output.shape[1] < 1:
        raise _refused(model, WRONG_LOGITS, f"'{output.name}' is {list(output.shape)}.")
    classes, dim = output.shape[1], embedding.shape[-1]
    if (
        weights is None
        or not weights.is_constant
        or weights.shape != ((classes, dim) if dense else (classes, 1, 1, dim))
    ):
        shape = None if weights is None else list(weights.shape)
        raise _refused(model, WRONG_WEIGHTS, f"{shape} for {classes} classes and embeddings of {dim}.")
    for tensor in (embedding, weights, output):
        _check_8bit(model, tensor, embedding.dtype, per_channel=tensor is weights)
    factor = _mul_factor(model, graph, operators[1]) if len(operators) == 4 else float(softmax.options.get("beta", 1))
    if not 0 < factor < np.inf:
        raise _refused(model, f"the scale factor of the last layers is {factor}", "It must be a positive number.")
    if len(normalised) != 1:
        raise _refused(model, NOT_FOLLOWED, f"The operator before the last layer has {len(normalised)} outputs.")
    return Tail(graph.tensors[normalised[0]].name, embedding, tuple(operators), weights, output, factor)


def _check_8bit(model: Model, tensor: Tensor, dtype: DType, per_channel: bool = False) -> None:
    if tensor.dtype is not dtype or dtype not in (DType.UINT8, DType.INT8):
        raise _refused(
            model,
            f"'{tensor.name}' is {tensor.dtype.name.lower()}, the embedding {dtype.name.lower()}",
            "Quantise the whole model to uint8 or to int8.",
        )
    if tensor.quantization is None or not len(tensor.quantization.scale):
        raise _refused(model, f"'{tensor.name}' has no scale", "Quantise the whole model.")
    scales = tensor.quantization.scale
    if len(scales) > 1 and not (per_channel and tensor.quantization.axis == 0):
        raise _refused(
            model, f"'{tensor.name}' has {len(scales)} scales", "It needs one, weights one or one per class."
        )
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise _refused(model, f"'{tensor.name}' has a scale that is not a positive number", "Convert it again.")


def _mul_factor(model: Model, graph: Graph, operator: Operator) -> float:
    """The real value of the constant that MUL multiplies with."""
    for tensor in graph.inputs_of(operator):
        if tensor.is_constant:
            if tensor.elements != 1:
                raise _refused(model, f"'{tensor.name}' holds {tensor.elements} factors", "Use one for all classes.")
            _check_8bit(model, tensor, graph.tensors[operator.outputs[0]].dtype)
            assert tensor.quantization is not None
            stored = int(tensor.array.reshape(-1)[0])
            return float((stored - tensor.quantization.zero_point[0]) * tensor.quantization.scale[0])
    raise _refused(model, f"{operator.kind} multiplies by nothing constant", "Its second input must be a constant.")


def _refused(model: Model, message: str, detail: str) -> UntrainableModelError:
    where = f"{model.path}: " if model.path else ""
    return UntrainableModelError(message, f"{where}{detail}")
