"""Imports are most of the time of short commands: what each does without is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.cli.streams import terminal_columns
from atoll.model.tflite import write_model
from builders import chain

DRAWING = {"rich", "html", "atoll.reporting.formats.json", "atoll.reporting.formats.csv"}
RUNNING = {"ai_edge_litert", "ai_edge_litert.interpreter", "atoll.device", "atoll.pipeline", "atoll.estimate"}
COMPILING = {"atoll.compiler", "atoll.partitioning", "tempfile", "shutil", "multiprocessing", "socket", "subprocess"}
VENDORS = {"atoll.compiler.external.vendor_compiler", "atoll.compiler.external.process", "asyncio"}
SEARCHING = {"atoll.partitioning.search", "atoll.partitioning.measured", "atoll.partitioning.best_cuts", "filelock"}
NOT_ASKED_FOR = {
    "json",
    "csv",
    "tomllib",
    "zipfile",
    "numpy.ma",
    "numpy.random",
    "concurrent.futures",
    "pdb",
    "logging",
}
WITHOUT = {
    "check": DRAWING | RUNNING | COMPILING | VENDORS | SEARCHING | NOT_ASKED_FOR | {"difflib"},
    "compile": DRAWING | RUNNING | VENDORS | SEARCHING | NOT_ASKED_FOR,
}


@pytest.mark.parametrize("command", WITHOUT)
def test_it_starts_without_what_it_does_not_need(command: str, tmp_path: Path) -> None:
    write_model(chain(6), tmp_path / "m.tflite")
    program = (
        "import sys; from atoll.cli import cli, invoke; code = invoke(cli, sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, command, "m.tflite"],
        cwd=tmp_path,
        env=os.environ | {"ATOLL_EDGETPU_COMPILER": "none"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "operators" in done.stdout
    assert WITHOUT[command] & set(done.stderr.split()) == set()


def test_help_needs_no_numpy_and_no_click() -> None:
    program = (
        "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        "from atoll.cli import main; main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    unneeded = {"numpy", "rich", "asyncio", "click", "dataclasses", "inspect", "pathlib", "shutil"}
    assert unneeded & set(done.stderr.split()) == set()


def test_reading_a_usual_network_needs_no_generated_code(tmp_path: Path) -> None:
    write_model(chain(6), tmp_path / "m.tflite")
    program = (
        "import sys; from atoll.model.tflite import model_bytes, read_model, schema; "
        "model_bytes(read_model('m.tflite')); sys.exit(schema.generated.cache_info().currsize)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


def test_a_terminal_is_as_wide_as_the_standard_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    for columns in ("132", "0", "wide", ""):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal_columns() == shutil.get_terminal_size((80, 24)).columns
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(os, "get_terminal_size", lambda _descriptor: os.terminal_size((97, 20)))
    assert terminal_columns() == 97
    monkeypatch.setattr(os, "get_terminal_size", lambda _descriptor: os.terminal_size((0, 0)))
    assert terminal_columns() == 80
    monkeypatch.setattr(sys, "__stdout__", None)
    assert terminal_columns() == 80
