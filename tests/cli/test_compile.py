"""`atoll compile`: the same engine as edgetpu_compiler, with JSON, CSV, reasons, and a search of the order."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atoll.device import make_interpreter
from atoll.model import Model
from atoll.model.tflite import read_model, write_model
from builders import GraphBuilder, branched, chain


def with_unsupported_operator() -> Model:
    """Three convolutions, an operator that the Edge TPU does not know, two convolutions."""
    build = GraphBuilder()
    first = last = build.tensor("input")
    for i in range(3):
        last = build.conv(last, f"conv_{i}")
    last = build.operator("FLOOR", (last,), "floor")
    for i in range(3, 5):
        last = build.conv(last, f"conv_{i}")
    return Model((build.graph((first,), (last,)),))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    write_model(with_unsupported_operator(), path)
    return path


def _compile(atoll: Callable[..., Any], *arguments: object) -> dict[str, Any]:
    result = atoll("compile", *arguments, "--json")
    assert result.code == 0, result.err
    content: dict[str, Any] = json.loads(result.out)
    assert content["schema"] == "atoll.compile/2"
    return content


def test_json_has_every_operator_with_its_reasons(atoll: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    (file,) = _compile(atoll, net, "-o", tmp_path / "out")["files"]
    assert file["output"] == "net_edgetpu.tflite"
    assert (tmp_path / "out" / file["output"]).stat().st_size == file["output_bytes"]
    assert (tmp_path / "out" / file["log"]).exists()
    assert [item["on_tpu"] for item in file["operators"]] == [True] * 3 + [False] * 3
    for item in file["operators"]:
        assert bool(item["findings"]) != item["on_tpu"]
        assert all(finding["why"] and finding["remedy"] for finding in item["findings"])
    on_chip = [item for item in file["operators"] if item["placement"] == "on-chip"]
    assert sum(item["parameter_rows"] for item in on_chip) * 256 == file["on_chip_bytes"]


def test_all_regions_maps_what_comes_later_too(atoll: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    (file,) = _compile(atoll, net, "-o", tmp_path / "out", "-a")["files"]
    assert file["subgraphs"] == 2
    assert [item["on_tpu"] for item in file["operators"]] == [True] * 3 + [False] + [True] * 2


def test_csv_has_a_row_per_operator(atoll: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    table = tmp_path / "layers.csv"
    (file,) = _compile(atoll, net, "-o", tmp_path / "out", "--csv", table)["files"]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["kind"] for row in rows] == [item["kind"] for item in file["operators"]]
    assert {row["device"] for row in rows} == {"Edge TPU", "CPU"}
    assert all(bool(row["why"]) == (row["device"] == "CPU") for row in rows)


def test_text_names_files_and_reasons(atoll: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    result = atoll("compile", net, "-o", tmp_path / "out")
    assert result.code == 0
    assert "net_edgetpu.tflite" in result.out
    assert "#3 FLOOR 'floor'" in result.out
    assert "what to do" in result.out and "3 of 6 operators run" in result.out


def test_the_result_is_that_of_edgetpu_compiler(atoll: Callable[..., Any], net: Path, tmp_path: Path) -> None:
    from atoll.vendor_tools import edgetpu_compiler

    _compile(atoll, net, "-o", tmp_path / "one")
    assert edgetpu_compiler.invoke(["-o", str(tmp_path / "two"), str(net)]) == 0
    one, two = ((tmp_path / name / "net_edgetpu.tflite").read_bytes() for name in ("one", "two"))
    assert one == two


def test_without_the_cpu_graph_files_are_smaller_and_run(atoll: Callable[..., Any], tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "net.tflite"
    write_model(branched(), path)
    outputs = []
    for folder, option in (("with", ()), ("without", ("--no-cpu-subgraph",))):
        _compile(atoll, path, "-o", tmp_path / folder, *option)
        interpreter = make_interpreter(tmp_path / folder / "net_edgetpu.tflite")
        interpreter.allocate_tensors()
        rng = np.random.default_rng(0)
        for detail in sorted(interpreter.get_input_details(), key=lambda d: d["name"]):
            interpreter.set_tensor(detail["index"], rng.integers(-128, 128, detail["shape"]).astype(np.int8))
        interpreter.invoke()
        outputs.append(
            {d["name"]: interpreter.get_tensor(d["index"]).tobytes() for d in interpreter.get_output_details()}
        )
    assert outputs[0] == outputs[1]
    assert len(read_model(tmp_path / "without" / "net_edgetpu.tflite").graphs) == 1


def _two(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.tflite" for name in "ab"]
    for seed, path in enumerate(paths):
        write_model(chain(seed=seed), path)
    return paths


def test_the_best_order_is_listed_first(atoll: Callable[..., Any], tmp_path: Path) -> None:
    a, b = _two(tmp_path)
    content = _compile(atoll, a, b, "-o", tmp_path / "out", "--order", "best", "--rate", f"{b}=30")
    orders = content["orders"]
    assert orders["exhaustive"] is True
    assert {tuple(order["models"]) for order in orders["orders"]} == {(str(a), str(b)), (str(b), str(a))}
    costs = [order["cost"] for order in orders["orders"]]
    assert costs == sorted(costs)


@pytest.mark.parametrize(
    "options",
    [
        ("--rate", "{a}=2"),
        ("--order", "best", "--rate", "c.tflite=2"),
        ("--order", "best", "--rate", "{a}=-1"),
        ("--order", "best", "--rate", "{a}=nan"),
        ("--order", "best", "--rate", "{a}"),
        ("-n", "2"),
        ("-d",),
        ("-k", "2"),
        ("--generation", "17"),
        ("-m", "9"),
        ("-i", "conv_0"),
    ],
)
def test_contradictory_options_are_usage_errors(
    atoll: Callable[..., Any], tmp_path: Path, options: tuple[str, ...]
) -> None:
    a, b = _two(tmp_path)
    result = atoll("compile", a, b, "-o", tmp_path / "out", *(option.format(a=a) for option in options))
    assert result.code == 2
    assert result.err
    assert not (tmp_path / "out").exists()


def test_older_generations_have_their_own_default_runtime(atoll: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    write_model(replace(chain(), description="int8 needs runtime 12"), path)
    (new,) = _compile(atoll, path, "-o", tmp_path / "new")["files"]
    (old,) = _compile(atoll, path, "-o", tmp_path / "old", "--generation", "1.0")["files"]
    assert (new["subgraphs"], old["subgraphs"]) == (1, 0)


def test_the_time_limit_has_its_own_exit_code(
    atoll: Callable[..., Any], net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from atoll.compiler.emit import Compiled

    monkeypatch.setattr(Compiled, "write", lambda *_: time.sleep(1000))
    result = atoll("compile", net, "-o", tmp_path / "out", "-t", "0.2")
    assert result.code == 41
    assert "0.2 seconds" in result.err
    assert not (tmp_path / "out").exists()
