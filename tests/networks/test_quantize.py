"""Zoo models keep the TensorFlow Lite 8-bit quantisation specification, tensor by tensor."""

from __future__ import annotations

import numpy as np
import pytest

from atoll import networks
from atoll.model.graph import DType, Graph, Operator, Tensor
from atoll.model.tflite import model_bytes, parse_model
from atoll.networks.dense_prediction import ssd_mobilenet_v1, unet
from atoll.networks.inception import inception_v3
from atoll.networks.mobilenet import mobilenet_v2
from atoll.networks.resnet import resnet
from atoll.quantization.calibrate import calibrate
from atoll.quantization.float_network import Network
from atoll.quantization.quantizer import quantize

# Together these hold every kind of layer.
NETWORKS = {
    "mobilenet_v2": lambda: mobilenet_v2("net", 0.35, 96),
    "resnet": lambda: resnet("net", 50, 64),
    "inception_v3": lambda: inception_v3("net", 75),
    "ssd": lambda: ssd_mobilenet_v1("net", 96, width=0.25),
    "unet": lambda: unet("net", 4, 3, 32),
}
# https://ai.google.dev/edge/litert/models/quantization_spec: operators that may not rescale.
SAME_SCALE = {"CONCATENATION", "PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR"}
# tensorflow/lite/tools/versioning/op_version.cc, for int8 (checked against models of the TensorFlow converter).
VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "RESHAPE": 1,
    **dict.fromkeys(("ADD", "CONCATENATION", "PAD", "MEAN", "MAX_POOL_2D", "AVERAGE_POOL_2D"), 2),
    **dict.fromkeys(("SOFTMAX", "LOGISTIC"), 2),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]()


@pytest.fixture(scope="module")
def graph(network: Network) -> Graph:
    return quantize(calibrate(network, 0), "test").main


def scale_of(tensor: Tensor) -> tuple[float, int]:
    assert tensor.quantization is not None and not tensor.quantization.per_channel
    return float(tensor.quantization.scale[0]), int(tensor.quantization.zero_point[0])


def with_weights(graph: Graph) -> list[tuple[Operator, list[Tensor]]]:
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    return [(operator, list(graph.inputs_of(operator))) for operator in graph.operators if operator.kind in kinds]


def test_weights_are_symmetric_per_channel(graph: Graph) -> None:
    for operator, (_, weights, _) in with_weights(graph):
        quantization = weights.quantization
        assert weights.dtype is DType.INT8 and quantization is not None
        assert quantization.axis == (3 if operator.kind == "DEPTHWISE_CONV_2D" else 0)
        assert quantization.scale.shape == quantization.zero_point.shape == (weights.shape[quantization.axis],)
        assert (quantization.scale > 0).all() and not quantization.zero_point.any()
        assert weights.array.min() >= -127 and weights.array.std() > 20


def test_biases_have_the_scale_of_the_products(graph: Graph) -> None:
    for _, (x, weights, bias) in with_weights(graph):
        assert bias.dtype is DType.INT32 and bias.quantization is not None and weights.quantization is not None
        products = np.float32(scale_of(x)[0]) * weights.quantization.scale
        np.testing.assert_allclose(bias.quantization.scale, products, rtol=1e-6)
        assert not bias.quantization.zero_point.any()
        assert np.abs(bias.array.astype(np.int64)).max() < 2**30  # sums of products have room in 32 bits


def test_activations_are_int8_with_zero_in_range(graph: Graph) -> None:
    constants = {i for i, tensor in enumerate(graph.tensors) if tensor.is_constant}
    for index in set(range(len(graph.tensors))) - constants:
        tensor = graph.tensors[index]
        scale, zero_point = scale_of(tensor)
        assert tensor.dtype is DType.INT8 and scale > 0 and -128 <= zero_point <= 127
    assert scale_of(graph.tensors[graph.inputs[0]]) == (pytest.approx(2 / 255), -1)


def test_operators_that_cannot_rescale_do_not_have_to(graph: Graph) -> None:
    for operator in graph.operators:
        if operator.kind in SAME_SCALE:
            tensors = [*graph.inputs_of(operator), *graph.outputs_of(operator)]
            assert len({scale_of(tensor) for tensor in tensors if not tensor.is_constant}) == 1


def test_outputs_of_softmax_and_logistic_have_the_fixed_scale(graph: Graph) -> None:
    fixed = [operator for operator in graph.operators if operator.kind in ("SOFTMAX", "LOGISTIC")]
    assert fixed
    for operator in fixed:
        assert scale_of(graph.tensors[operator.outputs[0]]) == (1 / 256, -128)


def test_operators_have_the_converters_versions(graph: Graph) -> None:
    assert all(operator.version == VERSIONS[operator.kind] for operator in graph.operators)


def test_constants_add_up_to_the_declared_parameters(network: Network, graph: Graph) -> None:
    assert sum(t.elements for _, (_, *held) in with_weights(graph) for t in held) == network.parameters


def test_tensor_names_are_unique(graph: Graph) -> None:
    names = [tensor.name for tensor in graph.tensors]
    assert all(names) and len(set(names)) == len(names)


def test_the_file_holds_what_the_model_says() -> None:
    model = networks.build("mobilenet_v1_0.25_128", seed=7)
    read = parse_model(model_bytes(model))
    assert read.description == model.description == "atoll zoo mobilenet_v1_0.25_128 seed 7: random weights"
    assert [t.shape for t in read.main.tensors] == [t.shape for t in model.main.tensors]
    assert [(o.kind, o.version, o.inputs, o.outputs) for o in read.main.operators] == [
        (o.kind, o.version, o.inputs, o.outputs) for o in model.main.operators
    ]
    for ours, theirs in zip(model.main.operators, read.main.operators):
        for name, value in ours.options.items():
            np.testing.assert_array_equal(theirs.options[name], value)
    [signature] = read.signatures
    assert signature.key == "serving_default"
    assert signature.inputs == {"input": read.main.inputs[0]}
    assert signature.outputs == {"probabilities": read.main.outputs[0]}
