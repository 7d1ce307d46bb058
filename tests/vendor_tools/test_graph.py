"""``atoll graph``: the vendor's names and flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.cli import invoke
from atoll.errors import PartitionError, UnsupportedModelError, UsageError
from atoll.model.tflite import read_model, write_model
from atoll.vendor_tools.graph import command
from one_layer_models import cell, dense, interpreter, random_values, run


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_model(dense(8, 6), "base.tflite")
    write_model(dense(6, 5, seed=1), "head.tflite")
    write_model(cell("same"), "rnn.tflite")
    return tmp_path


JOIN = ["join_tflite_models", "--input_graph_base", "base.tflite", "--input_graph_head", "head.tflite"]


def test_join_cut_and_run(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(command, [*JOIN, "--output_graph=joined.tflite"]) == 0
    arguments = ["--model_path", "joined.tflite", "--output_dir", "parts", "--num_ops", "1,1"]
    assert invoke(command, ["partition_with_num_ops", *arguments]) == 0
    assert capsys.readouterr().out.split()[1:] == [f"parts/tmp_segment_{i}_of_2.tflite" for i in range(2)]
    values = random_values(read_model("joined.tflite"), 0)
    known = dict(values)
    for i in range(2):
        known |= run(interpreter(read_model(f"parts/tmp_segment_{i}_of_2.tflite")), known)
    for name, value in run(interpreter(read_model("joined.tflite")), values).items():
        assert (known[name] == value).all()
    assert invoke(command, ["partition_with_num_ops", *arguments[:-1], "2,1"]) == PartitionError.exit_code
    assert invoke(command, ["partition_with_num_ops", *arguments[:-1], "1,one"]) == UsageError.exit_code


def test_recurrent(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--input_graph", "rnn.tflite", "--output_graph", "linked.tflite"]
    names = ["--input_tensor_names", "state", "--output_tensor_names"]
    assert invoke(command, ["append_recurrent_links", *files, *names, "next"]) == 0
    assert len(read_model("linked.tflite").main.inputs) == 1
    assert invoke(command, ["append_recurrent_links", *files, *names, "next,y"]) == UsageError.exit_code
    assert "1 inputs and 2 outputs are named" in capsys.readouterr().err


def test_split(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["split_fc", "--input_graph", "base.tflite", "--output_graph", "split.tflite"]
    names = ["--fc_input_tensor_name=x", "--fc_weights_tensor_name=w", "--fc_bias_tensor_name=b"]
    for options in ([], names, [*names, "--fc_output_tensor_name=y", "--split_ratio=0.5", "--feature_dim_index=1"]):
        assert invoke(command, [*files, *options]) == 0
        shapes = [t.shape for t in read_model("split.tflite").main.tensors if t.name.startswith("w/")]
        assert shapes == [(3, 8), (3, 8)]
    assert invoke(command, [*files, "--split_over=inputs", "--max_steps=99"]) == 0
    assert [t.shape for t in read_model("split.tflite").main.tensors if t.name.startswith("w/")] == [(6, 4), (6, 4)]
    assert invoke(command, [*files, "--split_over=inputs"]) in (0, UnsupportedModelError.exit_code)
    for wrong, words in (
        (["--fc_weights_tensor_name=v"], "no layer has the tensors named"),
        (["--fc_output_tensor_name=y", "--fc_bias_tensor_name=w"], "the bias of 'y' is not 'w'"),
        (["--fc_output_tensor_name=y", "--feature_dim_index=2"], "the output 'y' is [1, 6]"),
        (["--split_over=inputs", "--split_ratio=0"], "leave a block of the 8 inputs empty"),
        (["--split_ratio=1"], "leave a block"),
    ):
        assert invoke(command, [*files, *wrong]) == UsageError.exit_code
        assert words in capsys.readouterr().err
