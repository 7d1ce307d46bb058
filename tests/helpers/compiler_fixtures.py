"""`edgetpu_compiler` in this process, and what the tests of it share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atoll.model import Buffer, DType, Model, Tensor
from atoll.vendor_tools import edgetpu_compiler
from builders import chain
from command_fixtures import Result

VERSION = "Edge TPU Compiler version 16.0.384591198"


@pytest.fixture
def compiler(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run in an empty directory ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = edgetpu_compiler.invoke([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def uncompilable() -> Model:
    """A chain whose fifth convolution has a bias of 64-bit numbers: it cannot be laid out for the chip."""
    model = chain()

    def wide(tensor: Tensor) -> Tensor:
        if tensor.name != "conv_4/bias":
            return tensor
        return replace(tensor, dtype=DType.INT64, buffer=Buffer(tensor.array.astype(np.int64).view(np.uint8)))

    return replace(model, graphs=(replace(model.main, tensors=tuple(map(wide, model.main.tensors))),))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
