"""How fast are the timing model and the simulation, which searches call thousands of times?

    python benchmarks/timing_speed.py [--quick]

- The model: what one inference of a network of 500 operators takes, from its graph (``time_model``), and again when
  what it asks of a device is known already (``timing_of``), as in a search that tries cuts and hosts. Aim: under 50 ms.
- The simulation: a million inferences through 8 stages, of the pipelines below and of random ones with replicas and
  arrivals on a schedule, of which the slowest counts. Aim: under 5 s. (States that come back are skipped, so that a
  random pipeline takes longest.)

Wall and processor time of the best of several runs: on a busy machine the latter is the one to believe.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from atoll.estimate import ParameterUse, PipelineStage, demand_of, simulate, time_model, timing_of
from atoll.hardware.host import load_target
from atoll.model import Buffer, DType, Graph, Operator, Quantization, Tensor

RESULTS = Path(__file__).parent / "results" / "timing_speed.json"
OPERATORS = 500
STAGES = 8
INFERENCES = 1_000_000
PIPELINES = 20


def main() -> None:
    quick = "--quick" in sys.argv
    graph = network(OPERATORS)
    target = load_target("x86-pcie")
    region = [range(OPERATORS)]
    uses = {i: ParameterUse(cached=4096) for i in range(OPERATORS)}
    wanted = demand_of(graph, region, uses)
    repeats = 3 if quick else 20
    simulations = [best(random_simulation(seed), 1) for seed in range(4 if quick else PIPELINES)]
    result = {
        "operators": OPERATORS,
        "model": best(lambda: time_model(graph, region, uses, target), repeats),
        "price_again": best(lambda: timing_of(wanted, target), repeats),
        "stages": STAGES,
        "inferences": INFERENCES,
        "pipelines": len(simulations),
        "simulation_median": sorted(simulations, key=lambda one: one["processor_ms"])[len(simulations) // 2],
        "simulation_slowest": max(simulations, key=lambda one: one["processor_ms"]),
    }
    print(json.dumps(result, indent=2))
    if not quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


def random_simulation(seed: int) -> Callable[[], object]:
    """Stages of 1 to 3 ms and 1 to 3 replicas, queues of 1 to 8, half of them fed about as fast as they work."""
    random = np.random.default_rng(seed)
    stages = [
        PipelineStage(
            host_ms=random.uniform(0.01, 0.1), device_ms=random.uniform(1, 3), replicas=int(random.integers(1, 4))
        )
        for _ in range(STAGES)
    ]
    slowest = max(stage.device_ms / stage.replicas for stage in stages)
    arrival = float(random.uniform(0.9, 1.1) * slowest) if seed % 2 else 0.0
    room = int(random.integers(1, 9))
    return lambda: simulate(stages, INFERENCES, queue_size=room, arrival_ms=arrival)


def best(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """The least wall and the least processor time in ms; they may be of different runs."""
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        call()
        processors.append(time.process_time() - processor)
        walls.append(time.perf_counter() - wall)
    return {"wall_ms": min(walls) * 1e3, "processor_ms": min(processors) * 1e3}


def network(operators: int) -> Graph:
    """Blocks of a 1x1 convolution, a depthwise one, another 1x1 convolution and an addition, 64 channels on 56x56."""
    quantization = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64))
    tensors = [Tensor("input", (1, 56, 56, 64), DType.INT8, quantization)]
    nodes: list[Operator] = []
    shapes = {"CONV_2D": (64, 1, 1, 64), "DEPTHWISE_CONV_2D": (1, 3, 3, 64)}
    for index in range(operators):
        kind = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD")[index % 4]
        last = len(tensors) - 1
        if kind == "ADD":
            inputs = (last, nodes[index - 3].inputs[0])
        else:
            shape = shapes[kind]
            weights = Buffer(np.zeros(int(np.prod(shape)), np.uint8))
            tensors.append(Tensor(f"weights_{index}", shape, DType.INT8, quantization, weights))
            inputs = (last, last + 1)
        tensors.append(Tensor(f"layer_{index}", (1, 56, 56, 64), DType.INT8, quantization))
        nodes.append(Operator(kind, inputs, (len(tensors) - 1,), {"stride_w": 1, "stride_h": 1}))
    return Graph(tuple(tensors), tuple(nodes), (0,), (len(tensors) - 1,))


if __name__ == "__main__":
    main()
