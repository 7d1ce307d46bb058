"""Small int8 models made of our own graphs, for tests that need no real network."""

from __future__ import annotations

import numpy as np

from atoll.model import Buffer, DType, Graph, Model, Operator, Quantization, Tensor


def quantized(scale: float = 0.05, zero_point: int = 0) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))


CONV_OPTIONS = {
    "padding": 1,
    "stride_w": 1,
    "stride_h": 1,
    "fused_activation_function": 0,
    "dilation_w_factor": 1,
    "dilation_h_factor": 1,
    "quantized_bias_type": 0,
}


class GraphBuilder:
    """Adds tensors and operators one by one; every activation is int8 of shape [1, size, size, channels]."""

    def __init__(self, size: int = 8, channels: int = 4, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.size = size
        self.channels = channels
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []

    def tensor(self, name: str, **fields: object) -> int:
        shape = (1, self.size, self.size, self.channels)
        values = {"shape": shape, "dtype": DType.INT8, "quantization": quantized()} | fields
        self.tensors.append(Tensor(name, **values))  # type: ignore[arg-type]
        return len(self.tensors) - 1

    def constant(self, name: str, array: np.ndarray, quantization: Quantization | None = None) -> int:
        dtype = next(d for d in DType if d.numpy_name == array.dtype.name)
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return self.tensor(name, shape=array.shape, dtype=dtype, quantization=quantization, buffer=Buffer(data))

    def operator(self, kind: str, inputs: tuple[int, ...], name: str, options_type: str = "", **options: object) -> int:
        output = self.tensor(name)
        self.operators.append(Operator(kind, inputs, (output,), options, options_type))
        return output

    def conv(self, source: int, name: str) -> int:
        """A 1×1 convolution with weights that spread values over the int8 range."""
        c = self.channels
        weights = self.rng.integers(-127, 128, (c, 1, 1, c)).astype(np.int8)
        scales = self.rng.uniform(0.006, 0.012, c).astype(np.float32)
        w = self.constant(f"{name}/weights", weights, Quantization(scales, np.zeros(c, np.int64)))
        bias = self.rng.integers(-500, 500, c).astype(np.int32)
        bias_scales = Quantization(scales * np.float32(0.05), np.zeros(c, np.int64))
        b = self.constant(f"{name}/bias", bias, bias_scales)
        output = self.operator("CONV_2D", (source, w, b), name, "Conv2DOptions", **CONV_OPTIONS)
        self.operators[-1] = Operator(**{**_fields(self.operators[-1]), "version": 3})
        return output

    def add(self, a: int, b: int, name: str) -> int:
        return self.operator("ADD", (a, b), name, "AddOptions")

    def graph(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Graph:
        return Graph(tuple(self.tensors), tuple(self.operators), inputs, outputs)


def _fields(operator: Operator) -> dict[str, object]:
    return {name: getattr(operator, name) for name in operator.__dataclass_fields__}


def chain(length: int = 6, seed: int = 0) -> Model:
    """Convolutions one after the other."""
    build = GraphBuilder(seed=seed)
    first = last = build.tensor("input")
    for i in range(length):
        last = build.conv(last, f"conv_{i}")
    return Model((build.graph((first,), (last,)),), description="chain")


def branched(seed: int = 0) -> Model:
    """Two inputs, a tensor that skips operators, two outputs of which one is also read inside."""
    build = GraphBuilder(seed=seed)
    left, right = build.tensor("left"), build.tensor("right")
    a = build.conv(left, "a")
    b = build.conv(a, "b")
    c = build.conv(b, "c")
    d = build.add(c, a, "d")
    e = build.add(d, right, "e")
    f = build.conv(e, "f")
    return Model((build.graph((left, right), (d, f)),), description="branched")
