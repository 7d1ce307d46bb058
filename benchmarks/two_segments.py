"""How much faster are two real segments on two cores than one interpreter with one thread?

    python benchmarks/two_segments.py [ZOO NETWORK]       default: mobilenet_v2_1.0_224

The network is cut where both halves take the same time on this machine; whole and pipeline take turns within one run,
so that the ratio means something on a shared machine. The ideal is 2.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from atoll import zoo
from atoll.cut import legal_cuts, partition_at
from atoll.device import make_interpreter
from atoll.device.plain import plain_interpreter
from atoll.formats.tflite import write_model
from atoll.ir import Model
from atoll.ir.subgraph import extract
from atoll.run import Pipeline
from atoll.run.inputs import random_inputs
from atoll.toolchain import compile_model

RESULTS = Path(__file__).parent / "results" / "two_segments.json"
ROUNDS, ITEMS = 9, 30


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
    """The legal cut at which the first half takes half of the time, by bisection."""
    cuts = legal_cuts(model.main)
    low, high = 0, len(cuts) - 1
    while low < high:
        middle = (low + high) // 2
        first, second = (
            extract(model, range(*r)) for r in ((0, cuts[middle]), (cuts[middle], len(model.main.operators)))
        )
        low, high = (middle + 1, high) if seconds(first) < seconds(second) else (low, middle)
    return cuts[low]


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "mobilenet_v2_1.0_224"
    model = zoo.build(name)
    partition = partition_at(model.main, [even_cut(model)], "equal time")
    parts = [extract(model, s.operators, inputs=s.inputs, outputs=s.outputs) for s in partition.segments]
    items = list(itertools.islice(random_inputs(model.main), ITEMS))
    whole = plain_interpreter(model)
    whole.allocate_tensors()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        interpreters = []
        for i, part in enumerate(parts):
            path = Path(folder) / f"{i}.tflite"
            write_model(compile_model(part, name=str(i))[1].segments[0].model, path)
            interpreters.append(make_interpreter(path, f":{i}"))
        with Pipeline(interpreters) as pipeline:
            list(pipeline.map(items[:4]))
            for _ in range(ROUNDS):
                begin = time.perf_counter()
                for item in items:
                    for detail in whole.get_input_details():
                        whole.set_tensor(detail["index"], item[detail["name"]])
                    whole.invoke()
                middle = time.perf_counter()
                assert sum(1 for _ in pipeline.map(items)) == ITEMS
                ratios.append((middle - begin) / (time.perf_counter() - middle))
    result = {
        "network": name,
        "cut": len(partition.segments[0].operators),
        "halves_ms": [round(seconds(part) * 1e3, 2) for part in parts],
        "speed_up_median": statistics.median(ratios),
        "speed_up_best": max(ratios),
    }
    print(json.dumps(result, indent=2))
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
