"""../shared/data -> measured latencies, each with the demand of the network and the layers it had in the cache."""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import timing_networks as nets

from atoll.compiler.memory import model_parameters, plan_memory
from atoll.compiler.parameters import ParameterSize, parameter_size
from atoll.estimate import Demand, ParameterUse, demand_of
from atoll.hardware.generations import DEFAULT, Generation, generation
from atoll.model.graph import Graph
from atoll.model.subgraph import boundary

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MIB = 1 << 20


@functools.cache
def graph_for(model: str) -> Graph:
    """The graph that an entry of latencies.json names, e.g. ``dense chain: 100 x Dense(150)``."""
    numbers = [int(n) for n in re.findall(r"\d+", model)]
    if model.startswith("5 x Conv2D"):
        return nets.conv_sweep(numbers[4])
    if model.startswith("FC 64"):
        return nets.fc_sweep(numbers[1])
    if model.startswith("dense chain"):
        return nets.dense_chain(numbers[0], numbers[1])
    if model.startswith("conv chain"):
        return nets.conv_chain(numbers[0])
    if model.startswith("input-size"):
        return nets.input_sweep(numbers[3], numbers[4])
    if model.startswith("output-size"):
        return nets.output_sweep(numbers[3], numbers[4])
    return nets.NETWORKS[_real_network(model)]()


def _real_network(model: str) -> str:
    name = model.replace(" 224", "").removeprefix("coco_")
    return next(key for key in sorted(nets.NETWORKS, key=len, reverse=True) if name.startswith(key))


def cached_layers(graph: Graph, sizes: Mapping[int, ParameterSize], capacity_bytes: float) -> frozenset[int]:
    """Which layers are in the cache when it holds ``capacity_bytes`` (256-byte rows counted whole).

    ../shared/facts/memory.md, "Which layers are cached". A report names the bytes on the chip: with them as the
    capacity the set comes out as reported.
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
def whole(graph: Graph, capacity_bytes: float | None, compiler: Generation = DEFAULT) -> Demand:
    """The graph on one device; what the chip cannot run (custom operators) stays on the CPU.

    ``capacity_bytes`` is what a compiler's report names; None: atoll plans the memory, as it does for its users.
    """
    region = tuple(i for i, operator in enumerate(graph.operators) if operator.kind != "CUSTOM")
    sizes = {i: parameter_size(graph, graph.operators[i], compiler) for i in region}
    if capacity_bytes is None:
        (plan,) = plan_memory([model_parameters(graph, region, "", compiler)], compiler).models
        cached = frozenset(item.layer.operator for item in plan.layers if item.cached)
    else:
        cached = cached_layers(graph, sizes, capacity_bytes)
    uses = {
        i: ParameterUse(cached=size.nbytes) if i in cached else ParameterUse(streamed=size.nbytes)
        for i, size in sizes.items()
    }
    return demand_of(graph, (region,), uses)


def segment(graph: Graph, operators: Sequence[int], capacity_bytes: float | None) -> Demand:
    """Some operators of a graph as a graph of their own, on one device."""
    entering, leaving = boundary(graph, operators)
    chosen = tuple(graph.operators[i] for i in operators)
    return whole(Graph(graph.tensors, chosen, entering, leaving), capacity_bytes)


def cases(shared: Path = SHARED, reported: bool = True) -> list[Case]:
    """Every usable entry of latencies.json.

    ``reported``: cache what the compiler's report says, where there is one; else atoll plans the memory everywhere.

    The split: of each sweep on each host, sorted by size, points 1, 3, 5, ... are fitted and 2, 4, 6, ... held out;
    of the real networks on each host the three of FITTED_NETWORKS are fitted, all others held out; of the
    pipelines, sorted by TPUs, way of cutting and size, again every other one.
    """
    entries = [e for e in json.loads((shared / "latencies.json").read_text()) if e["latency_ms"] is not None]
    reports = _segment_reports(shared) if reported else {}
    groups: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for entry in entries:
        groups.setdefault((_kind(entry), _profile(entry), str(entry["source"]), *_cutting(entry)), []).append(entry)
    result = []
    for (kind, *_), members in groups.items():
        for rank, entry in enumerate(sorted(members, key=_size)):
            fitted = rank % 2 == 0
            if kind == "real network":
                fitted = _real_network(str(entry["model"])) in FITTED_NETWORKS
            result.append(_case(entry, str(kind), fitted, reports, reported))
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
    return {(int(r["filters"]), int(r["segments"])): json.loads(r["on_chip_MiB_per_segment"]) for r in rows}


def _case(
    entry: Mapping[str, object],
    kind: str,
    fitted: bool,
    reports: Mapping[tuple[int, int], list[float]],
    reported: bool,
) -> Case:
    model, tpus = str(entry["model"]), int(str(entry["num_tpus"]))
    graph = graph_for(model)
    old = not str(entry["source"]).startswith("github Jorgitou98")
    if tpus > 1:
        candidates = _pipelines(entry, graph, tpus, reports)
    else:
        capacity = None
        if reported and entry.get("on_MiB") is not None:  # printed to 0.01 MiB
            capacity = MIB * (float(str(entry["on_MiB"])) + 0.006) if entry["off_MiB"] else float("inf")
        candidates = ((whole(graph, capacity, generation("2.0") if old else DEFAULT),),)
    return Case(model, kind, _profile(entry), float(str(entry["latency_ms"])), fitted, old, candidates)


def _pipelines(
    entry: Mapping[str, object], graph: Graph, tpus: int, reports: Mapping[tuple[int, int], list[float]]
) -> tuple[tuple[Demand, ...], ...]:
    count = len(graph.operators)
    vendor = str(entry["segmentation"]).startswith("vendor")
    capacities: list[float | None] = [None] * tpus
    cuts = list(_compositions(count, tpus))
    if vendor and "Conv2D" in str(entry["model"]):
        cuts = [_VENDOR_CUTS[tpus]]
        on_chip = reports.get((int(str(entry["filters"])), tpus))
        capacities = [MIB * (mib + 0.006) for mib in on_chip] if on_chip else capacities
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
