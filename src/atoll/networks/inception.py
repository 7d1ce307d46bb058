"""Resolution → InceptionV3, as Keras applications declares it."""

from __future__ import annotations

from atoll.quantization.float_network import Activation, FloatLayer, Network, Padding

VALID = Padding.VALID
SAME = Padding.SAME


class _Block:
    """Convolutions of one mixed block, named after it."""

    def __init__(self, net: Network, name: str, x: FloatLayer) -> None:
        self.net, self.name, self.x = net, name, x

    def branch(
        self,
        name: str,
        *convs: tuple[int, int | tuple[int, int]],
        x: FloatLayer | None = None,
        stride: int = 1,
    ) -> FloatLayer:
        """A chain of (channels, kernel); with a stride, the last one has it and no padding."""
        x = x or self.x
        for index, (channels, kernel) in enumerate(convs, 1):
            down = stride > 1 and index == len(convs)
            padding, step = (VALID, stride) if down else (SAME, 1)
            layer = f"{self.name}/{name}/conv{index}" if len(convs) > 1 else f"{self.name}/{name}"
            x = self.net.conv(x, layer, channels, kernel, step, Activation.RELU, padding)
        return x

    def pooled(self, channels: int) -> FloatLayer:
        """The branch that averages 3x3 neighbours before a 1x1 convolution."""
        pool = self.net.average_pool(self.x, f"{self.name}/pool/average", 3, 1, SAME)
        return self.branch("pool/conv", (channels, 1), x=pool)

    def join(self, *branches: FloatLayer) -> FloatLayer:
        return self.net.concat(branches, f"{self.name}/concat")


def _mixed_35(net: Network, x: FloatLayer, name: str, pool_channels: int) -> FloatLayer:
    b = _Block(net, name, x)
    return b.join(
        b.branch("1x1", (64, 1)),
        b.branch("5x5", (48, 1), (64, 5)),
        b.branch("3x3", (64, 1), (96, 3), (96, 3)),
        b.pooled(pool_channels),
    )


def _reduce_35(net: Network, x: FloatLayer, name: str) -> FloatLayer:
    b = _Block(net, name, x)
    pool = net.max_pool(x, f"{name}/pool", 3, 2)
    return b.join(b.branch("3x3", (384, 3), stride=2), b.branch("double", (64, 1), (96, 3), (96, 3), stride=2), pool)


def _mixed_17(net: Network, x: FloatLayer, name: str, c: int) -> FloatLayer:
    b = _Block(net, name, x)
    return b.join(
        b.branch("1x1", (192, 1)),
        b.branch("7x7", (c, 1), (c, (1, 7)), (192, (7, 1))),
        b.branch("double", (c, 1), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7))),
        b.pooled(192),
    )


def _reduce_17(net: Network, x: FloatLayer, name: str) -> FloatLayer:
    b = _Block(net, name, x)
    return b.join(
        b.branch("3x3", (192, 1), (320, 3), stride=2),
        b.branch("7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), stride=2),
        net.max_pool(x, f"{name}/pool", 3, 2),
    )


def _mixed_8(net: Network, x: FloatLayer, name: str) -> FloatLayer:
    b = _Block(net, name, x)
    single = b.branch("3x3/reduce", (384, 1))
    double = b.branch("double/reduce", (448, 1), (384, 3))
    return b.join(
        b.branch("1x1", (320, 1)),
        b.branch("3x3/1x3", (384, (1, 3)), x=single),
        b.branch("3x3/3x1", (384, (3, 1)), x=single),
        b.branch("double/1x3", (384, (1, 3)), x=double),
        b.branch("double/3x1", (384, (3, 1)), x=double),
        b.pooled(192),
    )


def inception_v3(name: str, resolution: int, classes: int = 1000) -> Network:
    """InceptionV3 without the auxiliary head (Szegedy et al. 2015, arXiv:1512.00567)."""
    net = Network(name, (resolution, resolution, 3))
    relu = Activation.RELU
    x = net.conv(net.input, "stem/conv1", 32, 3, 2, relu, VALID)
    x = net.conv(x, "stem/conv2", 32, 3, 1, relu, VALID)
    x = net.conv(x, "stem/conv3", 64, 3, 1, relu)
    x = net.max_pool(x, "stem/pool1", 3, 2)
    x = net.conv(x, "stem/conv4", 80, 1, 1, relu, VALID)
    x = net.conv(x, "stem/conv5", 192, 3, 1, relu, VALID)
    x = net.max_pool(x, "stem/pool2", 3, 2)
    for index, pool_channels in enumerate((32, 64, 64)):
        x = _mixed_35(net, x, f"mixed_{index}", pool_channels)
    x = _reduce_35(net, x, "mixed_3")
    for index, channels in enumerate((128, 160, 160, 192), 4):
        x = _mixed_17(net, x, f"mixed_{index}", channels)
    x = _reduce_17(net, x, "mixed_8")
    x = _mixed_8(net, _mixed_8(net, x, "mixed_9"), "mixed_10")
    x = net.dense(net.mean(x, "global_average_pool"), "logits", classes, gain=3)
    net.outputs["probabilities"] = net.softmax(x, "probabilities")
    return net
