"""Size parameters → networks whose output covers the image: an SSD detector and a U-Net."""

from __future__ import annotations

from atoll.networks.mobilenet import RELU6, v1_backbone
from atoll.quantization.float_network import Activation, Drawn, FloatLayer, Network

# ssd_mobilenet_v1_coco of the TensorFlow object detection API (ssd_mobilenet_v1_feature_extractor.py and
# samples/configs/ssd_mobilenet_v1_coco.config): channels of the four extra maps, boxes per cell of the six maps.
_SSD_EXTRA = (512, 256, 256, 128)
_SSD_BOXES = (3, 6, 6, 6, 6, 6)


def ssd_mobilenet_v1(name: str, resolution: int, width: float = 1.0, classes: int = 91) -> Network:
    """SSD on MobileNetV1: ``box_encodings`` (1, anchors, 4) and ``class_scores`` (1, anchors, classes).

    Anchors are 1917 at resolution 300; decoding and suppression of overlaps are left to the caller.
    """
    net = Network(name, (resolution, resolution, 3))
    backbone = v1_backbone(net, width)
    maps = [backbone[11], backbone[13]]
    x = maps[-1]
    for index, channels in enumerate(_SSD_EXTRA, 1):
        x = net.conv(x, f"extra_{index}/reduce", int(channels // 2 * width), activation=RELU6)
        x = net.conv(x, f"extra_{index}/conv", int(channels * width), 3, stride=2, activation=RELU6)
        maps.append(x)
    boxes = _head(net, maps, "box_encodings", 4)
    scores = _head(net, maps, "class_scores", classes, gain=2)
    net.outputs["box_encodings"] = boxes
    net.outputs["class_scores"] = net.logistic(scores, "class_scores")
    return net


def _head(net: Network, maps: list[FloatLayer], name: str, values: int, gain: float = 1.0) -> FloatLayer:
    """1x1 convolutions on every map, their cells and boxes laid end to end."""
    parts = []
    for index, (x, boxes) in enumerate(zip(maps, _SSD_BOXES)):
        _, h, w, _ = x.shape
        y = net.conv_drawn(Drawn(batch_norm=False, gain=gain), x, f"{name}/map_{index}", boxes * values)
        parts.append(net.reshape(y, f"{name}/map_{index}/flat", (1, h * w * boxes, values)))
    return net.concat(parts, f"{name}/concat", axis=1)


def unet(name: str, width: int, channels: int, resolution: int, depth: int = 4) -> Network:
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with SAME padding: a mask of probabilities, one channel.

    The resolution must be a multiple of ``2 ** depth``. The two convolutions after the decoder are those of the
    widely used Keras port, github.com/zhixuhao/unet.
    """
    net = Network(name, (resolution, resolution, channels))
    x, skips = net.input, []
    for level in range(depth):
        x = _double_conv(net, x, f"down_{level}", width << level)
        skips.append(x)
        x = net.max_pool(x, f"down_{level}/pool", 2, 2)
    x = _double_conv(net, x, "bottom", width << depth)
    for level in reversed(range(depth)):
        x = net.upsample(x, f"up_{level}/upsample")
        x = _conv_relu(net, x, f"up_{level}/up_conv", width << level, 2)
        x = net.concat([skips[level], x], f"up_{level}/concat")
        x = _double_conv(net, x, f"up_{level}", width << level)
    x = _conv_relu(net, x, "head", 2, 3)
    x = net.conv_drawn(Drawn(batch_norm=False, gain=2), x, "logits", 1)
    net.outputs["mask"] = net.logistic(x, "mask")
    return net


def _conv_relu(net: Network, x: FloatLayer, name: str, channels: int, kernel: int) -> FloatLayer:
    return net.conv_drawn(Drawn(batch_norm=False), x, name, channels, kernel, Activation.RELU)


def _double_conv(net: Network, x: FloatLayer, name: str, channels: int) -> FloatLayer:
    return _conv_relu(net, _conv_relu(net, x, f"{name}/conv1", channels, 3), f"{name}/conv2", channels, 3)
