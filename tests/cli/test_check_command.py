"""``atoll check`` as a user meets it: quick to start, every reason once, names that can be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atoll.model import Model
from atoll.model.tflite import read_model, write_model
from atoll.products.layout import LONGEST_NAME, brief
from builders import chain

Run = Callable[..., Any]


def blocked(names: str = "layer_{}") -> Model:
    """A chain whose third operator is in no table, with tensors named after their number."""
    model = chain(6)
    graph = model.main
    operators = list(graph.operators)
    operators[2] = replace(operators[2], kind="CUSTOM", custom_code="Strange", options_type="", options={})
    tensors = tuple(replace(tensor, name=names.format(i)) for i, tensor in enumerate(graph.tensors))
    return replace(model, graphs=(replace(graph, operators=tuple(operators), tensors=tensors),))


def test_operators_behind_another_are_counted_with_it(atoll: Run, tmp_path: Path) -> None:
    write_model(blocked(), tmp_path / "m.tflite")
    result = atoll("check", tmp_path / "m.tflite")
    assert result.code == 0 and result.err == ""
    lines = result.out.splitlines()
    assert lines[0].startswith("2 of 6 operators would run")
    (where,) = (line for line in lines if line.startswith("#"))
    assert where.startswith("#2 Strange '")
    (behind,) = (line for line in lines if line.startswith("  operators behind it"))
    assert behind.endswith(" 3")


def test_programs_get_every_operator_with_its_whole_name(atoll: Run, tmp_path: Path) -> None:
    name = "fused/" + 40 * "conv;relu/" + "{}"
    write_model(blocked(name), tmp_path / "m.tflite")
    result = atoll("check", tmp_path / "m.tflite", "--json")
    findings = json.loads(result.out)["findings"]
    graph = read_model(tmp_path / "m.tflite").main
    followers = [finding for finding in findings if finding["rule"] == "one_region"]
    assert [finding["where"] for finding in followers] == [graph.where(n) for n in (3, 4, 5)]
    assert all(finding["follows"] == graph.where(2) for finding in followers)
    text = atoll("check", tmp_path / "m.tflite").out
    assert "…" in text
    assert all(len(name) <= LONGEST_NAME for line in text.splitlines() for name in line.split("'")[1::2])


@pytest.mark.parametrize("length", [1, LONGEST_NAME, LONGEST_NAME + 1, 1000])
def test_only_the_middle_of_long_names_is_left_out(length: int) -> None:
    name = ("begin/" + "x" * length)[:length]
    text = brief(f"m.tflite: tensor '{name}' is odd; 'a sentence in quotes, {'and more ' * 20}'")
    (shown, sentence) = text.split("'")[1::2]
    assert sentence.endswith("and more ") and len(sentence) > LONGEST_NAME
    if length <= LONGEST_NAME:
        assert shown == name
    else:
        assert len(shown) == LONGEST_NAME and shown.count("…") == 1
        begin, end = shown.split("…")
        assert name.startswith(begin) and name.endswith(end)


def test_errors_name_long_tensors_briefly(atoll: Run, tmp_path: Path) -> None:
    model = chain(1)
    graph = model.main
    tensors = list(graph.tensors)
    long = "x" * 500
    tensors[graph.inputs[0]] = replace(tensors[graph.inputs[0]], name=long, shape_signature=(1, -1, -1, 4))
    write_model(replace(model, graphs=(replace(graph, tensors=tuple(tensors)),)), tmp_path / "m.tflite")
    result = atoll("check", tmp_path / "m.tflite")
    assert result.code == 32 and "xx…xx" in result.err and long not in result.err
