"""../shared/data -> measured latencies, each with the graph that was measured and the layers it had in the cache.

The graphs have the shapes, types and sizes of the real networks and no weights: all constants are views of one array.
"""

from __future__ import annotations

import csv
import functools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atoll.ir.graph import Buffer, DType, Graph, Operator, Quantization, Tensor
from atoll.ir.subgraph import boundary
from atoll.params import ParameterSize, parameter_size
from atoll.target.generations import DEFAULT, Generation, generation
from atoll.timing import Demand, ParameterUse, demand
from atoll.zoo.dense_prediction import ssd_mobilenet_v1
from atoll.zoo.inception import Padding
from atoll.zoo.mobilenet import RELU6, mobilenet_v1, mobilenet_v2
from atoll.zoo.network import Activation, Layer, Network

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MIB = 1 << 20
_BYTES = np.ones(64 << 20, np.uint8)
RELU, VALID = Activation.RELU, Padding.VALID


# --------------------------------------------------------------------------------------------- networks


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
    x = net.input = Layer("input", "INPUT", (), (1, inputs))
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


def _input_sweep(height: int, width: int) -> Graph:
    net = Network("input", (height, width, 3))
    net.outputs["y"] = net.conv(net.input, "c", 3, 1, stride=max(height, width))
    return graph_of(net, per_channel=False)


def _output_sweep(height: int, width: int) -> Graph:
    net = Network("output", (2, 2, 3))
    paddings = np.array([[0, 0], [0, height - 2], [0, width - 2], [0, 0]], np.int32)
    net.outputs["y"] = net._append("pad", "PAD", (net.input,), (1, height, width, 3), constant=paddings)
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


def _logits(net: Network, x: Layer, classes: int = 1001) -> Network:
    x = net.conv(x, "logits", classes, batch_norm=False)
    net.outputs["p"] = net.softmax(net.reshape(x, "squeeze", (1, classes)), "softmax")
    return net


def inception_v4(name: str = "inception_v4", resolution: int = 299) -> Network:
    """Szegedy et al. 2016 (arXiv:1602.07261), as TF-slim declares it."""
    net = Network(name, (resolution, resolution, 3))

    def branch(x: Layer, n: str, *convs: tuple[int, int | tuple[int, int]], down: bool = False) -> Layer:
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
            y = net.conv(x, f"{output}{index}", boxes * values, batch_norm=False)
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


@functools.cache
def graph_for(model: str) -> Graph:
    """The graph that an entry of latencies.json names, e.g. ``dense chain: 100 x Dense(150)``."""
    numbers = [int(n) for n in re.findall(r"\d+", model)]
    if model.startswith("5 x Conv2D"):
        return conv_sweep(numbers[4])
    if model.startswith("FC 64"):
        return fc_sweep(numbers[1])
    if model.startswith("dense chain"):
        return dense_chain(numbers[0], numbers[1])
    if model.startswith("conv chain"):
        return conv_chain(numbers[0])
    if model.startswith("input-size"):
        return _input_sweep(numbers[3], numbers[4])
    if model.startswith("output-size"):
        return _output_sweep(numbers[3], numbers[4])
    return NETWORKS[_real_network(model)]()


def _real_network(model: str) -> str:
    name = model.replace(" 224", "").removeprefix("coco_")
    return next(key for key in sorted(NETWORKS, key=len, reverse=True) if name.startswith(key))


# ------------------------------------------------------------------------------------------------ cache


