"""Every architecture has the parameters and multiply-accumulates that its authors or a framework publish."""

from __future__ import annotations

import pytest

from atoll import networks
from atoll.networks.catalog import RECIPES
from atoll.networks.dense_prediction import unet
from atoll.quantization.float_network import Network

ENTRIES = {entry.name: entry for entry in networks.entries()}


def declare(name: str) -> Network:
    return RECIPES[name].declare(RECIPES[name].resolution)


def trainable_parameters(name: str) -> int:
    """As frameworks count: a batch norm has a scale besides the shift that folding turned into a bias."""
    net = declare(name)
    return net.parameters + sum(layer.channels for layer in net.layers if layer.batch_norm)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # Weights, biases, and scale and shift of every batch norm.
        ("mobilenet_v1_1.0_224", 4_231_976),  # Keras applications, MobileNet.summary(): trainable
        ("mobilenet_v2_1.0_224", 3_504_872),  # torchvision MobileNet_V2_Weights.IMAGENET1K_V1: num_params
        ("resnet50", 25_557_032),  # torchvision ResNet50_Weights: num_params
        ("resnet101", 44_549_160),  # torchvision ResNet101_Weights
        ("resnet152", 60_192_808),  # torchvision ResNet152_Weights
        ("efficientnet_lite0", 4_652_008),  # timm tf_efficientnet_lite0
    ],
)
def test_trainable_parameters_equal_the_frameworks_count(name: str, count: int) -> None:
    assert trainable_parameters(name) == count


def test_inception_has_keras_trainable_parameters() -> None:
    """Keras' batch norms in InceptionV3 have a shift only (``scale=False``), which folding keeps as the bias."""
    assert ENTRIES["inception_v3"].parameters == 23_817_352


def test_unet_of_width_64_has_the_original_parameters() -> None:
    """model.summary() of github.com/zhixuhao/unet, for one input channel."""
    assert unet("unet", 64, 1, 256).parameters == 31_031_685


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Millions, as printed: Howard et al. 2017 (arXiv:1704.04861), table 6.
        *(("mobilenet_v1_0.75_224", 2.6), ("mobilenet_v1_0.5_224", 1.3), ("mobilenet_v1_0.25_224", 0.5)),
        # tensorflow/models, research/slim/nets/mobilenet/README.md.
        *(("mobilenet_v2_1.4_224", 6.06), ("mobilenet_v2_1.3_224", 5.34), ("mobilenet_v2_0.75_224", 2.61)),
        *(("mobilenet_v2_0.5_224", 1.95), ("mobilenet_v2_0.35_224", 1.66)),
        # tensorflow/tpu, models/official/efficientnet/lite/README.md.
        *(("efficientnet_lite1", 5.4), ("efficientnet_lite2", 6.1), ("efficientnet_lite3", 8.2)),
        ("efficientnet_lite4", 13.0),
        ("ssd_mobilenet_v1", 6.8),  # Howard et al. 2017, table 13
    ],
)
def test_parameters_round_to_the_printed_figure(name: str, parameters: float) -> None:
    """Tables round to one or two digits, some count 1001 classes: half a unit of one digit, or 1 %."""
    assert trainable_parameters(name) / 1e6 == pytest.approx(parameters, rel=0.01, abs=0.05)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # Howard et al. 2017, tables 6 and 7.
        *(("mobilenet_v1_1.0_224", 569), ("mobilenet_v1_0.75_224", 325), ("mobilenet_v1_0.5_224", 149)),
        *(("mobilenet_v1_0.25_224", 41), ("mobilenet_v1_1.0_192", 418), ("mobilenet_v1_1.0_160", 290)),
        ("mobilenet_v1_1.0_128", 186),
        # tensorflow/models, research/slim/nets/mobilenet/README.md.
        *(("mobilenet_v2_1.4_224", 582), ("mobilenet_v2_1.3_224", 509), ("mobilenet_v2_1.0_224", 300)),
        *(("mobilenet_v2_1.0_192", 221), ("mobilenet_v2_1.0_160", 154), ("mobilenet_v2_1.0_128", 99)),
        *(("mobilenet_v2_1.0_96", 56), ("mobilenet_v2_0.75_224", 209), ("mobilenet_v2_0.5_224", 97)),
        *(("mobilenet_v2_0.35_224", 59), ("mobilenet_v2_0.35_96", 11)),
        # torchvision *_Weights: GFLOPS (which are multiply-accumulates); InceptionV3 5.713.
        *(("resnet50", 4089), ("resnet101", 7801), ("resnet152", 11514), ("inception_v3", 5713)),
    ],
)
def test_macs_equal_the_printed_figure(name: str, millions: int) -> None:
    """Within a unit of the last digit printed: some tables round, some cut."""
    assert abs(ENTRIES[name].macs / 1e6 - millions) < 1


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # tensorflow/tpu, lite/README.md, counts batch norm and activations too: 2 to 6 % on top of the products.
        *(("efficientnet_lite0", 407), ("efficientnet_lite1", 631), ("efficientnet_lite2", 899)),
        *(("efficientnet_lite3", 1440), ("efficientnet_lite4", 2640)),
        ("ssd_mobilenet_v1", 1300),  # MobileNetV2 paper, table 6: "1.3B" for MobileNetV1 + SSDLite (1.2B without Lite)
    ],
)
def test_macs_are_just_below_figures_that_count_more(name: str, millions: int) -> None:
    assert 0.94 < ENTRIES[name].macs / 1e6 / millions <= 1


def test_detector_has_the_published_anchors() -> None:
    outputs = declare("ssd_mobilenet_v1").outputs
    assert {name: layer.shape for name, layer in outputs.items()} == {
        "box_encodings": (1, 1917, 4),
        "class_scores": (1, 1917, 91),
    }


def test_inception_feature_maps_have_the_published_sizes() -> None:
    """Szegedy et al. 2015, table 1 (the 768 and 2048 channel grids)."""
    shapes = {layer.name: layer.shape[1:] for layer in declare("inception_v3").layers}
    sizes = [shapes[f"mixed_{index}/concat"] for index in (0, 2, 3, 7, 8, 10)]
    expected = [(35, 35, 256), (35, 35, 288), (17, 17, 768), (17, 17, 768), (8, 8, 1280), (8, 8, 2048)]
    assert sizes == expected
