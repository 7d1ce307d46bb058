"""A workload → how long this machine takes for each operator that stays on the CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt

from atoll.device.plain import plain_interpreter
from atoll.errors import InvalidModelError, UnsupportedModelError
from atoll.estimate.workload import Workload
from atoll.model.graph import Graph, Model
from atoll.model.subgraph import extract
from atoll.products.random_inputs import random_inputs

RUNS = 30
"""Runs of each operator, of which the median counts, ..."""
LONGEST_S = 0.5
"""... but no more once they took so long, and at least one."""

Values = dict[str, npt.NDArray[Any]]


def cpu_operator_times(work: Workload, seed: int = 0) -> dict[int, float]:
    """Median ms of each operator that stays on the CPU: LiteRT's built-in kernels, one thread, on this machine.

    Each runs alone, on the values that it meets when the whole model is given random inputs.

    Raises:
        UnsupportedModelError: LiteRT cannot run an operator here.
    """
    hosted = work.hosted
    if not hosted:
        return {}
    values = _values(work, hosted, seed)
    return {index: _median_ms(work, index, values) for index in hosted}


def _values(work: Workload, hosted: Sequence[int], seed: int) -> Values:
    """What the operators ``hosted`` read, for random inputs of the model."""
    graph = work.graph
    values = next(random_inputs(graph, seed))
    written = {i for operator in graph.operators for i in operator.outputs}
    wanted = dict.fromkeys(graph.tensors[i].name for n in hosted for i in graph.operators[n].inputs if i in written)
    if not wanted:
        return values
    inputs = [graph.tensors[i].name for i in graph.inputs]
    whole = extract(work.source, range(len(graph.operators)), work.number, inputs, list(wanted))
    with _explained(work, f"all {len(graph.operators)} operators"):
        interpreter = _prepared(whole, values)
        interpreter.invoke()
        # By position: LiteRT may give tensors other names than the graph.
        outputs = interpreter.get_output_details()
        return values | {name: interpreter.get_tensor(item["index"]) for name, item in zip(wanted, outputs)}


def _median_ms(work: Workload, index: int, values: Values) -> float:
    part = extract(work.source, [index], work.number)
    with _explained(work, work.graph.where(index)):
        interpreter = _prepared(part, values)
        interpreter.invoke()  # the first one allocates
        times: list[float] = []
        while not times or (len(times) < RUNS and sum(times) < LONGEST_S):
            begin = time.perf_counter()
            interpreter.invoke()
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def _prepared(model: Model, values: Values) -> Any:
    """An interpreter with its inputs set."""
    interpreter = plain_interpreter(model)
    interpreter.allocate_tensors()
    for name, detail in zip(_names(model.main, model.main.inputs), interpreter.get_input_details()):
        interpreter.set_tensor(detail["index"], values[name])
    return interpreter


def _names(graph: Graph, indices: Iterable[int]) -> list[str]:
    return [graph.tensors[i].name for i in indices]


@contextmanager
def _explained(work: Workload, what: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, InvalidModelError) as error:
        raise UnsupportedModelError(
            f"{work.name}: LiteRT cannot run {what} on this machine's CPU: {error}",
            "Leave --measure-cpu out: the times are estimated then.",
        ) from error
