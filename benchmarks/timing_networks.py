"""Names -> graphs of the networks that were measured: their shapes, types and sizes, and no weights.

All constants are views of one array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from atoll.model.graph import Buffer, DType, Graph, Operator, Quantization, Tensor
from atoll.networks.dense_prediction import ssd_mobilenet_v1
from atoll.networks.mobilenet import RELU6, mobilenet_v1, mobilenet_v2
from atoll.quantization.float_network import Activation, Drawn, FloatLayer, Network, Padding

_BYTES = np.ones(64 << 20, np.uint8)
RELU, VALID = Activation.RELU, Padding.VALID


def graph_of(net: Network, per_channel: bool = True, zero_bias: bool = True, hosted: Sequence[str] = ()) -> Graph:
    """The network as a quantised graph without weights; ``hosted`` appends custom operators on all outputs."""
    tensors: list[Tensor] = []
    where: dict[int, int] = {}

    def tensor(name: str, shape: tuple[int, ...], dtype: DType, buffer: Buffer | None = None, scales: int = 1) -> int:
        scale = np.arange(1, scales + 1, dtype=np.float32)
        tensors.append(Tensor(name, shape, dtype, Quantization(scale, np.zeros(scales, np.int64)), buffer))
        return len(tensors) - 1

    dtype = DType.INT8 if per_channel else DType.UINT8
    where[id(net.input)] = tensor("input", net.input.shape, dtype)
    operators = []
    for layer in net.layers:
        inputs = [where[id(x)] for x in layer.inputs]
        if layer.filter:
            scales = layer.channels if per_channel else 1
            weights = Buffer(_BYTES[: math.prod(layer.filter)])
            bias = Buffer(np.zeros(4 * layer.channels, np.uint8) if zero_bias else _BYTES[: 4 * layer.channels])
            inputs.append(tensor(f"{layer.name}/w", layer.filter, dtype, weights, scales))
            inputs.append(tensor(f"{layer.name}/b", (layer.channels,), DType.INT32, bias, scales))
        elif layer.constant is not None:
            data = np.ascontiguousarray(layer.constant).view(np.uint8).reshape(-1)
            inputs.append(tensor(f"{layer.name}/c", layer.constant.shape, DType.INT32, Buffer(data)))
        where[id(layer)] = tensor(layer.name, layer.shape, dtype)
        operators.append(Operator(layer.kind, tuple(inputs), (where[id(layer)],), layer.options))
    outputs = tuple(where[id(layer)] for layer in net.outputs.values())
    for code in hosted:
        result = tensor(code, (1, 10, 4), DType.FLOAT32)
        operators.append(Operator("CUSTOM", outputs, (result,), custom_code=code))
        outputs = (result,)
    return Graph(tuple(tensors), tuple(operators), (where[id(net.input)],), outputs, net.name)


def conv_sweep(filters: int) -> Graph:
    net = Network("conv", (64, 64, 3))
    x = net.input
    for index in range(5):
        x = net.conv(x, f"c{index}", filters, 3, activation=RELU)
    net.outputs["y"] = x
    return graph_of(net)


def _dense(inputs: int, units: Sequence[int]) -> Graph:
    net = Network("dense", (1, 1, inputs))
    x = net.input = FloatLayer("input", "INPUT", (), (1, inputs))
    for index, count in enumerate(units):
        x = net.dense(x, f"d{index}", count)
    net.outputs["y"] = x
    return graph_of(net)


def fc_sweep(neurons: int) -> Graph:
    return _dense(64, (neurons, neurons, neurons, neurons, 10))


def dense_chain(layers: int, units: int) -> Graph:
    return _dense(units, (units,) * layers)


def conv_chain(layers: int) -> Graph:
    """Padded from 2x2 on the device; the output must have been small (the file does not say how): a pooling."""
    net = Network("conv7", (2, 2, 3))
    x = net.pad(net.input, "pad", 63, 63)
    for index in range(layers):
        x = net.conv(x, f"c{index}", 32, 7, activation=RELU)
    net.outputs["y"] = net.max_pool(x, "reduce", 128, 128)
    return graph_of(net, per_channel=False)


def input_sweep(height: int, width: int) -> Graph:
    net = Network("input", (height, width, 3))
    net.outputs["y"] = net.conv(net.input, "c", 3, 1, stride=max(height, width))
    return graph_of(net, per_channel=False)


def output_sweep(height: int, width: int) -> Graph:
    net = Network("output", (2, 2, 3))
    paddings = np.array([[0, 0], [0, height - 2], [0, width - 2], [0, 0]], np.int32)
    net.outputs["y"] = net._append(FloatLayer("pad", "PAD", (net.input,), (1, height, width, 3), constant=paddings))
    return graph_of(net, per_channel=False)


def inception_v1(name: str = "inception_v1", resolution: int = 224) -> Network:
    """GoogLeNet as TF-slim declares it (3x3 instead of 5x5 in the third branch)."""
    net = Network(name, (resolution, resolution, 3))
    x = net.conv(net.input, "stem1", 64, 7, 2, RELU)
    x = net.max_pool(x, "pool1", 3, 2, Padding.SAME)
    x = net.conv(net.conv(x, "stem2", 64, 1, 1, RELU), "stem3", 192, 3, 1, RELU)
    x = net.max_pool(x, "pool2", 3, 2, Padding.SAME)
    table: tuple[tuple[int, ...], ...] = (
        *((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (), (192, 96, 208, 16, 48, 64)),
        *((160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64)),
        *((256, 160, 320, 32, 128, 128), (), (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
    )
    for index, row in enumerate(table):
        if not row:
            x = net.max_pool(x, f"pool_{index}", 2 if index == 8 else 3, 2, Padding.SAME)
            continue
        a, b0, b1, c0, c1, d = row
        n = f"mixed_{index}"
        x = net.concat(
            [
                net.conv(x, f"{n}/a", a, 1, 1, RELU),
                net.conv(net.conv(x, f"{n}/b0", b0, 1, 1, RELU), f"{n}/b1", b1, 3, 1, RELU),
                net.conv(net.conv(x, f"{n}/c0", c0, 1, 1, RELU), f"{n}/c1", c1, 3, 1, RELU),
                net.conv(net.max_pool(x, f"{n}/d0", 3, 1, Padding.SAME), f"{n}/d1", d, 1, 1, RELU),
            ],
            f"{n}/concat",
        )
    return _logits(net, net.average_pool(x, "average", 7, 1))


def _logits(net: Network, x: FloatLayer, classes: int = 1001) -> Network:
    x = net.conv_drawn(Drawn(batch_norm=False), x, "logits", classes)
    net.outputs["p"] = net.softmax(net.reshape(x, "squeeze", (1, classes)), "softmax")
    return net


def inception_v4(name: str = "inception_v4", resolution: int = 299) -> Network:
    """Szegedy et al. 2016 (arXiv:1602.07261), as TF-slim declares it."""
    net = Network(name, (resolution, resolution, 3))

    def branch(x: FloatLayer, n: str, *convs: tuple[int, int | tuple[int, int]], down: bool = False) -> FloatLayer:
        for index, (channels, kernel) in enumerate(convs):
            last = down and index == len(convs) - 1
            x = net.conv(x, f"{n}{index}", channels, kernel, 2 if last else 1, RELU, VALID if last else Padding.SAME)
        return x

    x = net.conv(net.input, "s1", 32, 3, 2, RELU, VALID)
    x = net.conv(net.conv(x, "s2", 32, 3, 1, RELU, VALID), "s3", 64, 3, 1, RELU)
    x = net.concat([net.max_pool(x, "s4p", 3, 2), net.conv(x, "s4c", 96, 3, 2, RELU, VALID)], "s4")
    left = net.conv(net.conv(x, "s5a0", 64, 1, 1, RELU), "s5a1", 96, 3, 1, RELU, VALID)
    right = branch(x, "s5b", (64, 1), (64, (1, 7)), (64, (7, 1)))
    x = net.concat([left, net.conv(right, "s5b3", 96, 3, 1, RELU, VALID)], "s5")
    x = net.concat([net.conv(x, "s6c", 192, 3, 2, RELU, VALID), net.max_pool(x, "s6p", 3, 2)], "s6")
    for i in range(4):
        n = f"a{i}/"
        pool = net.average_pool(x, f"{n}p", 3, 1, Padding.SAME)
        parts = [branch(x, f"{n}0", (96, 1)), branch(x, f"{n}1", (64, 1), (96, 3))]
        x = net.concat([*parts, branch(x, f"{n}2", (64, 1), (96, 3), (96, 3)), branch(pool, f"{n}3", (96, 1))], n)
    parts = [branch(x, "ra0", (384, 3), down=True), branch(x, "ra1", (192, 1), (224, 3), (256, 3), down=True)]
    x = net.concat([*parts, net.max_pool(x, "rap", 3, 2)], "ra")
    for i in range(7):
        n = f"b{i}/"
        pool = net.average_pool(x, f"{n}p", 3, 1, Padding.SAME)
        parts = [branch(x, f"{n}0", (384, 1)), branch(x, f"{n}1", (192, 1), (224, (1, 7)), (256, (7, 1)))]
        long = branch(x, f"{n}2", (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7)))
        x = net.concat([*parts, long, branch(pool, f"{n}3", (128, 1))], n)
    parts = [branch(x, "rb0", (192, 1), (192, 3), down=True)]
    parts.append(branch(x, "rb1", (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3), down=True))
    x = net.concat([*parts, net.max_pool(x, "rbp", 3, 2)], "rb")
    for i in range(3):
        n = f"c{i}/"
        pool = net.average_pool(x, f"{n}p", 3, 1, Padding.SAME)
        one, two = branch(x, f"{n}1", (384, 1)), branch(x, f"{n}2", (384, 1), (448, (3, 1)), (512, (1, 3)))
        split = [branch(y, f"{n}{k}", (256, s)) for k, y, s in (
            ("1a", one, (1, 3)), ("1b", one, (3, 1)), ("2a", two, (1, 3)), ("2b", two, (3, 1)))]  # fmt: skip
        x = net.concat([branch(x, f"{n}0", (256, 1)), *split, branch(pool, f"{n}3", (256, 1))], n)
    return _logits(net, net.average_pool(x, "average", x.shape[1], 1))


def ssd_mobilenet_v2(name: str, resolution: int, classes: int) -> Network:
    """SSD on MobileNetV2 of the TensorFlow object detection API: maps of the last two strides and four extra ones."""
    base = mobilenet_v2("base", 1.0, resolution)
    stop = next(i for i, layer in enumerate(base.layers) if layer.name == "conv_last")
    net = Network(name, (resolution, resolution, 3))
    net.input, net.layers = base.input, base.layers[: stop + 1]
    maps = [next(layer for layer in net.layers if layer.name == "block_13/expand"), net.layers[-1]]
    for index, channels in enumerate((512, 256, 256, 128)):
        x = net.conv(maps[-1], f"e{index}a", channels // 2, activation=RELU6)
        maps.append(net.conv(x, f"e{index}b", channels, 3, 2, RELU6))
    for output, values in (("box", 4), ("score", classes)):
        parts = []
        for index, (x, boxes) in enumerate(zip(maps, (3, 6, 6, 6, 6, 6))):
            y = net.conv_drawn(Drawn(batch_norm=False), x, f"{output}{index}", boxes * values)
            parts.append(net.reshape(y, f"{output}{index}f", (1, x.shape[1] * x.shape[2] * boxes, values)))
        joined = net.concat(parts, output, axis=1)
        net.outputs[output] = net.logistic(joined, f"{output}s") if output == "score" else joined
    return net


def _without_head() -> Network:
    net = mobilenet_v2("headless", 1.0, 224)
    stop = next(i for i, layer in enumerate(net.layers) if layer.name == "conv_last")
    net.layers, net.outputs = net.layers[: stop + 1], {"y": net.layers[stop]}
    return net


POSTPROCESS = "TFLite_Detection_PostProcess"

NETWORKS: Mapping[str, Callable[[], Graph]] = {
    "inception_v1": lambda: graph_of(inception_v1(), False, False),
    "inception_v4": lambda: graph_of(inception_v4(), False, False),
    "ssd_mobilenet_v1": lambda: graph_of(ssd_mobilenet_v1("ssd1", 300), False, False, (POSTPROCESS,)),
    "ssd_mobilenet_v2_face": lambda: graph_of(ssd_mobilenet_v2("face", 320, 2), False, False, (POSTPROCESS,)),
    "mobilenet_v1": lambda: graph_of(mobilenet_v1("v1", 1.0, 224, 1001), False, False),
    "mobilenet_v2": lambda: graph_of(mobilenet_v2("v2", 1.0, 224, 1001), False, False),
    "mobilenet_v2 with FC": lambda: graph_of(mobilenet_v2("v2", 1.0, 224, 1000), False, False),
    "mobilenet_v2 without FC": lambda: graph_of(_without_head(), False, False),
}
