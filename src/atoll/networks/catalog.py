"""Name and seed → one of the standard networks as a model; and the list of names."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from atoll.errors import UsageError
from atoll.model.graph import Model
from atoll.networks import dense_prediction, efficientnet, embedding, inception, mobilenet, resnet
from atoll.quantization.calibrate import calibrate
from atoll.quantization.float_network import Network
from atoll.quantization.quantizer import quantize


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One network on offer: its input (batch, height, width, channels), weights and biases, and MACs per inference."""

    name: str
    description: str
    input_shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to declare a network: ``declare(resolution)``."""

    description: str
    resolution: int
    declare: Callable[[int], Network]


def _recipes() -> dict[str, Recipe]:
    recipes: dict[str, Recipe] = {}

    def offer(name: str, description: str, resolution: int, declare: Callable[[int], Network]) -> None:
        recipes[name] = Recipe(description, resolution, declare)

    for family, version, widths, resolutions, combinations in (
        (mobilenet.mobilenet_v1, 1, mobilenet.V1_WIDTHS, mobilenet.V1_RESOLUTIONS, mobilenet.V1_WIDTHS),
        (mobilenet.mobilenet_v2, 2, mobilenet.V2_WIDTHS, mobilenet.V2_RESOLUTIONS, (0.35, 0.5, 0.75, 1.0)),
    ):
        for width in widths:
            for size in resolutions if width in combinations else (224,):
                name = f"mobilenet_v{version}_{width}_{size}"
                title = f"MobileNetV{version}, width {width}"
                offer(name, title, size, functools.partial(family, name, width))
    for depth in resnet.DEPTHS:
        offer(f"resnet{depth}", f"ResNet-{depth} v1.5", 224, functools.partial(resnet.resnet, f"resnet{depth}", depth))
    offer("inception_v3", "InceptionV3", 299, functools.partial(inception.inception_v3, "inception_v3"))
    for variant, (_, _, size) in enumerate(efficientnet.SCALES):
        name = f"efficientnet_lite{variant}"
        declare = functools.partial(efficientnet.efficientnet_lite, name, variant)
        offer(name, f"EfficientNet-Lite{variant}", size, declare)
    ssd = functools.partial(dense_prediction.ssd_mobilenet_v1, "ssd_mobilenet_v1")
    offer("ssd_mobilenet_v1", "SSD on MobileNetV1: boxes and class scores of 1917 anchors", 300, ssd)
    unet = functools.partial(dense_prediction.unet, "unet_small", 16, 3)
    offer("unet_small", "U-Net of width 16: a mask of the image's size", 128, unet)
    for name in _CLASSIFIERS:
        whole = recipes[name]
        for suffix, title, cut in (
            ("embedding", "without its classes: ends with the embedding", embedding.extractor),
            ("l2", "with an L2 norm before its last layer, for imprinting", embedding.imprintable),
        ):
            declare = functools.partial(_derived, whole, cut, f"{name}_{suffix}")
            offer(f"{name}_{suffix}", f"{whole.description}, {title}", whole.resolution, declare)
    return recipes


_CLASSIFIERS = (
    *("mobilenet_v1_0.25_128", "mobilenet_v1_1.0_224", "mobilenet_v2_0.35_96", "mobilenet_v2_1.0_224"),
    *("resnet50", "efficientnet_lite0"),
)
"""Those of which there are embedding extractors."""


def _derived(whole: Recipe, cut: Callable[[Network, str], Network], name: str, resolution: int) -> Network:
    return cut(whole.declare(resolution), name)


RECIPES: Mapping[str, Recipe] = MappingProxyType(_recipes())


@functools.cache
def entry(name: str) -> ZooEntry:
    """The network ``name`` as it is listed. Raises :class:`UsageError` for an unknown name."""
    recipe = _recipe(name)
    network = recipe.declare(recipe.resolution)
    return ZooEntry(name, recipe.description, network.input.shape, network.parameters, network.macs)


def entries() -> tuple[ZooEntry, ...]:
    """Every network on offer, by family and then by size."""
    return tuple(map(entry, RECIPES))


def build(name: str, seed: int = 0) -> Model:
    """The network ``name`` as an int8 model with random weights; equal seeds give equal models.

    Input: int8 (1, height, width, channels), real value ``(q + 1) / 127.5`` (``quantization.images`` makes some).
    Raises :class:`UsageError` for an unknown name or a negative seed.
    """
    recipe = _recipe(name)
    if seed < 0:
        raise UsageError(f"seed {seed} is negative", "Use 0 or more.")
    network = recipe.declare(recipe.resolution)
    return quantize(calibrate(network, seed), f"atoll zoo {name} seed {seed}: random weights")


def _recipe(name: str) -> Recipe:
    recipe = RECIPES.get(name)
    if recipe is None:
        raise UsageError(f"the zoo has no network '{name}'", _suggestion(name))
    return recipe


def _suggestion(name: str) -> str:
    family = [known for known in RECIPES if known.startswith(f"{name}_")]  # named without width and resolution
    nearest = min(family, key=lambda known: (len(known), [-ord(c) for c in known]), default="")
    nearest = nearest or difflib.get_close_matches(name, RECIPES, n=1, cutoff=0)[0]
    return f"Did you mean '{nearest}'? atoll zoo list shows them all."