def cached_layers(graph: Graph, sizes: Mapping[int, ParameterSize], capacity_bytes: float) -> frozenset[int]:
    """Which layers are in the cache when it holds ``capacity_bytes`` (256-byte rows counted whole).

    ../shared/facts/memory.md, "Which layers are cached". Where a report names the bytes on the chip, they are the
    capacity, and the set comes out as reported.
    """
    layers = [i for i, size in sizes.items() if size.nbytes and not size.streamed]

    def first(i: int) -> bool:
        operator = graph.operators[i]
        shape = graph.tensors[operator.outputs[0]].shape
        return operator.kind == "DEPTHWISE_CONV_2D" or len(shape) < 4 or shape[1:3] == (1, 1)

    ordered = [i for i in layers if first(i)]
    ordered += sorted((i for i in layers if not first(i)), key=lambda i: -sizes[i].nbytes)
    chosen, used = set(), 0
    for i in ordered:
        nbytes = 256 * (sizes[i].wide_rows or -(-sizes[i].nbytes // 256))
        if used + nbytes <= capacity_bytes:
            chosen.add(i)
            used += nbytes
    return frozenset(chosen)


# ------------------------------------------------------------------------------------------------ cases


@dataclass(frozen=True)
class Case:
    """One measurement and what the model needs to predict it."""

    model: str
    kind: str
    """``real network``, ``conv``, ``dense``, ``input and output``, or ``conv pipeline``, ``dense pipeline``."""
    profile: str
    ms: float
    fitted: bool
    """Belongs to the part that the parameters are fitted to."""
    old_compiler: bool
    """Made by a compiler before 16, which sends no tables for softmax."""
    candidates: tuple[tuple[Demand, ...], ...]
    """The cuts it can have had: one, or all when a profiling partitioner chose."""

    @property
    def tpus(self) -> int:
        return len(self.candidates[0])


USABLE_OLD_MIB = 6.91
"""The same for compilers before 16: what the documents name (../shared/facts/memory.md, MobileNetV2)."""
USABLE_MIB = 7.2
"""Cache assumed where no report names one: the median of public logs (../shared/facts/timing.md, "Reserve R")."""
USABLE_DENSE_MIB = 7.875
"""Dense-only networks need at most 32 rows of a tile for themselves (../shared/facts/timing.md)."""
_PROFILES = (
    ("Xeon", "USB3", "desktop-usb3"),
    ("Dev Board", "PCIe", "dev-board"),
    ("Raspberry Pi 4", "USB3", "pi4-usb3"),
    ("Raspberry Pi 3", "USB2", "pi3-usb2"),
    ("SBC in 10W", "USB3", "sbc10w-usb3"),
    ("SBC in 10W", "USB2", "sbc10w-usb2"),
    ("SBC in 5W", "USB3", "sbc5w-usb3"),
    ("SBC in 5W", "USB2", "sbc5w-usb2"),
    ("x86 host, PCIe", "PCIe", "x86-pcie"),
)
FITTED_NETWORKS = ("mobilenet_v1", "inception_v4", "ssd_mobilenet_v1")
_VENDOR_CUTS = {2: (2, 3), 3: (2, 1, 2), 4: (1, 1, 1, 2)}
"""Layers per segment of the five-layer convolution nets, read off the reports in conv_segments.csv."""


@functools.cache
def whole(graph: Graph, capacity_bytes: float, compiler: Generation = DEFAULT) -> Demand:
    """The graph on one device; what the chip cannot run (custom operators) stays on the CPU."""
    region = tuple(i for i, operator in enumerate(graph.operators) if operator.kind != "CUSTOM")
    sizes = {i: parameter_size(graph, graph.operators[i], compiler) for i in region}
    cached = cached_layers(graph, sizes, capacity_bytes)
    uses = {
        i: ParameterUse(cached=size.nbytes) if i in cached else ParameterUse(streamed=size.nbytes)
        for i, size in sizes.items()
    }
    return demand(graph, (region,), uses)


def segment(graph: Graph, operators: Sequence[int], capacity_bytes: float) -> Demand:
    """Some operators of a graph as a graph of their own, on one device."""
    entering, leaving = boundary(graph, operators)
    chosen = tuple(graph.operators[i] for i in operators)
    return whole(Graph(graph.tensors, chosen, entering, leaving), capacity_bytes)


def cases(shared: Path = SHARED) -> list[Case]:
    """Every usable entry of latencies.json.

    The split: of each sweep on each host, sorted by size, points 1, 3, 5, ... are fitted and 2, 4, 6, ... held out;
    of the real networks on each host the three of FITTED_NETWORKS are fitted, all others held out; of the
    pipelines, sorted by TPUs, way of cutting and size, again every other one.
    """
    entries = [e for e in json.loads((shared / "latencies.json").read_text()) if e["latency_ms"] is not None]
    reports = _segment_reports(shared)
    groups: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for entry in entries:
        groups.setdefault((_kind(entry), _profile(entry), str(entry["source"]), *_cutting(entry)), []).append(entry)
    result = []
    for (kind, *_), members in groups.items():
        for rank, entry in enumerate(sorted(members, key=_size)):
            fitted = rank % 2 == 0
            if kind == "real network":
                fitted = _real_network(str(entry["model"])) in FITTED_NETWORKS
            result.append(_case(entry, str(kind), fitted, reports))
    return result


def _profile(entry: Mapping[str, object]) -> str:
    return next(p for host, bus, p in _PROFILES if host in str(entry["host"]) and str(entry["bus"]).startswith(bus))


def _cutting(entry: Mapping[str, object]) -> tuple[object, ...]:
    return entry["num_tpus"], str(entry.get("segmentation", ""))


def _kind(entry: Mapping[str, object]) -> str:
    model = str(entry["model"])
    suffix = " pipeline" if entry["num_tpus"] != 1 else ""
    if "Conv2D" in model or model.startswith("conv chain"):
        return "conv" + suffix
    if model.startswith(("FC 64", "dense chain")):
        return "dense" + suffix
    return "input and output" if "-size sweep" in model else "real network"


def _size(entry: Mapping[str, object]) -> tuple[str, list[int]]:
    numbers = [int(n) for n in re.findall(r"\d+", str(entry["model"]))]
    return str(entry["source"]), numbers


def _segment_reports(shared: Path) -> dict[tuple[int, int], list[float]]:
    """(filters, segments) -> MiB on the chip per segment, as the compiler printed them."""
    with (shared / "sweeps" / "conv_segments.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "vendor" and row["segments"] != "1"]
    return {
        (int(r["filters"]), int(r["segments"])): json.loads(r["on_chip_MiB_per_segment"]) for r in rows
    }


def _case(
    entry: Mapping[str, object], kind: str, fitted: bool, reports: Mapping[tuple[int, int], list[float]]
) -> Case:
    model, tpus = str(entry["model"]), int(str(entry["num_tpus"]))
    graph = graph_for(model)
    old = not str(entry["source"]).startswith("github Jorgitou98")
    if tpus > 1:
        candidates = _pipelines(entry, graph, tpus, reports)
    else:
        capacity = MIB * (USABLE_OLD_MIB if old else USABLE_MIB)
        if entry.get("on_MiB") is not None:  # printed to 0.01 MiB
            capacity = MIB * (float(str(entry["on_MiB"])) + 0.006) if entry["off_MiB"] else float("inf")
        candidates = ((whole(graph, capacity, generation("2.0") if old else DEFAULT),),)
    return Case(model, kind, _profile(entry), float(str(entry["latency_ms"])), fitted, old, candidates)


def _pipelines(
    entry: Mapping[str, object], graph: Graph, tpus: int, reports: Mapping[tuple[int, int], list[float]]
) -> tuple[tuple[Demand, ...], ...]:
    count = len(graph.operators)
    vendor = str(entry["segmentation"]).startswith("vendor")
    capacities = [MIB * (USABLE_MIB if "Conv2D" in str(entry["model"]) else USABLE_DENSE_MIB)] * tpus
    cuts = list(_compositions(count, tpus))
    if vendor and "Conv2D" in str(entry["model"]):
        cuts = [_VENDOR_CUTS[tpus]]
        reported = reports.get((int(str(entry["filters"])), tpus))
        capacities = [MIB * (mib + 0.006) for mib in reported] if reported else capacities
    elif vendor:
        cuts = [_equal_parameters(graph, tpus)]
    return tuple(
        tuple(
            segment(graph, range(sum(cut[:i]), sum(cut[: i + 1])), capacity)
            for i, capacity in zip(range(tpus), capacities)
        )
        for cut in cuts
    )


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    if parts == 1:
        return [(total,)]
    return [(n, *rest) for n in range(1, total - parts + 2) for rest in _compositions(total - n, parts - 1)]


def _equal_parameters(graph: Graph, parts: int) -> tuple[int, ...]:
    """The vendor's rule on chains (../shared/facts/memory.md, "Segments")."""
    sizes = [sum(t.nbytes for t in graph.inputs_of(op) if t.is_constant) for op in graph.operators]
    average = sum(sizes) // parts + 1
    cut, filled = [0], 0
    for size in sizes:
        if cut[-1] and filled + size > average and len(cut) < parts:
            cut.append(0)
            filled = 0
        cut[-1] += 1
        filled += size
    return tuple(cut)
