"""Stages that wait for a device, or do nothing -> how much of the ideal throughput the pipeline keeps, as JSON.

The interpreters are LiteRT's own, so that copying tensors in and out costs what it costs; only ``invoke`` is replaced
by a wait, as a host thread waits for a device. Everything is a ratio against something measured in the same run: the
ideal is the same wait in a bare loop; the baseline is a straightforward runner on ``queue.Queue`` and dictionaries.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from atoll.run import Pipeline

TENSOR_BYTES = 150_528  # 224 x 224 x 3, the input of most vision models
RESULTS = Path(__file__).parent / "results" / "pipeline_overhead.json"
Array = Any


def reshape_model(source: str, target: str, size: int) -> bytes:
    """A model of one RESHAPE of ``size`` int8 elements, from a tensor called ``source`` to one called ``target``."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0], [1]
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = schema.ReshapeOptionsT()
    operator.builtinOptions.newShape = [1, size]
    graph = schema.SubGraphT()
    graph.tensors = []
    for name in (source, target):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, size], schema.TensorType.INT8, 0
        graph.tensors.append(tensor)
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class Waiting:
    """A LiteRT interpreter whose ``invoke`` is a wait of ``seconds`` (0: nothing at all)."""

    def __init__(self, source: str, target: str, seconds: float) -> None:
        self._interpreter = Interpreter(model_content=reshape_model(source, target, TENSOR_BYTES))
        self._seconds = seconds
        for name in (
            "allocate_tensors",
            "get_input_details",
            "get_output_details",
            "set_tensor",
            "get_tensor",
            "tensor",
        ):
            setattr(self, name, getattr(self._interpreter, name))

    def invoke(self) -> None:
        if self._seconds:
            time.sleep(self._seconds)


def chain(stages: int, seconds: float) -> list[Any]:
    interpreters = [Waiting(f"t{i}", f"t{i + 1}", seconds) for i in range(stages)]
    for interpreter in interpreters:
        interpreter.allocate_tensors()  # type: ignore[attr-defined]
    return interpreters


def ours(interpreters: list[Any], inputs: Iterator[Array]) -> Iterator[Any]:
    with Pipeline(interpreters) as pipeline:
        yield from pipeline.map(inputs)


def straightforward(interpreters: list[Any], inputs: Iterator[Array]) -> Iterator[Any]:
    """What one writes first: a thread and a bounded ``queue.Queue`` per stage, dictionaries of tensors between."""
    queues: list[queue.Queue[Any]] = [queue.Queue(maxsize=2) for _ in range(len(interpreters) + 1)]

    def serve(interpreter: Any, source: queue.Queue[Any], sink: queue.Queue[Any]) -> None:
        while (tensors := source.get()) is not None:
            for details in interpreter.get_input_details():
                interpreter.set_tensor(details["index"], tensors[details["name"]])
            interpreter.invoke()
            outputs = {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}
            sink.put({**tensors, **outputs})
        sink.put(None)

    def feed() -> None:
        name = interpreters[0].get_input_details()[0]["name"]
        for value in inputs:
            queues[0].put({name: value.copy()})
        queues[0].put(None)

    threads = [threading.Thread(target=serve, args=(s, queues[i], queues[i + 1])) for i, s in enumerate(interpreters)]
    threads.append(threading.Thread(target=feed))
    for thread in threads:
        thread.start()
    while (tensors := queues[-1].get()) is not None:
        yield tensors
    for thread in threads:
        thread.join()


@dataclass(frozen=True)
class Timing:
    """Seconds per item: on average, in the median (which a busy machine disturbs less), and of processor time."""

    mean: float
    median: float
    cpu: float


def timing(runner: Callable[..., Iterator[Any]], stages: int, seconds: float, items: int) -> Timing:
    """The steady state of a run: the first and the last ``stages`` + 8 results do not count."""
    frame = np.zeros((1, TENSOR_BYTES), np.int8)
    interpreters = chain(stages, seconds)
    cpu = time.process_time()
    times = np.array([time.perf_counter() for _ in runner(interpreters, iter([frame] * items))])
    cpu = time.process_time() - cpu
    steps = np.diff(times[stages + 8 : -stages - 8])
    return Timing(float(steps.mean()), float(np.median(steps)), cpu / items)


