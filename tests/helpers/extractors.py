"""Small embedding extractors with random weights, and what runs them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from atoll.device.virtual.virtual_device import RESOLVER
from atoll.model import Buffer, DType, Graph, Model, Operator, Quantization, Tensor
from atoll.model.tflite import model_bytes

DIM = 32


def quantized(scale: float, zero_point: int) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))


def extractor(dtype: DType = DType.INT8, flat: bool = False, size: int = 32, dim: int = DIM) -> Model:
    """x [1, size, size, 3] -> 3x3 convolutions of stride 2 with ReLU -> mean -> embedding [1, 1, 1, dim] or [1, dim].

    uint8 or int8 throughout; per-tensor weights, scaled so that activations keep their range.
    """
    random = np.random.default_rng(5)
    least = int(np.iinfo(dtype.numpy).min)
    middle = least + 128
    version = 3 if dtype is DType.INT8 else 1
    tensors = [Tensor("x", (1, size, size, 3), dtype, quantized(1 / 128, middle))]
    operators: list[Operator] = []

    def constant(name: str, values: np.ndarray, kind: DType, quantization: Quantization | None) -> int:
        buffer = Buffer(np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8))
        tensors.append(Tensor(name, values.shape, kind, quantization, buffer))
        return len(tensors) - 1

    source, channels, extent, scale = 0, 3, size, 1 / 128
    for number, width in enumerate((16, dim)):
        extent //= 2
        weights = random.normal(0, 1, (width, 3, 3, channels))
        real = weights * np.sqrt(2 / (9 * channels))
        weight_scale = float(np.abs(real).max() / 127)
        stored = (np.rint(real / weight_scale) + middle).astype(dtype.numpy)
        w = constant(f"w{number}", stored, dtype, quantized(weight_scale, middle))
        bias = np.zeros(width, np.int32)
        b = constant(f"b{number}", bias, DType.INT32, quantized(scale * weight_scale, 0))
        scale = 3 / 255
        tensors.append(Tensor(f"conv{number}", (1, extent, extent, width), dtype, quantized(scale, least)))
        options = {"padding": 0, "stride_w": 2, "stride_h": 2, "fused_activation_function": 1}
        output = len(tensors) - 1
        operators.append(Operator("CONV_2D", (source, w, b), (output,), options, "Conv2DOptions", version))
        source, channels = output, width
    axes = constant("axes", np.array([1, 2], np.int32), DType.INT32, None)
    shape = (1, dim) if flat else (1, 1, 1, dim)
    tensors.append(Tensor("embedding", shape, dtype, quantized(scale / 2, least)))
    options = {"keep_dims": not flat}
    version = 2 if dtype is DType.INT8 else 1
    operators.append(Operator("MEAN", (source, axes), (len(tensors) - 1,), options, "ReducerOptions", version))
    return Model((Graph(tuple(tensors), tuple(operators), (0,), (len(tensors) - 1,), "main"),))


def real_values(interpreter: Interpreter) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an image, uint8 (h, w, 3), to the real values of the interpreter's first output, 1-D."""
    interpreter.allocate_tensors()
    (given,), taken = interpreter.get_input_details(), interpreter.get_output_details()[0]
    scale, zero_point = taken["quantization"]

    def run(image: np.ndarray) -> np.ndarray:
        shift = 128 if given["dtype"] == np.int8 else 0
        interpreter.set_tensor(given["index"], (image.astype(np.int16) - shift).astype(given["dtype"])[None])
        interpreter.invoke()
        stored = interpreter.get_tensor(taken["index"]).reshape(-1)
        return np.float32(scale) * (stored.astype(np.float32) - zero_point)

    return run


def on_cpu(model: Model | bytes) -> Callable[[np.ndarray], np.ndarray]:
    content = model if isinstance(model, bytes) else bytes(model_bytes(model))
    return real_values(Interpreter(model_content=content, experimental_op_resolver_type=RESOLVER))
