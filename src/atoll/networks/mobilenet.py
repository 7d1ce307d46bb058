"""Width and resolution → MobileNetV1 or MobileNetV2, as Keras applications declares them."""

from __future__ import annotations

from atoll.quantization.float_network import Activation, Drawn, FloatLayer, Network

RELU6 = Activation.RELU6

V1_WIDTHS = (0.25, 0.5, 0.75, 1.0)
V1_RESOLUTIONS = (128, 160, 192, 224)
V2_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
V2_RESOLUTIONS = (96, 128, 160, 192, 224)

# Howard et al. 2017 (arXiv:1704.04861), table 1: output channels and stride of each separable block.
_V1_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)),
    *((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    *((1024, 2), (1024, 1)),
)
# Sandler et al. 2018 (arXiv:1801.04381), table 2: expansion, output channels, repeats, stride.
_V2_STAGES = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor`` that is at least 90 % of ``channels`` (``_make_divisible``)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def v1_backbone(net: Network, width: float) -> list[FloatLayer]:
    """The convolutions of MobileNetV1: outputs of the stem and of the 13 separable blocks."""
    x = net.conv(net.input, "conv1", int(32 * width), 3, stride=2, activation=RELU6)
    features = [x]
    for index, (channels, stride) in enumerate(_V1_BLOCKS, 1):
        x = net.depthwise(x, f"block_{index}/depthwise", stride=stride, activation=RELU6)
        x = net.conv(x, f"block_{index}/pointwise", int(channels * width), activation=RELU6)
        features.append(x)
    return features


def mobilenet_v1(name: str, width: float, resolution: int, classes: int = 1000) -> Network:
    """MobileNetV1 with Keras' head: mean, 1x1 convolution, reshape, softmax."""
    net = Network(name, (resolution, resolution, 3))
    x = net.mean(v1_backbone(net, width)[-1], "global_average_pool", keep_dims=True)
    x = net.conv_drawn(Drawn(batch_norm=False, gain=3), x, "logits", classes)
    x = net.reshape(x, "squeeze", (1, classes))
    net.outputs["probabilities"] = net.softmax(x, "probabilities")
    return net


def inverted_residual(
    net: Network, x: FloatLayer, name: str, channels: int, expansion: int, kernel: int = 3, stride: int = 1
) -> FloatLayer:
    """Expand by 1x1, filter per channel, project by 1x1 without activation; add the input if it has that shape."""
    y = x
    if expansion > 1:
        y = net.conv(y, f"{name}/expand", x.channels * expansion, activation=RELU6)
    y = net.depthwise(y, f"{name}/depthwise", kernel, stride, activation=RELU6)
    y = net.conv(y, f"{name}/project", channels)
    return net.add(x, y, f"{name}/add") if x.shape == y.shape else y


def mobilenet_v2(name: str, width: float, resolution: int, classes: int = 1000) -> Network:
    """MobileNetV2; the last convolution is widened above width 1 and never narrowed (section 6 of the paper)."""
    net = Network(name, (resolution, resolution, 3))
    x = net.conv(net.input, "conv1", round_channels(32 * width), 3, stride=2, activation=RELU6)
    index = 0
    for expansion, channels, repeats, first_stride in _V2_STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            block = f"block_{index}"
            x = inverted_residual(net, x, block, round_channels(channels * width), expansion, 3, stride)
            index += 1
    x = net.conv(x, "conv_last", round_channels(1280 * max(width, 1.0)), activation=RELU6)
    x = net.dense(net.mean(x, "global_average_pool"), "logits", classes, gain=3)
    net.outputs["probabilities"] = net.softmax(x, "probabilities")
    return net
