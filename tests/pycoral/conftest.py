"""A small model compiled for virtual Edge TPUs, whole and in two segments."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll import toolchain
from atoll.model.tflite import read_model, write_model
from builders import chain


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
