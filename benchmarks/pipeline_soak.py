"""A million inferences through four stages of a small model -> how memory, threads and files behave, as JSON.

Memory is the resident set, of worker processes too, sampled a hundred times; the slope is that of a line through the
second half of the samples, in bytes per thousand inferences, with its standard error. The runs: LiteRT interpreters in
threads, with a replica, and faults that are retried; virtual devices, whose segments work on the pipeline's own arrays;
and the first in two worker processes, once undisturbed, and once killed now and then (there only what is left behind is
looked at, for memory begins anew each time).
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from pipeline_overhead import copying_model, waiting_segments

from atoll.pipeline import Pipeline

RESULTS = Path(__file__).parent / "results" / "pipeline_soak.json"
SIZE = 4096
SAMPLES = 100


class Faulty:
    """A LiteRT interpreter of which every ``every``-th ``invoke`` fails (0: none)."""

    def __init__(self, source: str, target: str, every: int) -> None:
        self._interpreter = Interpreter(model_content=copying_model(source, target, SIZE))
        self._every, self._count = every, itertools.count(1)
        for name in ("allocate_tensors", "get_input_details", "get_output_details"):
            setattr(self, name, getattr(self._interpreter, name))
        for name in ("set_tensor", "get_tensor", "tensor"):
            setattr(self, name, getattr(self._interpreter, name))

    def invoke(self) -> None:
        if self._every and next(self._count) % self._every == 0:
            raise RuntimeError("an injected fault")
        self._interpreter.invoke()


def resident_bytes() -> int:
    """Of this process and of its children; Linux only."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else -1


def in_threads(every: int) -> list[Any]:
    return [[Faulty(f"t{i}", f"t{i + 1}", every) for _ in range(1 + (i == 1))] for i in range(4)]


def in_processes(every: int) -> list[Any]:
    return [[partial(Faulty, f"t{i}", f"t{i + 1}", every)] * (1 + (i == 1)) for i in range(4)]


@contextmanager
def killer(period_s: float) -> Iterator[list[int]]:
    """Kills one of the worker processes about every so many seconds (0: never); the value lists them."""
    killed: list[int] = []
    stop = threading.Event()
    chance = random.Random(0)

    def kill() -> None:
        while not stop.wait(chance.uniform(0.5, 1.5) * period_s):
            for child in chance.sample(multiprocessing.active_children(), 1):
                killed.append(child.pid or 0)
                child.kill()

    thread = threading.Thread(target=kill, daemon=True)
    if period_s:
        thread.start()
    try:
        yield killed
    finally:
        stop.set()
        if period_s:
            thread.join()


def soak(groups: list[Any], inferences: int, processes: int | None = None, kill_s: float = 0) -> dict[str, Any]:
    resource_tracker.ensure_running()  # multiprocessing's own helper, which stays
    before = threading.active_count(), open_files()
    frames = [np.full((1, 1, 1, SIZE), i, np.int8) for i in range(8)]
    samples: list[int] = []
    step = max(inferences // SAMPLES, 1)
    begin = time.perf_counter()
    with Pipeline(groups, on_error="retry", retries=10, processes=processes) as pipeline, killer(kill_s) as killed:
        for number, result in enumerate(pipeline.map(frames[i % 8] for i in range(inferences))):
            if result["t4"].flat[0] != number % 8:
                raise AssertionError(f"result {number} is another's")
            if number % step == 0 and not kill_s:
                samples.append(resident_bytes())
                print(f"{number} {samples[-1] / 1e6:.1f} MB", file=sys.stderr, flush=True)
        seconds = time.perf_counter() - begin
        failures = sum(stage.failures for stage in pipeline.stats())
    row: dict[str, Any] = {
        "inferences": inferences,
        "seconds": round(seconds, 1),
        "threads_more": threading.active_count() - before[0],
        "files_more": open_files() - before[1],
    }
    if kill_s:
        return {**row, "processes_killed": len(killed)}
    half = np.array(samples[len(samples) // 2 :], float)
    x = np.arange(len(half)) * step / 1000
    (slope, _), covariance = np.polyfit(x, half, 1, cov=True)
    return {
        **row,
        "faults": failures,
        "resident_mb_after_1_percent": round(samples[1] / 1e6, 2),
        "resident_mb_in_the_middle": round(float(half[0]) / 1e6, 2),
        "resident_mb_at_the_end": round(float(half[-1]) / 1e6, 2),
        "slope_bytes_per_1000": round(float(slope), 2),
        "slope_standard_error": round(float(covariance[0, 0]) ** 0.5, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inferences", type=int, default=1_000_000)
    parser.add_argument("--fault-every", type=int, default=300, help="every so many invokes of a device fail")
    parser.add_argument("--kill-every", type=float, default=3.0, help="seconds")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "threads": soak(in_threads(options.fault_every), options.inferences),
        "in_place": soak(waiting_segments(4, 0, 1, SIZE), options.inferences),
        "processes": soak(in_processes(options.fault_every), options.inferences, processes=2),
        "killed": soak(in_processes(0), options.inferences, processes=2, kill_s=options.kill_every),
    }
    print(json.dumps(result, indent=1))
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
