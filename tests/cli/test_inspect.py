"""`atoll inspect`: explains compiled files, and says what is wrong where in damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.compiler.inspection import inspect_model
from atoll.compiler.package_format import Package, read_package, write_package
from atoll.errors import AtollError
from atoll.model import Model
from atoll.model.tflite import model_bytes, parse_model, read_model, write_model
from atoll.toolchain import compile_model
from builders import branched, chain


def _compiled(model: Model) -> Model:
    compiled = compile_model(model, name="net")
    return compiled.segments[0].model


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A compiled file and its original."""
    original, compiled = tmp_path / "net.tflite", tmp_path / "net_edgetpu.tflite"
    write_model(branched(), original)
    write_model(_compiled(branched()), compiled)
    return compiled, original


def test_our_own_file_is_explained(atoll: Callable[..., Any], files: tuple[Path, Path]) -> None:
    compiled, original = files
    result = atoll("inspect", compiled, "--original", original, "--json")
    assert result.code == 0
    content = json.loads(result.out)
    assert content["schema"] == "atoll.inspect/1"
    (region,) = content["regions"]
    assert content["problems"] == []
    assert [e["kind"] for e in region["executables"]] == ["EXECUTION_ONLY", "PARAMETER_CACHING"]
    assert len(content["tokens"]) == 1
    assert {layer["name"] for layer in region["executables"][0]["inputs"]} == {"left", "right"}
    assert len(region["mapped"]) == len(branched().main.operators)
    assert [p["placement"] for p in region["placed"]] == ["cached"] * 4
    assert sum(p["nbytes"] for p in region["placed"]) == region["cached_bytes"]
    text = atoll("inspect", compiled, "--original", original)
    assert text.code == 0
    assert "EXECUTION_ONLY" in text.out and "left" in text.out
    shown = text.out.partition("Inputs and outputs of the executables")[2]
    for layer in region["executables"][0]["inputs"]:
        (row,) = (
            line for line in shown.partition("Inputs and outputs of the model")[0].splitlines() if layer["name"] in line
        )
        assert f"{layer['scale']:.9f}" in row and str(layer["zero_point"]) in row.split()


def test_a_file_that_is_not_compiled_is_said_to_be_so(atoll: Callable[..., Any], files: tuple[Path, Path]) -> None:
    result = atoll("inspect", files[1])
    assert result.code == 30
    assert "not compiled" in result.err


def test_another_original_is_refused(atoll: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "other.tflite")
    result = atoll("inspect", files[0], "--original", tmp_path / "other.tflite")
    assert result.code == 50
    assert "is not what was compiled" in result.err
    assert atoll("inspect", files[0], "--original", files[0]).code == 30


def _with_package(model: Model, change: Callable[[Package], Package]) -> Model:
    (operator,) = model.main.operators
    package = change(read_package(operator.custom_options))
    operators = (replace(operator, custom_options=write_package(package)),)
    return replace(model, graphs=(replace(model.main, operators=operators), *model.graphs[1:]))


def _other_token(package: Package) -> Package:
    run, load = package.executables
    return replace(package, executables=(run, replace(load, token=load.token ^ 1)))


def _missing_layer(package: Package) -> Package:
    run, load = package.executables
    return replace(package, executables=(replace(run, input_layers=run.input_layers[1:]), load))


def _small_layer(package: Package) -> Package:
    run, load = package.executables
    first = run.output_layers[0]._replace(y=1, x=1, size_bytes=8)
    return replace(package, executables=(replace(run, output_layers=(first, *run.output_layers[1:])), load))


def _nothing_runs(package: Package) -> Package:
    return replace(package, executables=package.executables[1:])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_token, "different caching tokens"),
        (_missing_layer, "is not an input layer"),
        (_small_layer, "claims 8 bytes, its tensor has 256"),
        (_nothing_runs, "no executable that runs"),
    ],
)
def test_a_package_that_contradicts_itself_is_damaged(
    atoll: Callable[..., Any], tmp_path: Path, change: Callable[[Package], Package], said: str
) -> None:
    write_model(_with_package(_compiled(branched()), change), tmp_path / "net_edgetpu.tflite")
    result = atoll("inspect", tmp_path / "net_edgetpu.tflite")
    assert result.code == 24
    assert said in " ".join(result.out.split())
    assert "edgetpu-custom-op" in result.err


def test_a_damaged_package_is_shown_as_far_as_it_goes(atoll: Callable[..., Any], tmp_path: Path) -> None:
    model = _compiled(branched())
    (operator,) = model.main.operators
    torn = replace(operator, custom_options=bytes(operator.custom_options)[:200])
    write_model(
        replace(model, graphs=(replace(model.main, operators=(torn,)), *model.graphs[1:])), tmp_path / "torn.tflite"
    )
    result = atoll("inspect", tmp_path / "torn.tflite", "--json")
    assert result.code == 24
    (problem,) = json.loads(result.out)["problems"]
    assert "custom options" in problem and "#0 edgetpu-custom-op" in problem


_FILE = bytes(model_bytes(_compiled(branched())))


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, len(_FILE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_damage_is_explained_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(_FILE)
    for place, value in changes:
        data[place] = value
    try:
        inspect_model(parse_model(bytes(data)))
    except AtollError as error:
        assert error.message


def test_vendor_files_are_whole_and_their_parameters_are_found(shared: Path) -> None:
    models = shared / "data" / "models"
    found = 0
    for compiled in sorted(models.glob("v*/**/*_edgetpu.tflite")):
        name = compiled.name.replace("_edgetpu", "")
        originals = [p for p in (compiled.with_name(name), models / "uncompiled" / name) if p.exists()]
        report = inspect_model(read_model(compiled), read_model(originals[0]) if originals else None)
        assert report.problems == ()
        assert report.min_runtime >= 10
        for region in report.regions:
            assert region.compiler.startswith("vendor")
            assert all(p.placement != "not found" for p in region.placed), compiled.name
            found += len(region.placed)
    assert found > 300
