"""A small model compiled for virtual Edge TPUs, whole and in two segments; and the fake interpreters of tests/run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from atoll import toolchain
from atoll.model.tflite import read_model, write_model
from builders import chain

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.tflite, net_edgetpu.tflite and net_segment_{0,1}_of_2_edgetpu.tflite."""
    folder = tmp_path_factory.mktemp("models")
    write_model(chain(6), folder / "net.tflite")
    model = read_model(folder / "net.tflite")
    for count in (1, 2):
        compiled = toolchain.compile_model(model, count)
        compiled.write(folder)
    return folder
