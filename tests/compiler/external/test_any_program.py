"""Any command with the vendor's command line: what it leaves counts, and nothing that it does instead stops us."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from atoll.compiler.external import calling as internals
from atoll.compiler.external.installed import find_program
from atoll.compiler.external.vendor_compiler import VendorCompiler
from atoll.compiler.interface import CompileOptions
from atoll.errors import (
    CompilerFailedError,
    CompilerInvalidError,
    CompilerMissingError,
    CompilerTimeoutError,
)
from atoll.model.tflite import write_model
from builders import chain

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts of a shell")

HEAD = """#!/bin/sh
case "$*" in *--version*) echo "{version}"; exit 0;; esac
echo "$*" >> "{log}"
for last; do model=$last; done
output="$3/$(basename "$model" .tflite)_edgetpu.tflite"
"""
COPY = 'cp "$model" "$output"\n'


def standin(tmp_path: Path, does: str = COPY, version: str = "Edge TPU Compiler version 16.0.1") -> Path:
    path = tmp_path / "compiler"
    path.write_text(HEAD.format(version=version, log=tmp_path / "calls") + does)
    path.chmod(0o755)
    return path


def found(path: Path, search_step: int = 0, seconds: int = 180) -> VendorCompiler:
    program = find_program(str(path))
    return VendorCompiler(program.path, program.version, CompileOptions(search_step=search_step, seconds=seconds))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(chain(2), tmp_path / "net.tflite")
    (tmp_path / "out").mkdir()
    return tmp_path / "net.tflite"


def compiled(tmp_path: Path, model: Path, does: str = COPY, step: int = 0, seconds: int = 180) -> Path:
    return found(standin(tmp_path, does), step, seconds).compile_file(model, tmp_path / "out")


def test_it_is_called_as_the_vendors_compiler_is(tmp_path: Path, model: Path) -> None:
    output = compiled(tmp_path, model, step=3, seconds=20)
    assert output == tmp_path / "out" / "net_edgetpu.tflite" and output.read_bytes() == model.read_bytes()
    assert (tmp_path / "calls").read_text() == f"-s -o {tmp_path}/out -t 20 -d -k 3 {model}\n"


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("echo Internal compiler error; exit 1", "failed with status 1: Internal compiler error"),
        ("kill -9 $$", "killed by signal 9"),
        ("echo all is well", "left no compiled model; it printed: all is well"),
        ('echo nonsense > "$output"', "is not a model"),
        ("exec cat /dev/zero", "printed more than 1048576 bytes"),
        ("printf 'a\\033[2Jb'; exit 1", "it printed: a�[2Jb"),
    ],
)
def test_failures_come_with_its_output(tmp_path: Path, model: Path, does: str, words: str) -> None:
    with pytest.raises(CompilerFailedError) as caught:
        compiled(tmp_path, model, does)
    assert words in caught.value.message and len(caught.value.message) < 4000


def test_long_output_keeps_its_beginning_and_its_end(tmp_path: Path, model: Path) -> None:
    with pytest.raises(CompilerFailedError) as caught:
        compiled(tmp_path, model, "seq 1 5000; exit 1")
    lines = caught.value.message.splitlines()
    assert "it printed: 1" in lines[0] and "..." in lines and lines[-1] == "5000" and len(lines) < 40


def test_what_hangs_is_ended_with_its_children(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internals, "GRACE", -0.8)
    with pytest.raises(CompilerTimeoutError, match="did not finish within 1 s"):
        compiled(tmp_path, model, f"(sleep 300 & echo $! > {tmp_path}/child; wait)", seconds=1)
    state = Path("/proc", (tmp_path / "child").read_text().strip(), "status")
    deadline = time.monotonic() + 60  # the signal is sent, which is all that can be asked of a busy machine
    while state.exists() and "State:\tZ" not in state.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_its_temporary_files_stay_in_its_directory(tmp_path: Path, model: Path) -> None:
    compiled(tmp_path, model, "mktemp > /dev/null\n" + COPY)
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_what_it_leaves_running_is_not_waited_for(tmp_path: Path, model: Path) -> None:
    """A child that holds the output open."""
    assert compiled(tmp_path, model, "sleep 300 &\n" + COPY).exists()


def test_the_identity_tells_compilers_versions_and_options_apart(tmp_path: Path) -> None:
    version = "Edge TPU Compiler version 16.0."
    ways = [
        (COPY, "1", 0, 180),
        (COPY + "#", "1", 0, 180),
        (COPY, "2", 0, 180),
        (COPY, "1", 1, 180),
        (COPY, "1", 0, 60),
    ]
    identities = [found(standin(tmp_path, does, version + v), step, s).identity for does, v, step, s in ways]
    assert len(set(identities)) == len(identities)
    assert identities[0].startswith(version + "1 ")
    assert found(standin(tmp_path)).identity == identities[0]


def test_compilers_before_16_know_no_search(tmp_path: Path) -> None:
    assert found(standin(tmp_path, version="Edge TPU Compiler version 2.1.3"), 1).identity
    assert found(standin(tmp_path, version="something else"), 1).identity


def test_a_version_that_is_not_told_is_no_obstacle(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "compiler"
    path.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 9\n' + HEAD.split("\n", 2)[2].format(log="/dev/null") + COPY
    )
    path.chmod(0o755)
    assert found(path).compile_file(model, tmp_path / "out").exists()


def test_what_is_no_command_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(CompilerMissingError, match="no compiler"):
        find_program(str(tmp_path / "nothing"))
    with pytest.raises(CompilerInvalidError, match="not an executable"):
        find_program(str(model))
    with pytest.raises(CompilerMissingError, match="gone"):
        VendorCompiler(str(tmp_path / "nothing"), "").compile_file(model, tmp_path / "out")
