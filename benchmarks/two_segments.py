"""How much faster are two real segments on two cores than one interpreter with one thread?

    python benchmarks/two_segments.py [ZOO NETWORK]       default: mobilenet_v2_1.0_224

The network is cut where the slower half is quickest on this machine; whole, pipeline, and two whole networks in two
threads take turns within one run, so that the ratios mean something on a shared machine. The ideal is 2; what two
independent interpreters reach is what the machine's cores give.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from atoll import networks
from atoll.device import make_interpreter
from atoll.device.plain import plain_interpreter
from atoll.model import Model
from atoll.model.subgraph import extract
from atoll.model.tflite import write_model
from atoll.partitioning import legal_cuts, partition_at
from atoll.pipeline import Pipeline
from atoll.products.random_inputs import random_inputs
from atoll.products.tensor_spec import Inputs
from atoll.toolchain import compile_model

RESULTS = Path(__file__).parent / "results" / "two_segments.json"
ROUNDS, ITEMS, NEIGHBOURS = 15, 60, 3


def seconds(model: Model, repeats: int = 5) -> float:
    """The best time of one inference in one interpreter with one thread."""
    interpreter = plain_interpreter(model)
    interpreter.allocate_tensors()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - begin)
    return min(times)


def even_cut(model: Model) -> int:
    """The legal cut with the quickest slower half: bisection, then a closer look at the places around."""
    cuts = legal_cuts(model.main)

    def halves(place: int, repeats: int) -> tuple[float, float]:
        end = len(model.main.operators)
        first, second = (extract(model, range(*r)) for r in ((0, cuts[place]), (cuts[place], end)))
        return seconds(first, repeats), seconds(second, repeats)

    low, high = 0, len(cuts) - 1
    while low < high:
        middle = (low + high) // 2
        first, second = halves(middle, 5)
        low, high = (middle + 1, high) if first < second else (low, middle)
    around = range(max(low - NEIGHBOURS, 0), min(low + NEIGHBOURS + 1, len(cuts)))
    return cuts[min(around, key=lambda place: max(halves(place, 25)))]


def run_whole(interpreter: Any, items: list[Inputs]) -> None:
    for item in items:
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], item[detail["name"]])
        interpreter.invoke()


def two_threads(interpreters: list[Any], items: list[Inputs]) -> None:
    """Half of the items each, in two threads that share nothing."""
    threads = [threading.Thread(target=run_whole, args=(one, items[n::2])) for n, one in enumerate(interpreters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "mobilenet_v2_1.0_224"
    model = networks.build(name)
    partition = partition_at(model.main, [even_cut(model)], "equal time")
    parts = [extract(model, s.operators, inputs=s.inputs, outputs=s.outputs) for s in partition.segments]
    items = list(itertools.islice(random_inputs(model.main), ITEMS))
    whole, other = plain_interpreter(model), plain_interpreter(model)
    for interpreter in (whole, other):
        interpreter.allocate_tensors()
    ratios, scaling = [], []
    with tempfile.TemporaryDirectory() as folder:
        interpreters = []
        for i, part in enumerate(parts):
            path = Path(folder) / f"{i}.tflite"
            write_model(compile_model(part, name=str(i)).segments[0].model, path)
            interpreters.append(make_interpreter(path, f":{i}"))
        with Pipeline(interpreters) as pipeline:
            list(pipeline.map(items[:4]))
            for _ in range(ROUNDS):
                begin = time.perf_counter()
                run_whole(whole, items)
                middle = time.perf_counter()
                assert sum(1 for _ in pipeline.map(items)) == ITEMS
                end = time.perf_counter()
                two_threads([whole, other], items)
                ratios.append((middle - begin) / (end - middle))
                scaling.append((middle - begin) / (time.perf_counter() - end))
    result = {
        "network": name,
        "cut": len(partition.segments[0].operators),
        "halves_ms": [round(seconds(part) * 1e3, 2) for part in parts],
        "speed_up_median": statistics.median(ratios),
        "speed_up_best": max(ratios),
        "two_independent_interpreters_median": statistics.median(scaling),
        "two_independent_interpreters_best": max(scaling),
        "share_of_what_the_cores_give": statistics.median(ratios) / statistics.median(scaling),
    }
    print(json.dumps(result, indent=2))
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
