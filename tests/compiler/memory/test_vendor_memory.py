"""Cached and streamed layers and on-chip sizes of real compilations."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.compiler.memory import (
    LayerKind,
    LayerParameters,
    ModelParameters,
    model_parameters,
    plan_memory,
    reserve_rows,
)
from atoll.hardware.generations import Generation, generation
from atoll.model import CUSTOM_OP
from atoll.model.tflite import read_model
from shared_data import DATA
from verified_plan import verify_plan

MODELS = DATA / "models"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the vendor's files in ../shared/data")
GOLDENS = json.loads((DATA / "goldens.json").read_text()) if DATA.is_dir() else []
LSTM = "v16/keras_lstm_mnist_ptq_edgetpu.tflite"
MIB = 1024 * 1024


def source_of(compiled: Path) -> Path:
    name = compiled.name.removesuffix("_edgetpu.tflite").split("_cocompiled_with_")[0] + ".tflite"
    return (compiled.parent if compiled.parent.name == "v2" else MODELS / "uncompiled") / name


def version_of(file: str) -> Generation:
    return generation("2.1" if file.startswith("v2") else "16")


def parameters(file: str) -> ModelParameters:
    """Layers of the operators whose outputs no CPU operator of the compiled file writes."""
    graph, compiled = read_model(source_of(MODELS / file)).main, read_model(MODELS / file).main
    on_cpu = {
        tensor.name
        for operator in compiled.operators
        if operator.custom_code != CUSTOM_OP
        for tensor in compiled.outputs_of(operator)
    }
    mapped = [
        n for n, operator in enumerate(graph.operators) if not on_cpu & {t.name for t in graph.outputs_of(operator)}
    ]
    return model_parameters(graph, mapped, file, version_of(file))


WITH_SOURCE = [golden for golden in GOLDENS if source_of(MODELS / golden["file"]).exists()]


@pytest.mark.parametrize("golden", WITH_SOURCE, ids=lambda golden: golden["file"])
def test_cached_and_streamed_equal_the_golden(golden):
    plan = plan_memory([parameters(golden["file"])], version_of(golden["file"]))
    verify_plan(plan)
    ours = {item.layer.operator: item.cached for item in plan.models[0].layers}
    for line in golden["layers"]:
        if "found" in line:
            assert ours[line["op"]] == (line["found"] == "cached")
    if golden["file"] != LSTM and golden["layers"]:  # identities of no known rule
        assert plan.models[0].cached_bytes == golden["cached_bytes"]
        assert plan.off_chip == golden["streamed_bytes"]
        assert plan.used == golden["predicted_onchip_bytes"]


def test_co_compiled_models_equal_their_goldens():
    goldens = [golden for golden in WITH_SOURCE if "cocompilation" in golden["file"]]
    plan = plan_memory([parameters(golden["file"]) for golden in goldens])
    verify_plan(plan)
    assert [model.cached_bytes for model in plan.models] == [golden["cached_bytes"] for golden in goldens]
    assert [model.off_chip for model in plan.models] == [golden["streamed_bytes"] for golden in goldens]


def fully_connected(name: str, outputs: int, inputs: int) -> LayerParameters:
    """Per-tensor weights without bias: no header."""
    rows, blocks = math.ceil(inputs / 4), math.ceil(outputs / 64)
    lanes = 64 * blocks if outputs > 64 else math.ceil(outputs / 16) * 16
    return LayerParameters(name, LayerKind.DENSE, lanes * 4 * rows, (rows,) * blocks)


def test_fully_connected_sweep_is_reproduced():
    """64 → N → N → N → N → 10 for 64 values of N: on-chip and off-chip as printed (two decimals from 1 MiB on)."""
    wrong, rows = [], 0
    with (DATA / "sweeps" / "fc_1tpu.csv").open() as file:
        for line in csv.DictReader(file):
            n, rows = int(line["neurons"]), rows + 1
            layers = [fully_connected("first", n, 64), *(fully_connected("middle", n, n) for _ in range(3))]
            layers.append(fully_connected("last", 10, n))
            plan = plan_memory([ModelParameters("fc", tuple(layers), reserve_rows([(1, 64)]))])
            if not same_size(plan.used, line["on_MiB"]) or not same_size(plan.off_chip, line["off_MiB"]):
                wrong.append(n)
    assert rows == 64
    assert wrong == []


def same_size(nbytes: int, printed: str) -> bool:
    return abs(nbytes / MIB - float(printed)) <= (0.0051 if nbytes >= MIB else 1e-5)


def convolution(name: str, outputs: int, inputs: int) -> LayerParameters:
    """3×3, per-channel scales and zero points, biases all zero: 8 header bytes per output channel."""
    words, blocks = 2 + 9 * math.ceil(inputs / 4), math.ceil(outputs / 64)
    lanes = 64 * blocks if outputs > 64 else math.ceil(outputs / 16) * 16
    return LayerParameters(name, LayerKind.SPATIAL, lanes * 4 * words, (words,) * blocks)


RESERVE_IS_OFF = {(522, 5, 3), (582, 2, 582), (582, 3, 582), (642, 5, 3), (652, 5, 3)}
"""Filters, layers and input channels where one layer more or less is cached: R is 5 to 28 rows too small there."""


def swept_segments() -> Iterator[tuple[int, tuple[int, ...], float, float]]:
    """Filters, input channels of each layer, MiB on and off chip."""
    with (DATA / "sweeps" / "conv_1tpu.csv").open() as file:
        for line in csv.DictReader(file):
            f = int(line["filters"])
            yield f, (3, f, f, f, f), float(line["on_MiB"]), float(line["off_MiB"])
    # Each segment's layers follow from the parameter-count rule: seen from the sizes on small nets.
    layers_of = {2: [2, 3], 3: [2, 1, 2], 4: [1, 1, 1, 2]}
    with (DATA / "sweeps" / "conv_segments.csv").open() as file:
        for line in csv.DictReader(file):
            f, on = int(line["filters"]), json.loads(line["on_chip_MiB_per_segment"])
            off = json.loads(line["off_chip_MiB_per_segment"])
            for segment, count in enumerate(layers_of.get(len(on), [])):
                channels = (f,) * count if segment else (3,) + (f,) * (count - 1)
                yield f, channels, on[segment], off[segment]


def test_convolution_sweep_is_reproduced_but_for_the_reserve():
    """Segments of five convolutions: sizes are exact wherever the fitted reserve leaves the same layers on the chip."""
    segments, wrong = 0, set()
    for filters, inputs, on, off in dict.fromkeys(swept_segments()):
        layers = tuple(convolution(str(n), filters, channels) for n, channels in enumerate(inputs))
        plan = plan_memory([ModelParameters("s", layers, reserve_rows([(1, 64, 64, inputs[0])]))])
        segments += 1
        if not same_size(plan.used, str(on)) or not same_size(plan.off_chip, str(off)):
            wrong.add((filters, len(inputs), inputs[0]))
    assert segments == 412
    assert wrong == RESERVE_IS_OFF
