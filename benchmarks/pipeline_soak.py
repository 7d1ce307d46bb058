"""A million inferences through four stages of a small model -> how memory, threads and files behave, as JSON.

Memory is the resident set, sampled a hundred times; the slope is that of a line through the second half of the samples,
in bytes per thousand inferences, with its standard error. Faults with retries, and a replica, can be mixed in.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from pipeline_overhead import copying_model

from atoll.run import Pipeline

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
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else -1


def soak(inferences: int, every: int) -> dict[str, Any]:
    groups: list[Any] = [Faulty(f"t{i}", f"t{i + 1}", every) for i in range(4)]
    groups[1] = [groups[1], Faulty("t1", "t2", every)]
    before = threading.active_count(), open_files()
    frames = [np.full((1, 1, 1, SIZE), i, np.int8) for i in range(8)]
    samples: list[int] = []
    step = max(inferences // SAMPLES, 1)

    def inputs() -> Iterator[Any]:
        for i in range(inferences):
            yield frames[i % 8]

    begin = time.perf_counter()
    with Pipeline(groups, on_error="retry") as pipeline:
        for number, result in enumerate(pipeline.map(inputs())):
            if result["t4"].flat[0] != number % 8:
                raise AssertionError(f"result {number} is another's")
            if number % step == 0:
                samples.append(resident_bytes())
                print(f"{number} {samples[-1] / 1e6:.1f} MB", file=sys.stderr, flush=True)
        seconds = time.perf_counter() - begin
        failures = sum(stage.failures for stage in pipeline.stats())
        allocated = pipeline.allocator.allocated  # type: ignore[attr-defined]
    half = np.array(samples[len(samples) // 2 :], float)
    x = np.arange(len(half)) * step / 1000
    (slope, _), covariance = np.polyfit(x, half, 1, cov=True)
    return {
        "inferences": inferences,
        "faults": failures,
        "seconds": round(seconds, 1),
        "resident_mb_after_1_percent": round(samples[1] / 1e6, 2),
        "resident_mb_in_the_middle": round(float(half[0]) / 1e6, 2),
        "resident_mb_at_the_end": round(float(half[-1]) / 1e6, 2),
        "slope_bytes_per_1000": round(float(slope), 2),
        "slope_standard_error": round(float(covariance[0, 0]) ** 0.5, 2),
        "buffers_allocated": allocated,
        "threads_more": threading.active_count() - before[0],
        "files_more": open_files() - before[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inferences", type=int, default=1_000_000)
    parser.add_argument("--fault-every", type=int, default=0, help="every so many invokes of a device fail")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load_average_at_start": round(os.getloadavg()[0], 2),
        **soak(options.inferences, options.fault_every),
    }
    print(json.dumps(result, indent=1))
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
