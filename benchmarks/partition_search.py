"""Networks and a timing model -> how good each strategy's cuts are and what finding them takes, as JSON and a table.

Three questions. `scale`: how long the searches take on a chain of 1,000 operators and on a graph of NASNet's size.
`strategies`: the slowest stage of equal parameters, of the vendor's profiling search, and of ours, under the timing
model. `measuring`: how many segments the vendor's search (step 1) and ours have to compile and measure, and how far
from the optimum they end, when every operator really takes up to twice or half of what is modelled.

    python benchmarks/partition_search.py [--quick] [--host x86-pcie]
    python benchmarks/partition_search.py --tables     # those of docs/partitioning.md, from the JSON
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atoll.hardware.host import profile
from atoll.model.graph import Graph
from atoll.networks import build
from atoll.partitioning import equal_parameters, legal_cuts
from atoll.partitioning.measured.bisection import profiled_cuts
from atoll.partitioning.measured.refine import refined_cuts
from atoll.partitioning.search.contiguous import optimal_cuts
from atoll.partitioning.search.convex import PieceBound, optimal_pieces
from atoll.partitioning.search.fleet import Fleet, Goal
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.toolchain import load

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "partition_search.json"
RANDOM = HERE.parents[1] / "shared" / "data" / "models" / "random"
SEGMENTS = (2, 3, 4, 5, 6, 7, 8)
ACCEPTED = (("InceptionV3", 2, 2.0), ("ResNet-50", 3, 6.0))
"""The vendor's acceptance figures for its profiling partitioner: network, segments, and the least speed-up over one TPU
(PCIe; ../shared/facts/timing.md). The other networks of that list are not here."""


def networks(quick: bool) -> Iterator[tuple[str, Graph]]:
    yield "ResNet-50", build("resnet50").main
    yield "SSD-MobileNetV1", build("ssd_mobilenet_v1").main
    if not RANDOM.is_dir():
        print("../shared/data is not here: three networks are left out", file=sys.stderr)
    elif not quick:
        for name in ("InceptionV3", "EfficientNetB0", "DenseNet121"):
            yield name, load(RANDOM / f"{name}_int8.tflite").main


def strategies(costs: SegmentCosts, positions: list[int], segments: int) -> dict[str, Any]:
    """The slowest stage (ms) under the timing model."""
    equal = equal_parameters(costs.graph, segments)
    vendor = profiled_cuts(positions, costs.cost, equal)
    begin = time.perf_counter()
    ours = optimal_cuts(positions, costs.cost, Fleet.of(segments), bound=costs.bound)
    seconds = time.perf_counter() - begin
    bounds = itertools.pairwise([0, *equal, positions[-1]])
    return {
        "single_ms": costs.cost(0, positions[-1]) * 1e3,
        "equal_parameters_ms": max(costs.cost(a, b) for a, b in bounds) * 1e3,
        "vendor_profiling_ms": vendor.bottleneck * 1e3,
        "optimal_ms": ours.bottleneck * 1e3,
        "lower_bound_ms": ours.lower_bound * 1e3,
        "segments_used": len(ours.stages),
        "costs_computed": ours.evaluations,
        "search_s": seconds,
    }


def measuring(costs: SegmentCosts, positions: list[int], segments: int, seed: int) -> dict[str, Any]:
    """Segments measured, and the slowest stage above the true optimum, when the model is wrong about each operator."""
    rng = np.random.default_rng(seed)
    factors = np.exp(rng.uniform(-math.log(2), math.log(2), len(costs.operators)))

    truth = costs.scaled(factors).cost

    best = optimal_cuts(
        positions,
        truth,
        Fleet.of(segments),
        bound=lambda s, ends, kind: costs.bound(s, ends, kind) / 2,
        goal=Goal(tolerance=1e-6),
    )
    vendor = profiled_cuts(positions, truth, equal_parameters(costs.graph, segments))
    ours = refined_cuts(positions, costs.cost, costs.operators, truth, segments)
    return {
        "seed": seed,
        "vendor_calls": vendor.measurements,
        "our_calls": ours.measurements,
        "vendor_above_optimum": vendor.bottleneck / best.bottleneck - 1,
        "ours_above_optimum": ours.bottleneck / best.bottleneck - 1,
        "proven": ours.proven,
    }


def scale() -> list[dict[str, Any]]:
    """Searches on graphs as large as they come."""
    sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))
    from branching import cells, graph_of
    from spilling import spilling_chain

    rows = []
    for loose in (0.0, 0.1, 0.3):
        cost, bound = spilling_chain(1000, 1, loose)
        found, seconds = _timed(lambda c=cost, b=bound: optimal_cuts(range(1001), c, Fleet.of(16), bound=b))
        rows.append(
            {
                "graph": f"chain of 1,000 into 16, bound loose by {loose:.0%}",
                "s": seconds,
                "gap": 0.0,
                "costs_computed": found.evaluations,
            }
        )
    sources = cells(20)
    rng = np.random.default_rng(0)
    weights = rng.lognormal(0, 1, (len(sources), 1))
    crossing = rng.integers(1, 100, len(sources)) * 0.02

    def piece(operators: tuple[int, ...], _kind: str) -> float:
        inside = set(operators)
        entering = {s for n in operators for s in sources[n]} - inside
        return float(weights[list(operators)].sum()) + sum(crossing[n] for n in entering)

    bound = PieceBound(weights, lambda sums, _kind: sums[:, 0])
    found, seconds = _timed(lambda: optimal_pieces(graph_of(sources), piece, Fleet.of(8), bound))
    rows.append(
        {
            "graph": f"cells of {len(sources)} operators into 8 convex pieces",
            "s": seconds,
            "gap": found.gap,
            "costs_computed": found.evaluations,
        }
    )
    return rows


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


def tables(result: dict[str, Any]) -> Iterator[str]:
    """The tables of docs/partitioning.md."""
    ways = ("equal_parameters_ms", "vendor_profiling_ms", "optimal_ms", "lower_bound_ms")
    yield "| network | segments | equal parameters | vendor's search | ours | lower bound |"
    yield "| --- |" + " ---: |" * 5
    for name, rows in result["networks"].items():
        for row in rows:
            cells = [f"{row[way]:.2f} ms, {1e3 / row[way]:.0f}/s" for way in ways]
            cells[2] += f" ({row['segments_used']})"
            yield f"| {name} | {row['segments']} | {' | '.join(cells)} |"
    yield "\n| network | segments | calls, vendor | calls, ours | share | above, vendor | above, ours |"
    yield "| --- |" + " ---: |" * 6
    for name, rows in result["networks"].items():
        for row in rows:
            measured = row["measuring"]
            vendor, ours = (sum(m[f"{who}_calls"] for m in measured) for who in ("vendor", "our"))
            worst = [max(m[f"{who}_above_optimum"] for m in measured) for who in ("vendor", "ours")]
            yield (
                f"| {name} | {row['segments']} | {vendor} | {ours} | {ours / vendor:.0%} | "
                f"{worst[0]:.1%} | {worst[1]:.1%} |"
            )
    yield "\n| network | segments | vendor's figure | equal parameters | vendor's search | ours |"
    yield "| --- |" + " ---: |" * 5
    for name, segments, figure in ACCEPTED:
        for row in result["networks"].get(name, ()):
            if row["segments"] == segments:
                ups = " | ".join(f"{row['single_ms'] / row[way]:.2f}" for way in ways[:3])
                yield f"| {name} | {segments} | {figure} | {ups} |"
    yield "\n| graph | s | costs computed | gap to the bound |"
    yield "| --- |" + " ---: |" * 3
    for row in result["scale"]:
        yield f"| {row['graph']} | {row['s']:.2f} | {row['costs_computed']} | {row['gap']:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two networks, one seed")
    parser.add_argument("--host", default="x86-pcie")
    parser.add_argument("--tables", action="store_true", help="print the tables of the last results, run nothing")
    arguments = parser.parse_args()
    if arguments.tables:
        print("\n".join(tables(json.loads(RESULTS.read_text()))))
        return
    result: dict[str, Any] = {"host": arguments.host, "scale": scale(), "networks": {}}
    for row in result["scale"]:
        print(f"{row['graph']:55s} {row['s']:6.2f} s CPU, {row['costs_computed']:6d} costs, gap {row['gap']:.1%}")
    print("network          n  single   equal  vendor    ours |  calls vendor/ours  ratio  above optimum vendor/ours")
    total = [0, 0]
    for name, graph in networks(arguments.quick):
        costs = SegmentCosts(graph, profile(arguments.host))
        positions = [0, *legal_cuts(graph), len(graph.operators)]
        rows = []
        for segments in SEGMENTS:
            row = {"segments": segments, **strategies(costs, positions, segments)}
            row["measuring"] = [
                measuring(costs, positions, segments, seed) for seed in range(1 if arguments.quick else 3)
            ]
            rows.append(row)
            vendor, ours = (sum(m[f"{who}_calls"] for m in row["measuring"]) for who in ("vendor", "our"))
            total = [total[0] + vendor, total[1] + ours]
            worst = [max(m[f"{who}_above_optimum"] for m in row["measuring"]) for who in ("vendor", "ours")]
            print(
                f"{name:16s} {segments} {row['single_ms']:7.2f} {row['equal_parameters_ms']:7.2f} "
                f"{row['vendor_profiling_ms']:7.2f} {row['optimal_ms']:7.2f} | {vendor:10d} {ours:6d} "
                f"{ours / vendor:8.2f}  {worst[0]:10.1%} {worst[1]:8.1%}",
                flush=True,
            )
        result["networks"][name] = rows
    result["calls_ratio"] = total[1] / total[0]
    print(f"all together: {total[1]} of {total[0]} calls, {total[1] / total[0]:.2f}")
    if not arguments.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
