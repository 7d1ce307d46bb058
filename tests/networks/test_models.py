"""Zoo models run on LiteRT, follow the float network, and answer differently to different images."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from atoll import networks
from atoll.model.graph import Model
from atoll.model.tflite import model_bytes
from atoll.networks.catalog import RECIPES
from atoll.networks.dense_prediction import ssd_mobilenet_v1, unet
from atoll.networks.efficientnet import efficientnet_lite
from atoll.networks.inception import inception_v3
from atoll.networks.mobilenet import mobilenet_v1, mobilenet_v2
from atoll.networks.resnet import resnet
from atoll.quantization.calibrate import Calibrated, calibrate
from atoll.quantization.float_network import FloatLayer, Network
from atoll.quantization.quantizer import quantize

RESOLVERS = (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.AUTO)

SMALL: dict[str, Callable[[], Network]] = {
    "mobilenet_v1": lambda: mobilenet_v1("net", 0.25, 128),
    "mobilenet_v2": lambda: mobilenet_v2("net", 0.35, 96),
    "resnet": lambda: resnet("net", 50, 96),
    "inception_v3": lambda: inception_v3("net", 139),
    "efficientnet_lite": lambda: efficientnet_lite("net", 0, 128),
    "ssd": lambda: ssd_mobilenet_v1("net", 128, width=0.25),
    "unet": lambda: unet("net", 8, 3, 64),
}
LARGE = ("resnet50", "resnet152", "inception_v3", "mobilenet_v2_1.0_224", "ssd_mobilenet_v1")


def predictions(network: Network) -> list[FloatLayer]:
    """The last layers before softmax and logistic, which squeeze most of the variation out."""
    return [layer.inputs[0] if layer.kind in ("SOFTMAX", "LOGISTIC") else layer for layer in network.outputs.values()]


def answers(
    model: Model, names: set[str], inputs: npt.NDArray[np.int8], resolver: OpResolverType = OpResolverType.AUTO
) -> dict[str, tuple[npt.NDArray[np.int8], float, int]]:
    """Per tensor name: the values for every input, scale and zero point."""
    interpreter = Interpreter(
        model_content=bytes(model_bytes(model)),
        experimental_op_resolver_type=resolver,
        experimental_preserve_all_tensors=True,
        num_threads=2,
    )
    interpreter.allocate_tensors()
    details = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
    found: dict[str, list[npt.NDArray[np.int8]]] = {name: [] for name in names}
    for image in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        for name in names:
            found[name].append(interpreter.get_tensor(details[name]["index"])[0])
    return {name: (np.stack(values), *details[name]["quantization"]) for name, values in found.items()}


def correlation(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@functools.cache
def calibrated_small(family: str) -> Calibrated:
    return calibrate(SMALL[family](), seed=3)


@pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`")
@pytest.mark.parametrize("resolver", RESOLVERS, ids=lambda resolver: resolver.name.lower())
@pytest.mark.parametrize("family", SMALL)
def test_int8_follows_float_and_varies(family: str, resolver: OpResolverType) -> None:
    """Over unseen images; a step is the quantisation step of the predictions."""
    calibrated = calibrated_small(family)
    network = calibrated.network
    inputs = networks.images(network.input.shape[1:], 4, seed=1003)
    layers = predictions(network)
    model = quantize(calibrated, "test")
    expected = calibrated.run(inputs)
    finals = [network.outputs[name].output_name for name in network.outputs]
    found = answers(model, {*finals, *(layer.output_name for layer in layers)}, inputs, resolver)
    for layer in layers:
        stored, scale, zero_point = found[layer.output_name]
        real = (stored.astype(np.float32) - zero_point) * np.float32(scale)
        assert correlation(real, expected[layer.name]) > 0.9
        assert stored.astype(np.float32).std(axis=0).mean() > 5
    for name in finals:
        assert len({values.tobytes() for values in found[name][0]}) == len(inputs)


@pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`")
@pytest.mark.parametrize("name", LARGE)
def test_large_networks_vary(name: str) -> None:
    recipe = RECIPES[name]
    layers = predictions(recipe.declare(recipe.resolution))
    inputs = networks.images((recipe.resolution, recipe.resolution, 3), 3, seed=1000)
    found = answers(networks.build(name), {layer.output_name for layer in layers}, inputs)
    for stored, _, _ in found.values():
        assert stored.astype(np.float32).std(axis=0).mean() > 5
        assert (np.abs(stored.astype(int)) >= 127).mean() < 0.05  # few saturate


@pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`")
@pytest.mark.parametrize("family", ["mobilenet_v2", "resnet"])
def test_answers_to_white_noise_vary(family: str) -> None:
    """Uniform noise is what tests feed first; its images differ in nothing but the noise."""
    calibrated = calibrated_small(family)
    network = calibrated.network
    inputs = np.random.default_rng(0).integers(-128, 128, (4, *network.input.shape[1:])).astype(np.int8)
    model = quantize(calibrated, "test")
    logits = predictions(network)[0].output_name
    stored, _, _ = answers(model, {logits}, inputs)[logits]
    assert stored.astype(np.float32).std(axis=0).mean() > 3
    assert len({values.tobytes() for values in stored}) == len(inputs)


def test_signature_runs() -> None:
    model = networks.build("mobilenet_v2_0.35_96")
    interpreter = Interpreter(model_content=bytes(model_bytes(model)))
    run = interpreter.get_signature_runner("serving_default")
    answer = run(input=networks.images((96, 96, 3), 1))["probabilities"]
    assert answer.shape == (1, 1000) and answer.dtype == np.int8
    total = (answer.astype(np.float32) + 128).sum() / 256
    assert total == pytest.approx(1, abs=0.2)  # a thousand values rounded to 1/256
