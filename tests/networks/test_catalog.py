"""The list of networks, what names and seeds mean, and the random images."""

from __future__ import annotations

import numpy as np
import pytest

from atoll import networks
from atoll.errors import UsageError
from atoll.model.tflite import model_bytes

REQUIRED = {
    *("mobilenet_v1_1.0_224", "mobilenet_v1_0.25_128", "mobilenet_v2_1.0_224", "mobilenet_v2_0.35_96"),
    *("resnet50", "resnet101", "resnet152", "inception_v3", "efficientnet_lite0", "ssd_mobilenet_v1", "unet_small"),
}


def test_standard_networks_are_on_offer_once() -> None:
    names = [entry.name for entry in networks.entries()]
    assert set(names) >= REQUIRED and len(set(names)) == len(names)
    assert all(entry.description and entry.parameters and entry.macs for entry in networks.entries())


def test_the_description_says_what_a_derived_network_lacks_or_has() -> None:
    described = {entry.name: entry.description for entry in networks.entries()}
    assert all("without its classes" in text for name, text in described.items() if name.endswith("_embedding"))
    assert all("an L2 norm before its last layer" in text for name, text in described.items() if name.endswith("_l2"))


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128", "unet_small"])
def test_an_entry_describes_the_model_it_builds(name: str) -> None:
    [entry] = [entry for entry in networks.entries() if entry.name == name]
    graph = networks.build(name).main
    assert graph.tensors[graph.inputs[0]].shape == entry.input_shape
    held = [tensor for tensor in graph.tensors if tensor.is_constant and tensor.quantization is not None]
    assert sum(tensor.elements for tensor in held) == entry.parameters


def test_equal_seeds_build_equal_files_and_others_do_not() -> None:
    first, again, other = (model_bytes(networks.build("mobilenet_v1_0.25_128", seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet5", "resnet50"),
        ("mobilenet_v2_1.0_225", "mobilenet_v2_1.0_224"),
        ("Inception_V3", "inception_v3"),
        ("efficientnet_lite_0", "efficientnet_lite0"),
    ],
)
def test_an_unknown_name_is_met_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UsageError) as failure:
        networks.build(name)
    assert name in failure.value.message and f"'{nearest}'" in failure.value.hint


def test_any_unknown_name_gets_an_answer() -> None:
    with pytest.raises(UsageError):
        networks.build("")


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(UsageError, match="negative"):
        networks.build("unet_small", -1)


def test_images_are_random_and_reproducible() -> None:
    images = networks.images((32, 48, 3), 6, seed=4)
    assert images.shape == (6, 32, 48, 3) and images.dtype == np.int8
    np.testing.assert_array_equal(images, networks.images((32, 48, 3), 6, seed=4))
    assert not np.array_equal(images, networks.images((32, 48, 3), 6, seed=5))
    colours = images.mean(axis=(1, 2))
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert distances[~np.eye(6, dtype=bool)].min() > 5  # no two have the same colour


@pytest.mark.parametrize("shape", [(32, 32), (1, 32, 32, 3), (0, 32, 3)])
def test_images_need_an_image_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="shape"):
        networks.images(shape, 1)
