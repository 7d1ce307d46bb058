"""Number of blocks per stage → ResNet with bottlenecks, version 1.5 (the stride is in the 3x3 convolution)."""

from __future__ import annotations

from atoll.quantization.float_network import Activation, Drawn, FloatLayer, Network, Padding

RELU = Activation.RELU

# He et al. 2015 (arXiv:1512.03385), table 1.
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

# A residual branch adds less than the shortcut carries, as in trained networks; else the input fades with depth.
_BRANCH_GAIN = 0.5


def _strided(net: Network, x: FloatLayer, name: str, channels: int, kernel: int, stride: int) -> FloatLayer:
    """A convolution with padding that does not depend on the input size: TF's ``conv2d_fixed_padding``."""
    if stride == 1:
        return net.conv(x, name, channels, kernel, activation=RELU)
    x = net.pad(x, f"{name}/pad", (kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2)
    return net.conv(x, name, channels, kernel, stride, RELU, Padding.VALID)


def _bottleneck(net: Network, x: FloatLayer, name: str, channels: int, stride: int) -> FloatLayer:
    y = net.conv(x, f"{name}/conv1", channels, activation=RELU)
    y = _strided(net, y, f"{name}/conv2", channels, 3, stride)
    y = net.conv_drawn(Drawn(gain=_BRANCH_GAIN), y, f"{name}/conv3", 4 * channels)
    if x.shape != y.shape:
        x = net.conv(x, f"{name}/shortcut", 4 * channels, 1, stride)
    return net.add(x, y, f"{name}/add_relu", RELU)


def resnet(name: str, depth: int, resolution: int, classes: int = 1000) -> Network:
    """ResNet-``depth``, for 50, 101 and 152."""
    net = Network(name, (resolution, resolution, 3))
    x = _strided(net, net.input, "conv1", 64, 7, 2)
    x = net.max_pool(x, "pool1", 3, 2, Padding.SAME)
    for stage, blocks in enumerate(DEPTHS[depth]):
        for block in range(blocks):
            stride = 2 if stage and block == 0 else 1
            x = _bottleneck(net, x, f"stage_{stage + 2}/block_{block + 1}", 64 << stage, stride)
    x = net.dense(net.mean(x, "global_average_pool"), "logits", classes, gain=3)
    net.outputs["probabilities"] = net.softmax(x, "probabilities")
    return net
