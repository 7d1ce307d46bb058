"""Stages that wait for a device, or do nothing -> how much of the ideal throughput the pipeline keeps, as JSON.

Waiting stages run on virtual Edge TPUs in real time: the ideal is one result per latency of a device. Stages that do
nothing are LiteRT interpreters without an ``invoke``, so that copying tensors in and out costs what it costs, or else
virtual devices that take no time (``in_place``). The baseline, in the same run, is a straightforward runner on
``queue.Queue`` and dictionaries.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.pipeline import Pipeline
from atoll.toolchain import compile_model, load

TENSOR_BYTES = 150_528  # 224 x 224 x 3, the input of most vision models
SMALL_BYTES = 4096
RESULTS = Path(__file__).parent / "results" / "pipeline_overhead.json"
PROCESSES = 2
Array = Any
Openers = list[list[Callable[[], Any]]]


def copying_model(source: str, target: str, size: int) -> bytes:
    """A model of one CONCATENATION of one tensor of ``size`` int8 elements: a copy, the least an Edge TPU can do."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONCATENATION
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0], [1]
    operator.builtinOptionsType = schema.BuiltinOptions.ConcatenationOptions
    operator.builtinOptions = schema.ConcatenationOptionsT()
    operator.builtinOptions.axis = 3
    graph = schema.SubGraphT()
    graph.tensors = []
    for name in (source, target):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 1, 1, size], schema.TensorType.INT8, 0
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]
        graph.tensors.append(tensor)
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _frame(size: int) -> Array:
    return np.zeros((1, 1, 1, size), np.int8)


class Idle:
    """A LiteRT interpreter whose ``invoke`` does nothing."""

    def __init__(self, source: str, target: str, size: int) -> None:
        self._interpreter = Interpreter(model_content=copying_model(source, target, size))
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
        pass


def idle_segments(stages: int, size: int) -> list[list[Any]]:
    segments = [[Idle(f"t{i}", f"t{i + 1}", size)] for i in range(stages)]
    for [interpreter] in segments:
        interpreter.allocate_tensors()  # type: ignore[attr-defined]
    return segments


@contextmanager
def waiting_openers(stages: int, seconds: float, per_device: int, size: int = TENSOR_BYTES) -> Iterator[Openers]:
    """What opens compiled segments on a virtual device each, in real time; ``per_device`` interpreters of each."""
    with tempfile.TemporaryDirectory() as folder:
        openers = []
        for i in range(stages):
            plain = Path(folder) / f"{i}.tflite"
            plain.write_bytes(copying_model(f"t{i}", f"t{i + 1}", size))
            [compiled] = compile_model(load(plain)).write(folder)
            device = VirtualEdgeTpu(f"device {i}", latency=seconds)
            openers.append([partial(make_interpreter, compiled, device)] * per_device)
        yield openers


def waiting_segments(stages: int, seconds: float, per_device: int, size: int = TENSOR_BYTES) -> list[list[Any]]:
    with waiting_openers(stages, seconds, per_device, size) as openers:
        segments = [[opener() for opener in group] for group in openers]
    for interpreter in (one for group in segments for one in group):
        interpreter.allocate_tensors()
    return segments


def ours(segments: list[list[Any]], inputs: Iterator[Array]) -> Iterator[Any]:
    with Pipeline(segments) as pipeline:
        yield from pipeline.map(inputs)


def in_processes(segments: Openers, inputs: Iterator[Array]) -> Iterator[Any]:
    with Pipeline(segments, processes=min(PROCESSES, len(segments))) as pipeline:
        yield from pipeline.map(inputs)


def on_processors(segments: Openers, inputs: Iterator[Array]) -> Iterator[Any]:
    cpus = sorted(os.sched_getaffinity(0))[:PROCESSES]
    with Pipeline(segments, processes=min(PROCESSES, len(segments)), cpus=cpus) as pipeline:
        yield from pipeline.map(inputs)


def straightforward(segments: list[list[Any]], inputs: Iterator[Array]) -> Iterator[Any]:
    """What one writes first: a thread and a bounded ``queue.Queue`` per stage, dictionaries of tensors between."""
    interpreters = [interpreter for [interpreter] in segments]
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


def timing(runner: Callable[..., Iterator[Any]], segments: list[list[Any]], items: int, size: int) -> Timing:
    """The steady state of a run: the first and the last 8 results more than there are stages do not count."""
    frame = _frame(size)
    cpu = time.process_time()
    times = np.array([time.perf_counter() for _ in runner(segments, iter([frame] * items))])
    cpu = time.process_time() - cpu
    edge = len(segments) + 8
    steps = np.diff(times[edge:-edge])
    return Timing(float(steps.mean()), float(np.median(steps)), cpu / items)


