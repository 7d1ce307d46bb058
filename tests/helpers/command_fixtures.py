"""Running the real command: in this process for its output, in a process of its own for signals and exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from atoll.cli import cli, invoke
from atoll.model.tflite import write_model
from builders import branched, chain


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def atoll(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """``atoll("run", model, "--tpus", 2)``: the command's exit code and what it printed."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = invoke(cli, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def atoll_process() -> Callable[..., subprocess.Popen[str]]:
    """The command as a process of its own."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "atoll", *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def chain_file(tmp_path: Path) -> Path:
    write_model(chain(6), tmp_path / "chain.tflite")
    return tmp_path / "chain.tflite"


@pytest.fixture
def branched_file(tmp_path: Path) -> Path:
    write_model(branched(), tmp_path / "branched.tflite")
    return tmp_path / "branched.tflite"
