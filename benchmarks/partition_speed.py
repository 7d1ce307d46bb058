"""Large networks -> how long `atoll partition`'s search takes, what it proves, and what cuts along branches are worth.

    python benchmarks/partition_speed.py [--quick] [--host x86-pcie]

`chains`: 1,000 convolutions of random sizes under the timing model, and 1,000 operators with a made-up cost whose bound
is short of it by up to 30 %, into 16 segments. `networks`: the slowest stage of the best cuts of the execution order
and of the best pieces along branches, with bound and gap; InceptionV3 and a network of NASNet's shape and size.
CPU time; costs of the segments included, reading the model and timing its single operators not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atoll.hardware.host import profile
from atoll.model.graph import Graph
from atoll.networks import build
from atoll.partitioning.best_cuts import best_cuts, best_pieces, cut_places, interval
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.search.contiguous import optimal_cuts
from atoll.partitioning.search.fleet import Fleet
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.quantization.calibrate import calibrate
from atoll.quantization.float_network import Activation, FloatLayer, Network, Padding
from atoll.quantization.quantizer import quantize

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "partition_speed.json"
CELLS, FILTERS, RESOLUTION = (6, 5, 5), 44, 64
"""NASNet-Mobile has 44 filters and 4 cells between reductions, of more operators each. Building it takes seconds."""


def chain(operators: int) -> Graph:
    """3×3 convolutions one after the other, of 16 to 128 channels, on ever smaller images."""
    rng = np.random.default_rng(0)
    net = Network("chain", (32, 32, 16))
    x = net.input
    for n in range(operators):
        stride = 2 if n in (operators // 3, 2 * operators // 3) else 1
        x = net.conv(x, f"conv_{n}", int(rng.choice([16, 24, 48, 96, 128])), 3, stride, Activation.RELU)
    net.outputs["out"] = x
    return quantize(calibrate(net, 0), "chain").main


def nasnet() -> Graph:
    """Cells as NASNet-A has them (five sums of two branches of separable convolutions, poolings and identities)."""
    net = Network("nasnet", (RESOLUTION, RESOLUTION, 3))
    x = net.conv(net.input, "stem", 32, 3, 2)
    before, last = x, x
    for stage, cells in enumerate(CELLS):
        filters = FILTERS << stage
        if stage:
            before, last = last, _cell(net, f"reduce_{stage}", before, last, filters, 2)
        for n in range(cells):
            before, last = last, _cell(net, f"cell_{stage}_{n}", before, last, filters, 1)
    pooled = net.mean(net.max_pool(last, "final", 1, 1), "mean")
    net.outputs["out"] = net.dense(pooled, "logits", 1000)
    return quantize(calibrate(net, 0), "nasnet").main


def _cell(net: Network, name: str, before: FloatLayer, last: FloatLayer, filters: int, stride: int) -> FloatLayer:
    if before.shape[1] != last.shape[1]:
        before = net.max_pool(before, f"{name}/shrink", 2, 2, Padding.SAME)
    h, left = net.conv(last, f"{name}/h", filters), net.conv(before, f"{name}/left", filters)

    def separable(x: FloatLayer, part: str, kernel: int) -> FloatLayer:
        for n in (1, 2):
            x = net.depthwise(x, f"{name}/{part}/depthwise{n}", kernel, stride if n == 1 else 1)
            x = net.conv(x, f"{name}/{part}/pointwise{n}", filters, 1, 1, Activation.RELU)
        return x

    def pooled(x: FloatLayer, part: str) -> FloatLayer:
        return net.average_pool(x, f"{name}/{part}/pool", 3, stride, Padding.SAME)

    keep = (lambda x, part: pooled(x, part)) if stride > 1 else (lambda x, _part: x)
    sums = [
        net.add(separable(h, "a1", 3), keep(h, "a2"), f"{name}/a"),
        net.add(separable(left, "b1", 3), separable(h, "b2", 5), f"{name}/b"),
        net.add(pooled(h, "c1"), keep(left, "c2"), f"{name}/c"),
        net.add(pooled(left, "d1"), pooled(left, "d2"), f"{name}/d"),
        net.add(separable(left, "e1", 5), separable(left, "e2", 3), f"{name}/e"),
    ]
    return net.concat(sums, f"{name}/concat")


def chains(quick: bool, host: str) -> Iterator[dict[str, Any]]:
    sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))
    from spilling import spilling_chain

    for loose in (0.0, 0.1, 0.3):
        cost, bound = spilling_chain(1000, 1, loose)
        found, seconds = _timed(lambda c=cost, b=bound: optimal_cuts(range(1001), c, Fleet.of(16), bound=b))
        yield {"graph": f"1,000 operators, bound loose by {loose:.0%}", "s": seconds, "costs": found.evaluations}
    if not quick:
        graph = chain(1000)
        costs = SegmentCosts(graph, profile(host))
        found, seconds = _timed(lambda: best_cuts(costs, cut_places(graph, 1), Fleet.of(16)))
        yield {"graph": f"{len(graph.operators):,} convolutions", "s": seconds, "costs": found.evaluations}


def network(name: str, graph: Graph, host: str, segments: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    for count in segments:
        costs = FleetCosts({"any": SegmentCosts(graph, profile(host))})
        places = cut_places(graph, 1)
        in_order, first = _timed(lambda c=costs, n=count, p=places: best_cuts(c, p, Fleet.of(n)))
        costs = FleetCosts({"any": SegmentCosts(graph, profile(host))})
        found, second = _timed(lambda c=costs, n=count, p=places: best_pieces(c, p, Fleet.of(n)))
        yield {
            "graph": name,
            "operators": len(graph.operators),
            "segments": count,
            "in_order_ms": interval(costs, in_order.stages) * 1e3,
            "in_order_s": first,
            "pieces_ms": found.objective * 1e3,
            "pieces_s": second,
            "lower_bound_ms": found.lower_bound * 1e3,
            "gap": found.gap,
            "exact": found.exact,
            "sets_before_a_cut": found.cuttings,
        }


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="made-up chains and InceptionV3 only; writes nothing")
    parser.add_argument("--host", default="x86-pcie")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"host": arguments.host, "chains": [], "networks": []}
    for row in chains(arguments.quick, arguments.host):
        result["chains"].append(row)
        print(f"{row['graph']:45s} {row['s']:6.2f} s, {row['costs']:6d} costs", flush=True)
    graphs = [("InceptionV3", build("inception_v3").main)]
    if not arguments.quick:
        graphs.append(("NASNet-like", nasnet()))
    for name, graph in graphs:
        for row in network(name, graph, arguments.host, (2, 4, 8)):
            result["networks"].append(row)
            print(
                f"{name:12s} {row['operators']:4d} operators into {row['segments']}: "
                f"in order {row['in_order_ms']:.3f} ms ({row['in_order_s']:.2f} s), "
                f"pieces {row['pieces_ms']:.3f} ms ({row['pieces_s']:.2f} s), bound "
                f"{row['lower_bound_ms']:.3f} ms, gap {row['gap']:.1%}, exact: {row['exact']}",
                flush=True,
            )
    if not arguments.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
