"""``atoll run`` with files, inputs and options that cannot be: one message, and an exit code of its own."""

from __future__ import annotations

import importlib
import importlib.resources
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atoll as atoll_package
from atoll import errors
from atoll.model import DType, Model, Operator
from atoll.model.tflite import write_model
from builders import GraphBuilder, chain

Run = Callable[..., Any]


def with_tensor(model: Model, index: int, **changes: object) -> Model:
    tensors = list(model.main.tensors)
    tensors[index] = replace(tensors[index], **changes)  # type: ignore[arg-type]
    return replace(model, graphs=(replace(model.main, tensors=tuple(tensors)),))


def float_model() -> Model:
    model = chain(1)
    tensors = [
        replace(t, dtype=DType.FLOAT32, quantization=None) if not t.is_constant else t for t in model.main.tensors
    ]
    return replace(model, graphs=(replace(model.main, tensors=tuple(tensors)),))


def bad_files(folder: Path) -> dict[str, tuple[object, type[errors.AtollError], str]]:
    """File name → what is in it, the error, and what the message has to name."""
    whole = folder / "whole.tflite"
    write_model(chain(2), whole)
    content = whole.read_bytes()
    return {
        "missing.tflite": (None, errors.FileMissingError, "does not exist"),
        "folder.tflite": (..., errors.IsDirectoryError, "is a directory"),
        "empty.tflite": (b"", errors.EmptyFileError, "is empty"),
        "text.tflite": (b"this is not a model", errors.NotTfliteError, "not a TensorFlow Lite model"),
        "cut.tflite": (content[: len(content) // 2], errors.CorruptModelError, "truncated or damaged"),
        "float.tflite": (float_model(), errors.NotQuantizedError, "Model not quantized"),
        "dynamic.tflite": (
            with_tensor(chain(2), 3, shape_signature=(1, -1, -1, 4)),
            errors.DynamicShapeError,
            "'conv_0' has the dynamic shape",
        ),
    }


NAMES = [
    "missing.tflite",
    "folder.tflite",
    "empty.tflite",
    "text.tflite",
    "cut.tflite",
    "float.tflite",
    "dynamic.tflite",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_bad_file_gets_one_message_and_its_own_exit_code(atoll: Run, tmp_path: Path, name: str, command: str) -> None:
    content, error, words = bad_files(tmp_path)[name]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Model):
        write_model(content, path)
    elif content is ...:
        path.mkdir()
    result = atoll(command, path)
    assert result.code == error.exit_code
    assert result.out == "" and result.err.startswith("error: ") and words in result.err and str(path) in result.err
    assert "Traceback" not in result.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(atoll: Run, chain_file: Path) -> None:
    chain_file.chmod(0)
    assert atoll("run", chain_file).code == errors.NoPermissionError.exit_code


def test_exit_codes_are_distinct() -> None:
    for module in pkgutil.walk_packages(atoll_package.__path__, "atoll."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [errors.AtollError]
    for kind in found:
        found += [sub for sub in kind.__subclasses__() if sub not in found and sub.__module__.startswith("atoll.")]
    own = [kind.exit_code for kind in found if "exit_code" in vars(kind)]
    assert len(set(own)) == len(own) and not {0, errors.INTERRUPTED} & set(own)


def test_more_segments_than_operators(atoll: Run, chain_file: Path) -> None:
    result = atoll("run", chain_file, "--tpus", 7)
    assert result.code == errors.PartitionError.exit_code and "Ask for 1 to 6 segments" in result.err


def test_more_segments_than_devices(atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "2")
    result = atoll("run", chain_file, "--tpus", 3)
    assert result.code == errors.DeviceError.exit_code and "ATOLL_VIRTUAL_TPUS" in result.err


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.zeros((1, 8, 9, 4), np.int8), errors.InputShapeError),
        (np.zeros((1, 8, 8, 4), np.float32), errors.InputDtypeError),
    ],
)
def test_an_input_that_does_not_fit(
    atoll: Run, chain_file: Path, tmp_path: Path, array: np.ndarray, error: type[errors.AtollError]
) -> None:
    np.save(tmp_path / "x.npy", array)
    result = atoll("run", chain_file, "--input", tmp_path / "x.npy")
    assert result.code == error.exit_code and "'input'" in result.err


def test_an_output_directory_that_cannot_be_written(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = atoll("run", chain_file, "--segments-dir", tmp_path / "file" / "dir")
    assert result.code == errors.OutputError.exit_code
    assert "a file, not a directory" in result.err or "in the way" in result.err
    assert sorted(os.listdir(tmp_path)) == ["chain.tflite", "file"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.npy", np.zeros((0, 8, 8, 4), np.int8)), ("zip.npz", b"PK\x03\x04aaa"), ("text.npy", b"nothing")],
)
def test_an_input_file_without_inputs(
    atoll: Run, chain_file: Path, tmp_path: Path, name: str, content: np.ndarray | bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    result = atoll("run", chain_file, "--input", path)
    assert result.code in (errors.InputError.exit_code, errors.InputShapeError.exit_code)
    assert str(path) in result.err and "Traceback" not in result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written(chain_file: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "atoll", "check", chain_file]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == errors.OutputError.exit_code
    assert "No space left" in result.stderr and "Traceback" not in result.stderr


def test_a_model_that_litert_refuses(atoll: Run, tmp_path: Path) -> None:
    build = GraphBuilder()
    source = build.tensor("input")
    shape = build.constant("shape", np.array([1, 7], np.int32))
    build.operators.append(Operator("RESHAPE", (source, shape), (build.tensor("output", shape=(1, 7)),)))
    model = Model((build.graph((source,), (source + 2,)),))
    write_model(model, tmp_path / "m.tflite")
    result = atoll("run", tmp_path / "m.tflite", "--tpus", 1, "--inferences", 1)
    assert result.code == errors.InvalidModelError.exit_code
    assert "LiteRT cannot run" in result.err and "RESHAPE" in result.err and "Traceback" not in result.err


def test_options_that_contradict_each_other(atoll: Run, chain_file: Path) -> None:
    assert atoll("run", chain_file, "--clock", "max").code == errors.UsageError.exit_code
    assert atoll("run", chain_file, "--bus", "usb3", "--target", "pi4-usb3").code == errors.UsageError.exit_code
    assert atoll("run", chain_file, "--target", "no-such-host").code != 0
    assert atoll("run", chain_file, "--device", "usb:7").code == errors.DeviceError.exit_code
