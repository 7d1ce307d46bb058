"""Variant number → EfficientNet-Lite: no squeeze-and-excite, ReLU6, stem and head of fixed width."""

from __future__ import annotations

import math

from atoll.networks.mobilenet import RELU6, inverted_residual, round_channels
from atoll.quantization.float_network import Network

# Width, depth and resolution of Lite0 ... Lite4: tensorflow/tpu, models/official/efficientnet/lite/README.md.
SCALES = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))

# Kernel, output channels, repeats, stride, expansion (efficientnet_lite_builder.py, same repository).
_STAGES = (
    *((3, 16, 1, 1, 1), (3, 24, 2, 2, 6), (5, 40, 2, 2, 6), (3, 80, 3, 2, 6)),
    *((5, 112, 3, 1, 6), (5, 192, 4, 2, 6), (3, 320, 1, 1, 6)),
)


def efficientnet_lite(name: str, variant: int, resolution: int, classes: int = 1000) -> Network:
    """EfficientNet-Lite ``variant`` (0 ... 4); the first and the last stage are never repeated."""
    width, depth, _ = SCALES[variant]
    net = Network(name, (resolution, resolution, 3))
    x = net.conv(net.input, "stem", 32, 3, stride=2, activation=RELU6)
    index = 0
    for stage, (kernel, channels, repeats, first_stride, expansion) in enumerate(_STAGES):
        inner = 0 < stage < len(_STAGES) - 1
        for repeat in range(math.ceil(repeats * depth) if inner else repeats):
            stride = first_stride if repeat == 0 else 1
            block = f"block_{index}"
            x = inverted_residual(net, x, block, round_channels(channels * width), expansion, kernel, stride)
            index += 1
    x = net.conv(x, "head", 1280, activation=RELU6)
    x = net.dense(net.mean(x, "global_average_pool"), "logits", classes, gain=3)
    net.outputs["probabilities"] = net.softmax(x, "probabilities")
    return net
