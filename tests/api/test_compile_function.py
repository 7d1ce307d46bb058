"""`atoll.compile`: what the command does, for models in files and in memory, and what its result shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import atoll
from atoll.errors import UsageError
from atoll.model.tflite import read_model, write_model
from atoll.products.partition import partition_at
from builders import branched, chain


@pytest.fixture
def net(tmp_path: Path) -> Path:
    write_model(chain(6), tmp_path / "net.tflite")
    return tmp_path / "net.tflite"


def test_a_file_and_a_model_in_memory_give_the_same(net: Path, tmp_path: Path) -> None:
    from_file = atoll.compile(net, output_dir=tmp_path / "a", codegen="virtual")
    from_memory = atoll.compile([replace(chain(6), path="net")], output_dir=tmp_path / "b", codegen="virtual")
    one, two = ((tmp_path / folder / "net_edgetpu.tflite").read_bytes() for folder in "ab")
    assert one == two
    assert from_file.files[0].operators == from_memory.files[0].operators
    assert from_file.virtual and not from_file.agreements


def test_the_answer_comes_first_and_the_repr_is_short(net: Path, tmp_path: Path) -> None:
    report = atoll.compile(net, output_dir=tmp_path, segments=3, codegen="virtual")
    assert report.answer()[0].startswith("6 of 6 operators run on the Edge TPU; ")
    assert len(repr(report).splitlines()) <= 10
    assert len(report.tables()[0].rows) == 3


def test_a_partition_decides_the_cuts_and_the_token(tmp_path: Path) -> None:
    from atoll.compiler.own_compiler import OwnCompiler

    model = replace(chain(6), path="net")
    cuts = [partition_at(model.main, [place], "by hand") for place in (2, 3)]
    report = atoll.compile(model, output_dir=tmp_path, partition=cuts[0], codegen="virtual")
    assert [file.total_operators for file in report.files] == [2, 4]
    # Devices keep parameters by the token: two cuts must not share one.
    first, second = (OwnCompiler().compiled([model], cut).token for cut in cuts)
    assert first != second


@pytest.mark.parametrize(
    "wrong",
    [{"segments": 2, "partition": "x.json"}, {"rates": {"net": 2.0}}, {"order": "best"}, {"generation": "17"}],
)
def test_arguments_that_contradict_each_other(net: Path, tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        atoll.compile(net, output_dir=tmp_path / "out", codegen="virtual", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_rates_by_name(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.tflite" for name in "ab"]
    for path, model in zip(paths, (chain(3), branched())):
        write_model(model, path)
    report = atoll.compile(paths, output_dir=tmp_path / "out", order="best", rates={str(paths[1]): 30.0})
    assert report.orders is not None and len(report.orders.orders) == 2
    assert read_model(tmp_path / "out" / "b_edgetpu.tflite").main.operators[0].custom_code == "edgetpu-custom-op"
