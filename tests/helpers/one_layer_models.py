"""Models of one layer and of one recurrent cell for the tests of graph tools, and how they are run."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from atoll.device.virtual.virtual_device import RESOLVER
from atoll.model import Buffer, DType, Graph, Model, Operator, Quantization, Tensor
from atoll.model.tflite import model_bytes

Values = dict[str, np.ndarray]
FC = {"fused_activation_function": 1, "weights_format": 0, "keep_num_dims": False, "asymmetric_quantize_inputs": False}
CONV = {"padding": 1, "stride_w": 1, "stride_h": 1, "fused_activation_function": 0}


def quantized(*scale: float, zero_point: int = 0) -> Quantization:
    return Quantization(np.array(scale, np.float32), np.full(len(scale), zero_point, np.int64))


def dense(
    inputs: int, outputs: int, *, dtype: DType = DType.INT8, conv: bool = False, prefix: str = "", seed: int = 0
) -> Model:
    """x -> fully connected (or 1x1 convolution, per channel) -> y; the tensor between two such models fits."""
    random = np.random.default_rng(seed)
    zero = 0 if dtype is DType.INT8 else 128
    activation = quantized(0.05, zero_point=zero)
    weights = random.integers(np.iinfo(dtype.numpy).min + 1, np.iinfo(dtype.numpy).max, (outputs, inputs))
    scales = random.uniform(0.001, 0.004, outputs) if conv else [0.002]
    bias = random.integers(-500, 500, outputs).astype(np.int32)
    lead = (1, 1, 1) if conv else (1,)

    def constant(name: str, values: np.ndarray, kind: DType, q: Quantization) -> Tensor:
        return Tensor(prefix + name, values.shape, kind, q, Buffer(np.frombuffer(values.tobytes(), np.uint8)))

    stored = weights.reshape((outputs, 1, 1, inputs) if conv else weights.shape).astype(dtype.numpy)
    tensors = (
        Tensor(prefix + "x", (*lead, inputs), dtype, activation),
        constant("w", stored, dtype, quantized(*scales, zero_point=0 if conv else zero)),
        constant("b", bias, DType.INT32, quantized(*(0.05 * s for s in scales))),
        Tensor(prefix + "y", (*lead, outputs), dtype, activation),
    )
    kind, options_type = ("CONV_2D", "Conv2DOptions") if conv else ("FULLY_CONNECTED", "FullyConnectedOptions")
    version = {(True, DType.INT8): 3, (False, DType.INT8): 4}.get((conv, dtype), 1)
    layer = Operator(kind, (0, 1, 2), (3,), CONV if conv else FC, options_type, version)
    return Model((Graph(tensors, (layer,), (0,), (3,), "main"),))


def interpreter(model: Model) -> Interpreter:
    result = Interpreter(model_content=bytes(model_bytes(model)), experimental_op_resolver_type=RESOLVER)
    result.allocate_tensors()
    return result


def run(runner: Interpreter, values: Values) -> Values:
    for detail in runner.get_input_details():
        runner.set_tensor(detail["index"], values[detail["name"]])
    runner.invoke()
    return {detail["name"]: runner.get_tensor(detail["index"]) for detail in runner.get_output_details()}


def random_values(model: Model, seed: int) -> Values:
    random = np.random.default_rng(seed)
    tensors = [model.main.tensors[i] for i in model.main.inputs]
    limits = [np.iinfo(t.dtype.numpy) for t in tensors]
    return {
        t.name: random.integers(limit.min, limit.max, t.shape, t.dtype.numpy, endpoint=True)
        for t, limit in zip(tensors, limits)
    }


Q = Quantization(np.array([0.05], np.float32), np.array([3], np.int64))
ADD = {"fused_activation_function": 0, "pot_scale_int16": True}
CONCAT = {"axis": 3, "fused_activation_function": 0}


def tensor(name: str, channels: int = 2, **fields: object) -> Tensor:
    values = {"shape": (1, 2, 2, channels), "dtype": DType.INT8, "quantization": Q} | fields
    return Tensor(name, **values)  # type: ignore[arg-type]


def cell(order: str) -> Model:
    """Cells of x and state, by how the next state is written: behind all reads of the old one, in the operator that
    reads it, or before another operator reads it."""
    tensors = tuple(tensor(name) for name in ("x", "state", "next", "y"))
    operators = {
        "behind": [((0, 1), 3), ((0, 3), 2)],
        "same": [((0, 1), 2), ((0, 2), 3)],
        "before": [((0, 1), 2), ((2, 1), 3)],
    }[order]
    adds = tuple(Operator("ADD", inputs, (output,), ADD, "AddOptions") for inputs, output in operators)
    return Model((Graph(tensors, adds, (0, 1), (3, 2)),))