def loop(body: Callable[[], Any], items: int) -> Timing:
    """``body`` again and again in one thread like a stage's, with no pipeline around it."""
    times = [0.0] * items

    def run() -> None:
        for i in range(items):
            body()
            times[i] = time.perf_counter()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    steps = np.diff(np.array(times))
    return Timing(float(steps.mean()), float(np.median(steps)), 0.0)


def bare_wait(seconds: float, items: int) -> Timing:
    """The wait alone: the ideal."""
    return loop(lambda: time.sleep(seconds), items)


def one_segment(seconds: float, items: int) -> Timing:
    """One interpreter used directly: tensors in, wait, tensors out. What is lost here no pipeline can win back."""
    [interpreter] = chain(1, seconds)
    frame = np.zeros((1, TENSOR_BYTES), np.int8)

    def infer() -> None:
        interpreter.set_tensor(0, frame)
        interpreter.invoke()
        interpreter.get_tensor(1)

    return loop(infer, items)


def measure(seconds: float, items: int, rounds: int) -> list[dict[str, float]]:
    """Per number of stages: the shares of the ideal (a bare wait) and of one segment's own pace that are kept.

    Shares of the median period, medians of interleaved rounds; ``mean_share`` is of the mean period, stalls included.
    """
    rows = []
    for stages in range(1, 9):
        runs = [
            (
                bare_wait(seconds, items),
                one_segment(seconds, items),
                timing(ours, stages, seconds, items),
                timing(straightforward, stages, seconds, items),
            )
            for _ in range(rounds)
        ]
        row = {
            "stages": stages,
            "share": statistics.median(ideal.median / mine.median for ideal, _, mine, _ in runs),
            "mean_share": statistics.median(ideal.mean / mine.mean for ideal, _, mine, _ in runs),
            "share_of_one_segment": statistics.median(one.median / mine.median for _, one, mine, _ in runs),
            "queue_share": statistics.median(ideal.median / theirs.median for ideal, _, _, theirs in runs),
            "queue_mean_share": statistics.median(ideal.mean / theirs.mean for ideal, _, _, theirs in runs),
        }
        rows.append({key: round(value, 4) for key, value in row.items()})
        print(f"{seconds * 1e3:g} ms  {rows[-1]}", flush=True)
    return rows


def overhead(items: int, rounds: int) -> list[dict[str, float]]:
    """Per number of stages: microseconds per stage and item when the stages do nothing, and the ratio of the two.

    Medians over rounds of the mean period; ``cpu``: of processor time, which a busy machine stretches less.
    """
    rows = []
    for stages in (1, 2, 4, 8):
        runs = [(timing(ours, stages, 0, items), timing(straightforward, stages, 0, items)) for _ in range(rounds)]
        us = 1e6 / stages
        row = {
            "stages": stages,
            "us": statistics.median(mine.mean for mine, _ in runs) * us,
            "queue_us": statistics.median(theirs.mean for _, theirs in runs) * us,
            "cpu_us": statistics.median(mine.cpu for mine, _ in runs) * us,
            "queue_cpu_us": statistics.median(theirs.cpu for _, theirs in runs) * us,
            "ratio": statistics.median(mine.mean / theirs.mean for mine, theirs in runs),
            "cpu_ratio": statistics.median(mine.cpu / theirs.cpu for mine, theirs in runs),
        }
        rows.append({key: round(value, 2) for key, value in row.items()})
        print(f"no work  {rows[-1]}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=600, help="inferences per run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "tensor_bytes": TENSOR_BYTES,
        "no_work": overhead(options.items, options.rounds),
        "wait_1_ms": measure(1e-3, options.items, options.rounds),
        "wait_0.2_ms": measure(2e-4, options.items * 2, options.rounds),
    }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
