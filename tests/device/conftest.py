"""What the device tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.device import leasedir
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


@pytest.fixture(scope="session", autouse=True)
def leases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Leases of these tests alone: other runs and programs on this machine keep theirs."""
    before = os.environ.get(leasedir.VARIABLE)
    folder = tmp_path_factory.mktemp("leases")
    os.environ[leasedir.VARIABLE] = str(folder)
    yield folder
    if before is None:
        del os.environ[leasedir.VARIABLE]
    else:
        os.environ[leasedir.VARIABLE] = before
