"""The virtual device: what its delegate costs per invoke, and how exactly it takes its latency in real time, as JSON.

The overhead is the difference to the same model in a plain interpreter of the same kernels, both called from Python in
turns; the quickest of many rounds counts, because everything else on the machine only adds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter
from pipeline_overhead import copying_model

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.device.virtual.virtual_device import RESOLVER
from atoll.toolchain import compile_model, load

RESULTS = Path(__file__).parent / "results" / "device_time.json"
LATENCIES_MS = (0.5, 1.0, 2.0, 5.0, 10.0)


def per_call(call: Callable[[], object], count: int) -> float:
    """Seconds per call."""
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count


def overhead(size: int, rounds: int) -> dict[str, float]:
    """µs per invoke of a model that copies ``size`` bytes: plain, through the delegate, and the difference."""
    with tempfile.TemporaryDirectory() as folder:
        plain_file = Path(folder) / "m.tflite"
        plain_file.write_bytes(copying_model("in", "out", size))
        [compiled] = compile_model(load(plain_file)).write(folder)
        plain = Interpreter(model_path=str(plain_file), experimental_op_resolver_type=RESOLVER, num_threads=1)
        delegated = make_interpreter(compiled, VirtualEdgeTpu())
    for interpreter in (plain, delegated):
        interpreter.allocate_tensors()
    times = [(per_call(plain.invoke, 200), per_call(delegated.invoke, 200)) for _ in range(rounds)]
    least, most = (min(column) * 1e6 for column in zip(*times))
    row = {"bytes": size, "plain_us": least, "delegated_us": most, "overhead_us": most - least}
    return {key: round(value, 2) for key, value in row.items()}


def exactness(latency: float, inferences: int) -> dict[str, float]:
    """How far the mean of ``inferences`` in real time is from the modelled latency."""
    with tempfile.TemporaryDirectory() as folder:
        plain_file = Path(folder) / "m.tflite"
        plain_file.write_bytes(copying_model("in", "out", 4096))
        [compiled] = compile_model(load(plain_file)).write(folder)
        interpreter = make_interpreter(compiled, VirtualEdgeTpu(latency=latency))
    interpreter.allocate_tensors()
    times = []
    for _ in range(inferences):
        begin = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - begin)
    off = [value / latency - 1 for value in (statistics.mean(times), statistics.median(times))]
    return {"latency_ms": latency * 1e3, "mean_off": round(off[0], 4), "median_off": round(off[1], 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--inferences", type=int, default=1000)
    options = parser.parse_args()
    result = {
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "overhead": [overhead(size, options.rounds) for size in (256, 4096, 150_528)],
        "real_time": [exactness(latency / 1e3, options.inferences) for latency in LATENCIES_MS],
    }
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
