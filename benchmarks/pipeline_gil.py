"""A pipeline beside a thread that computes in Python -> how much of its throughput it keeps, as JSON.

Stages on virtual devices in real time, as in pipeline_overhead.py. Ratios within one run: with the thread over without
it, with one and with two interpreters per device, in two worker processes, and with Python's own switch interval.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline_overhead import TENSOR_BYTES, Array, in_processes, timing, waiting_openers, waiting_segments

from atoll.pipeline import Pipeline

RESULTS = Path(__file__).parent / "results" / "pipeline_gil.json"


@contextmanager
def busy_thread() -> Iterator[Callable[[], int]]:
    """A user's decoding loop: pure Python, never waits. The value says how many rounds it has done."""
    stop = False
    rounds = 0

    def compute() -> None:
        nonlocal rounds
        while not stop:
            sum(i * i for i in range(200))
            rounds += 1

    thread = threading.Thread(target=compute, daemon=True)
    thread.start()
    try:
        yield lambda: rounds
    finally:
        stop = True
        thread.join()


def runner(short_interval: bool) -> Callable[[list[Any], Iterator[Array]], Iterator[Any]]:
    def run(segments: list[Any], inputs: Iterator[Array]) -> Iterator[Any]:
        with Pipeline(segments, short_interval=short_interval) as pipeline:
            yield from pipeline.map(inputs)

    return run


CASES = {"overlapped": (2, True), "serial": (1, True), "with_pythons_interval": (1, False)}
"""Interpreters per device, and whether the pipeline may shorten the switch interval."""


def measure(stages: int, seconds: float, items: int, rounds: int) -> dict[str, Any]:
    kept: dict[str, list[tuple[float, float]]] = {name: [] for name in (*CASES, "processes")}
    for _ in range(rounds):
        for name, (per_device, short) in CASES.items():
            alone = timing(runner(short), waiting_segments(stages, seconds, per_device), items, TENSOR_BYTES)
            with busy_thread():
                beside = timing(runner(short), waiting_segments(stages, seconds, per_device), items, TENSOR_BYTES)
            kept[name].append((alone.median / beside.median, alone.mean / beside.mean))
        with waiting_openers(stages, seconds, 2) as openers:
            alone = timing(in_processes, openers, items, TENSOR_BYTES)
            with busy_thread():
                beside = timing(in_processes, openers, items, TENSOR_BYTES)
        kept["processes"].append((alone.median / beside.median, alone.mean / beside.mean))
    row: dict[str, Any] = {"stages": stages, "wait_ms": seconds * 1e3}
    for name, ratios in kept.items():
        row[name], row[f"mean_{name}"] = (round(statistics.median(column), 3) for column in zip(*ratios))
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "rows": [measure(stages, 1e-3, options.items, options.rounds) for stages in (1, 2, 4, 8)],
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
