"""A calibrated network → a full-integer int8 model, by the TensorFlow Lite 8-bit quantisation specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.model.graph import Buffer, DType, Graph, Model, Operator, Quantization, Signature, Tensor
from atoll.quantization.calibrate import Calibrated, Weights
from atoll.quantization.float_network import FloatLayer, Network
from atoll.quantization.kernels import KINDS


def quantize(calibrated: Calibrated, description: str) -> Model:
    """Weights per channel and symmetric, biases int32 of scale input · weights, activations int8 with a zero point."""
    network = calibrated.network
    graph = _Emitter(activation_parameters(network, calibrated.ranges), calibrated.weights)
    inputs = (graph.activation(network.input),)
    for layer in network.layers:
        graph.operator(layer)
    outputs = {name: graph.index[layer] for name, layer in network.outputs.items()}
    signature = Signature("serving_default", {network.input.name: inputs[0]}, outputs)
    main = Graph(tuple(graph.tensors), tuple(graph.operators), inputs, tuple(outputs.values()), "main")
    return Model((main,), description=description, signatures=(signature,))


def activation_parameters(
    network: Network, ranges: Mapping[str, tuple[float, float]]
) -> dict[FloatLayer, tuple[np.float32, int]]:
    """Scale and zero point of every tensor; operators that must not rescale put their tensors into one group."""
    group: dict[FloatLayer, FloatLayer] = {}

    def root(layer: FloatLayer) -> FloatLayer:
        while (parent := group.get(layer, layer)) is not layer:
            layer = parent
        return layer

    for layer in network.layers:
        if KINDS[layer.kind].same_scale:
            for source in layer.inputs:
                assert source is network.input or not KINDS[source.kind].fixed, f"{layer.name}: needs a QUANTIZE"
                group[root(layer)] = root(source)

    tensors = [network.input, *network.layers]
    limits: dict[FloatLayer, tuple[float, float]] = {}
    for layer in tensors:
        low, high = limits.get(root(layer), (0.0, 0.0))  # zero is always in the range: padding needs it
        least, greatest = ranges[layer.name]
        limits[root(layer)] = min(low, least), max(high, greatest)
    parameters = {layer: _affine(*limits[root(layer)]) for layer in tensors}
    for layer in network.layers:
        if (fixed := KINDS[layer.kind].fixed) is not None:
            parameters[layer] = np.float32(fixed[0]), fixed[1]
    return parameters


def _affine(low: float, high: float) -> tuple[np.float32, int]:
    """Scale and zero point that map [low, high] to [-128, 127]."""
    scale = (high - low) / 255
    return np.float32(scale), max(-128, min(127, round(-128 - low / scale)))


class _Emitter:
    """Tensors and operators written so far, and where each layer's output is."""

    def __init__(self, parameters: Mapping[FloatLayer, tuple[np.float32, int]], weights: Mapping[str, Weights]) -> None:
        self.parameters = parameters
        self.weights = weights
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.index: dict[FloatLayer, int] = {}

    def activation(self, layer: FloatLayer) -> int:
        """Write the output tensor of a layer."""
        scale, zero_point = self.parameters[layer]
        quantization = Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))
        self.index[layer] = self._tensor(Tensor(layer.output_name, layer.shape, DType.INT8, quantization))
        return self.index[layer]

    def operator(self, layer: FloatLayer) -> None:
        """Write the constants, the output and the operator of a layer."""
        inputs = [self.index[source] for source in layer.inputs]
        if layer.constant is not None:
            inputs.append(self._constant(f"{layer.name}/operand", layer.constant, DType.INT32))
        if layer.factor:
            inputs.append(self._factor(layer))
        if layer.filter:
            inputs += self._weights_and_bias(layer)
        kind = KINDS[layer.kind]
        outputs = (self.activation(layer),)
        self.operators.append(
            Operator(layer.kind, tuple(inputs), outputs, layer.options, kind.options_type, kind.version)
        )

    def _factor(self, layer: FloatLayer) -> int:
        """The constant that a MUL multiplies with, at the end of the int8 range."""
        scale = Quantization(np.array([layer.factor / 127], np.float32), np.zeros(1, np.int64))
        return self._constant(f"{layer.name}/factor", np.array([127], np.int8), DType.INT8, scale)

    def _weights_and_bias(self, layer: FloatLayer) -> list[int]:
        weights = self.weights[layer.name]
        zeros = np.zeros(layer.channels, np.int64)
        axis = 3 if layer.kind == "DEPTHWISE_CONV_2D" else 0
        scale = weights.scale * self.parameters[layer.inputs[0]][0]
        bias = np.rint(weights.bias.astype(np.float64) / scale).astype(np.int32)
        return [
            self._constant(
                f"{layer.name}/weights", weights.values, DType.INT8, Quantization(weights.scale, zeros, axis)
            ),
            self._constant(f"{layer.name}/bias", bias, DType.INT32, Quantization(scale, zeros)),
        ]

    def _constant(
        self, name: str, values: npt.NDArray[Any], dtype: DType, quantization: Quantization | None = None
    ) -> int:
        buffer = Buffer(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
        return self._tensor(Tensor(name, values.shape, dtype, quantization, buffer))

    def _tensor(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1
