"""On real models, what is mapped equals what the vendor's compiled file shows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from atoll.errors import AlreadyCompiledError
from atoll.model import Model
from atoll.model.tflite import read_model
from atoll.support import operator_support, require_compilable
from atoll.support.regions import Regions, choose_regions
from shared_data import DATA

MODELS = DATA / "models"
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="needs ../shared/data, which is not here")


def pairs() -> list[tuple[Path, Path]]:
    """Each compiled file with the model it was made from; co-compiled ones are named after both models."""
    found = []
    for compiled in sorted([*MODELS.glob("v16/**/*_edgetpu.tflite"), *MODELS.glob("v2/*_edgetpu.tflite")]):
        name = compiled.name.removesuffix("_edgetpu.tflite").split("_cocompiled_with_")[0] + ".tflite"
        source = (compiled.parent if compiled.parent.name == "v2" else MODELS / "uncompiled") / name
        if source.exists():
            found.append((source, compiled))
    return found


def mapped(model: Model) -> Regions:
    require_compilable(model)
    return choose_regions(model.main, operator_support(model.main))


def outputs(model: Model, operators: list[int]) -> list[str]:
    graph = model.main
    return sorted(graph.tensors[i].name for n in operators for i in graph.operators[n].outputs)


def test_the_pairs_are_there() -> None:
    assert len(pairs()) >= 10


@pytest.mark.parametrize(("source", "compiled"), [pytest.param(*pair, id=pair[1].stem) for pair in pairs()])
def test_cpu_operators_are_those_of_the_compiled_file(source: Path, compiled: Path) -> None:
    model, vendor = read_model(source), read_model(compiled)
    kept = [n for n, op in enumerate(vendor.main.operators) if op.custom_code != "edgetpu-custom-op"]
    mapping = mapped(model)
    assert outputs(model, list(mapping.cpu)) == outputs(vendor, kept)
    assert len(mapping.regions) == 1
    with pytest.raises(AlreadyCompiledError):
        require_compilable(vendor)


@pytest.mark.parametrize("path", sorted(MODELS.glob("random/*.tflite")), ids=lambda path: path.stem)
def test_standard_architectures_map_whole(path: Path) -> None:
    assert mapped(read_model(path)).cpu == ()


def test_movenet_statuses() -> None:
    graph = (model := read_model(MODELS / "uncompiled" / "movenet_single_pose_lightning_ptq.tflite")).main
    statuses = Counter((graph.operators[i].name, status) for i, status in enumerate(mapped(model).statuses))
    assert statuses["DEQUANTIZE", "Operation is working on an unsupported data type"] == 4
    assert statuses["GATHER_ND", "Operation not supported"] == 4
    assert statuses["CONV_2D", "Mapped to Edge TPU"] == 50
    assert statuses["ADD", "More than one subgraph is not supported"] == 6


def test_int8_models_do_not_map_for_runtime_10_and_uint8_models_do() -> None:
    for name, regions in (("tf2_mobilenet_v2_1.0_224_ptq", 0), ("mobilenet_v2_1.0_224_quant", 1)):
        graph = read_model(MODELS / "uncompiled" / f"{name}.tflite").main
        assert len(choose_regions(graph, operator_support(graph, min_runtime=10)).regions) == regions
