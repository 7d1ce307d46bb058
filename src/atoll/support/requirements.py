"""A model → nothing, or the error that says why it cannot be compiled at all."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.errors import AlreadyCompiledError, DynamicShapeError, NotQuantizedError
from atoll.model import CUSTOM_OP, DType, Graph, Model, Operator, Tensor

CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})
"""Operators that only change the element type: they say nothing about how the model computes."""

HOW_TO_QUANTIZE = (
    "Quantise it to 8 bits, weights and activations. With ai-edge-quantizer: the static full-integer recipe "
    "(recipe.static_wi8_ai8) and calibration data. With the TensorFlow converter: optimizations=[Optimize.DEFAULT], "
    "representative_dataset=..., target_spec.supported_ops=[OpsSet.TFLITE_BUILTINS_INT8], and "
    "inference_input_type=inference_output_type=tf.int8."
)


def require_compilable(model: Model) -> None:
    """All of the requirements below, in the order in which they help most.

    Raises:
        AlreadyCompiledError, DynamicShapeError, NotQuantizedError: see below.
    """
    require_uncompiled(model)
    require_static(model)
    require_quantized(model)


def require_uncompiled(model: Model) -> None:
    """Refuse a model that already holds a compiled region.

    Raises:
        AlreadyCompiledError: names the operator.
    """
    for graph in model.graphs:
        for index, operator in enumerate(graph.operators):
            if operator.custom_code == CUSTOM_OP:
                raise AlreadyCompiledError(
                    f"{_name(model)} is already compiled for the Edge TPU: {graph.where(index)}",
                    "Give the .tflite file that it was compiled from.",
                )


def require_static(model: Model) -> None:
    """Refuse a model with a tensor whose size is only known at run time.

    A batch size left open (-1 in front of the signature) is taken as the size that the file gives, as LiteRT does
    when nobody resizes the input.

    Raises:
        DynamicShapeError: names the tensor and its shape.
    """
    for tensor in model.main.tensors:
        signature = tensor.shape_signature or tensor.shape
        if any(size < 0 for size in signature[1:]) or any(size < 0 for size in tensor.shape):
            raise DynamicShapeError(
                f"{_name(model)}: tensor '{tensor.name}' has the dynamic shape {list(signature)}",
                "Convert the model again with fixed input shapes (in Keras: Input(shape=..., batch_size=1)).",
            )


def require_quantized(model: Model) -> None:
    """Refuse a float or dynamic-range model; float inputs, outputs and single float operators are fine.

    A model counts as quantised when at least one operator that computes reads and writes quantised 8-bit
    activations; what is left in float then stays on the CPU, with a finding of its own.

    Raises:
        NotQuantizedError: names the first float tensor that an operator computes with.
    """
    graph = model.main
    computing = [operator for operator in graph.operators if operator.kind not in CONVERSIONS]
    if any(_works_on_8_bits(graph, operator) for operator in computing):
        return
    for index, operator in enumerate(graph.operators):
        if operator.kind in CONVERSIONS:
            continue
        tensor = next((t for t in _tensors(graph, operator) if t.dtype.is_float), None)
        if tensor is not None:
            raise NotQuantizedError(
                f"Model not quantized: {_name(model)}: {graph.where(index)} works on the {tensor.dtype.name} tensor "
                f"'{tensor.name}'",
                HOW_TO_QUANTIZE,
            )


def _works_on_8_bits(graph: Graph, operator: Operator) -> bool:
    reads = any(_is_quantized(tensor) and not tensor.is_constant for tensor in graph.inputs_of(operator))
    return reads and any(_is_quantized(tensor) for tensor in graph.outputs_of(operator))


def _is_quantized(tensor: Tensor) -> bool:
    quantization = tensor.quantization
    return tensor.dtype in (DType.INT8, DType.UINT8) and quantization is not None and len(quantization.scale) > 0


def _tensors(graph: Graph, operator: Operator) -> Iterator[Tensor]:
    yield from graph.inputs_of(operator)
    yield from graph.outputs_of(operator)


def _name(model: Model) -> str:
    return model.path or "the model"
