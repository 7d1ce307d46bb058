"""A pipeline beside a thread that computes in Python -> how much of its throughput it keeps, as JSON.

Waiting stages on LiteRT interpreters, as in pipeline_overhead.py. Ratios of medians within one run: with the thread
over without it, with Python's own switch interval and with the one that a pipeline sets while it runs.
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

from pipeline_overhead import Array, timing

from atoll.run import Pipeline

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
    def run(interpreters: list[Any], inputs: Iterator[Array]) -> Iterator[Any]:
        with Pipeline(interpreters, short_interval=short_interval) as pipeline:
            yield from pipeline.map(inputs)

    return run


def measure(stages: int, seconds: float, items: int, rounds: int) -> dict[str, Any]:
    kept: dict[bool, list[float]] = {True: [], False: []}
    mean_kept: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        alone = timing(runner(True), stages, seconds, items)
        for short in (True, False):
            with busy_thread():
                beside = timing(runner(short), stages, seconds, items if short else items // 4)
            kept[short].append(alone.median / beside.median)
            mean_kept[short].append(alone.mean / beside.mean)
    row = {
        "stages": stages,
        "wait_ms": seconds * 1e3,
        "kept": round(statistics.median(kept[True]), 3),
        "mean_kept": round(statistics.median(mean_kept[True]), 3),
        "kept_with_pythons_interval": round(statistics.median(kept[False]), 3),
        "mean_kept_with_pythons_interval": round(statistics.median(mean_kept[False]), 3),
    }
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
        "rows": [measure(stages, 1e-3, options.items, options.rounds) for stages in (1, 2, 4)],
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
