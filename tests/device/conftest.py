"""What the device tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.formats.tflite import write_model
from atoll.ir import Model


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Model], Path]:
    """Write a model to a file of its own."""

    def write(model: Model) -> Path:
        path = tmp_path / f"model_{len(list(tmp_path.iterdir()))}.tflite"
        write_model(model, path)
        return path

    return write