def without_pipeline(stages: int, seconds: float, items: int, size: int) -> float:
    """Seconds per item when every segment runs in a thread of its own on the same input again and again.

    Tensors in, invoke, tensors out, nothing handed over: what the interpreters and the machine allow.
    """
    segments = waiting_segments(stages, seconds, 1, size)
    frame = _frame(size)

    def loop(interpreter: Any) -> None:
        [given], [made] = interpreter.get_input_details(), interpreter.get_output_details()
        for _ in range(items):
            interpreter.set_tensor(given["index"], frame)
            interpreter.invoke()
            interpreter.get_tensor(made["index"])

    threads = [threading.Thread(target=loop, args=segment) for segment in segments]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - begin) / items


def measure(seconds: float, items: int, rounds: int, size: int = TENSOR_BYTES) -> list[dict[str, float]]:
    """Per number of stages the share of the ideal throughput that is kept, medians of interleaved rounds.

    ``share``: with two interpreters per device, ``serial``: with one, ``processes``: with two in two worker processes,
    ``pinned``: in two that are tied to a processor each, ``queue``: of the baseline, which has one; by the mean period,
    stalls included, and ``median_`` by the median. ``no_pipeline``: of independent threads, one each.
    ``overhead_ratio``: what is lost per item, of the baseline's.
    """
    rows = []
    for stages in range(1, 9):
        runs = []
        for _ in range(rounds):
            with waiting_openers(stages, seconds, 2, size) as openers:
                runs.append(
                    (
                        timing(ours, waiting_segments(stages, seconds, 2, size), items, size),
                        timing(ours, waiting_segments(stages, seconds, 1, size), items, size),
                        timing(in_processes, openers, items, size),
                        timing(on_processors, openers, items, size),
                        timing(straightforward, waiting_segments(stages, seconds, 1, size), items, size),
                    )
                )
        row: dict[str, float] = {"stages": stages}
        for name, results in zip(("share", "serial", "processes", "pinned", "queue"), zip(*runs)):
            row[name] = statistics.median(seconds / result.mean for result in results)
            row[f"median_{name}"] = statistics.median(seconds / result.median for result in results)
        row["no_pipeline"] = seconds / statistics.median(
            without_pipeline(stages, seconds, items, size) for _ in range(rounds)
        )
        row["overhead_ratio"] = statistics.median(
            (mine.mean - seconds) / (theirs.mean - seconds) for mine, *_, theirs in runs
        )
        rows.append({key: round(value, 4) for key, value in row.items()})
        print(f"{seconds * 1e3:g} ms, {size} bytes  {rows[-1]}", flush=True)
    return rows


def overhead(items: int, rounds: int, size: int) -> list[dict[str, float]]:
    """Per number of stages: microseconds per stage and item when the stages do nothing, and the ratio of the two.

    Medians over rounds of the mean period; ``cpu``: of processor time, which a busy machine stretches less;
    ``in_place``: both on virtual devices that take no time and copy one tensor to the other.
    """
    rows = []
    for stages in (1, 2, 4, 8):
        runs = [
            (
                timing(ours, idle_segments(stages, size), items, size),
                timing(straightforward, idle_segments(stages, size), items, size),
                timing(ours, waiting_segments(stages, 0, 1, size), items, size),
                timing(straightforward, waiting_segments(stages, 0, 1, size), items, size),
            )
            for _ in range(rounds)
        ]
        us = 1e6 / stages
        mine, theirs, direct, copied = zip(*runs)
        row = {
            "stages": stages,
            "us": statistics.median(timing.mean for timing in mine) * us,
            "queue_us": statistics.median(timing.mean for timing in theirs) * us,
            "cpu_us": statistics.median(timing.cpu for timing in mine) * us,
            "queue_cpu_us": statistics.median(timing.cpu for timing in theirs) * us,
            "ratio": statistics.median(a.mean / b.mean for a, b in zip(mine, theirs)),
            "cpu_ratio": statistics.median(a.cpu / b.cpu for a, b in zip(mine, theirs)),
            "in_place_us": statistics.median(timing.mean for timing in direct) * us,
            "in_place_queue_us": statistics.median(timing.mean for timing in copied) * us,
            "in_place_ratio": statistics.median(a.mean / b.mean for a, b in zip(direct, copied)),
        }
        rows.append({key: round(value, 2) for key, value in row.items()})
        print(f"no work, {size} bytes  {rows[-1]}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=600, help="inferences per run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "tensor_bytes": TENSOR_BYTES,
        "small_tensor_bytes": SMALL_BYTES,
        "no_work": overhead(options.items, options.rounds, TENSOR_BYTES),
        "no_work_small": overhead(options.items, options.rounds, SMALL_BYTES),
        "wait_1_ms_small": measure(1e-3, options.items, options.rounds, SMALL_BYTES),
        "wait_1_ms": measure(1e-3, options.items, options.rounds),
        "wait_0.2_ms_small": measure(2e-4, options.items * 4, options.rounds, SMALL_BYTES),
        "wait_0.2_ms": measure(2e-4, options.items * 4, options.rounds),
    }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
