"""What the adapter for older delegate libraries costs per inference: ``python benchmarks/adapter_cost.py``.

Stand-in libraries of each layout (tests/helpers/standin/layouts.c) in LiteRT, one small node per model. Today's layout
runs without the adapter too, in turns with the others, so that what the machine does meanwhile hits all of them.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/helpers"))

from ai_edge_litert.interpreter import Interpreter, load_delegate

import atoll
from atoll.device.real import layouts
from atoll.model import DType, Graph, Model, Tensor
from atoll.model.tflite import model_bytes
from small_models import custom, package, quantization
from standins import OF_2019, OF_2021, TODAY, library_of

ROUNDS, CALLS = 60, 2000


def model(tensors: int) -> bytes:
    """One custom operator that reads all tensors but the last and writes that one, 8 bytes each."""
    described = tuple(Tensor(f"t{i}", (1, 8), DType.INT8, quantization(0.1)) for i in range(tensors))
    inputs = tuple(range(tensors - 1))
    operator = custom(inputs, [tensors - 1], package(chip="beagle"))
    return bytes(model_bytes(Model((Graph(described, (operator,), inputs, (tensors - 1,)),))))


def microseconds(interpreter: Interpreter) -> float:
    invoke = interpreter._interpreter.Invoke
    start = time.perf_counter()
    for _ in range(CALLS):
        invoke()
    return (time.perf_counter() - start) / CALLS * 1e6


def main() -> None:
    """Print medians over rounds, and of the differences and ratios within each round."""
    print(f"{'tensors':>7}  {'layout':22} {'µs/inference':>12} {'more, µs':>9} {'ratio':>7}")
    for tensors in (2, 8, 32):
        delegates = {
            "today, no adapter": load_delegate(str(library_of(TODAY))),
            "today, adapter": atoll.adapt_delegate(library_of(TODAY)),
            "2021 (112), adapter": atoll.adapt_delegate(library_of(OF_2021)),
            "2019 (104), adapter": atoll.adapt_delegate(library_of(OF_2019)),
        }
        made = {}
        for name, delegate in delegates.items():
            made[name] = Interpreter(model_content=model(tensors), experimental_delegates=[delegate])
            made[name].allocate_tensors()
        rounds: dict[str, list[float]] = {name: [] for name in made}
        for number in range(ROUNDS):
            names = list(made)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                rounds[name].append(microseconds(made[name]))
        base = rounds["today, no adapter"]
        for name, times in rounds.items():
            more = statistics.median(a - b for a, b in zip(times, base))
            ratio = statistics.median(a / b for a, b in zip(times, base))
            print(f"{tensors:7}  {name:22} {statistics.median(times):12.2f} {more:9.2f} {ratio:7.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ[layouts.VARIABLE] = folder
        main()
