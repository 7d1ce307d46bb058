"""`edgetpu_compiler` where nothing comes of it: the vendor's words and status, the reason beside them, no files."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.compiler.external.report_parser import parse_vendor
from atoll.hardware.generations import RUNTIMES
from atoll.model import DType, Model
from atoll.model.tflite import write_model
from builders import GraphBuilder, chain
from command_fixtures import Result
from compiler_fixtures import VERSION, files, uncompilable


def test_a_name_that_does_not_exist_brings_the_nearest(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("-i", "conv3", "net.tflite")
    assert result.code == 1
    assert "'conv3'" in result.err and "'conv_3'" in result.err
    assert files(tmp_path) == {"net.tflite"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-i", "x", "-n", "2", "a.tflite"),
        ("-n", "2", "a.tflite", "b.tflite"),
        ("-d", "a.tflite", "b.tflite"),
        ("-d", "-i", "x", "a.tflite"),
        ("-k", "0", "-d", "a.tflite"),
        ("-t", "0", "a.tflite"),
        ("-n", "0", "a.tflite"),
        ("-m", "9", "a.tflite"),
        ("-m", str(RUNTIMES[-1] + 1), "a.tflite"),
        ("--unknown", "a.tflite"),
        (),
    ],
)
def test_contradictory_and_senseless_options_fail(
    compiler: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for seed, name in enumerate("ab"):
        write_model(chain(seed=seed), tmp_path / f"{name}.tflite")
    result = compiler(*arguments)
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    assert files(tmp_path) == {"a.tflite", "b.tflite"}


def test_two_models_of_one_name_are_refused(compiler: Callable[..., Result], tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        write_model(chain(seed=seed), tmp_path / name / "net.tflite")
    result = compiler("a/net.tflite", "b/net.tflite")
    assert result.code == 1
    assert "a/net.tflite" in result.err and "b/net.tflite" in result.err
    assert files(tmp_path) == {"a/net.tflite", "b/net.tflite"}


def _float_model() -> Model:
    build = GraphBuilder()
    source = build.tensor("input", dtype=DType.FLOAT32, quantization=None)
    output = build.operator("RELU", (source,), "relu")
    build.tensors[output] = replace(build.tensors[output], dtype=DType.FLOAT32, quantization=None)
    return Model((build.graph((source,), (output,)),))


def test_a_float_model_is_not_quantized(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(_float_model(), tmp_path / "net.tflite")
    result = compiler("net.tflite")
    assert result.code == 1
    assert result.out == f"{VERSION}\nInvalid model: net.tflite\nModel not quantized\n"
    assert "'input'" in result.err
    assert files(tmp_path) == {"net.tflite"}


@pytest.mark.parametrize("content", [b"", b"no model", b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_what_is_no_model_cannot_be_parsed(compiler: Callable[..., Result], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.tflite").write_bytes(content)
    result = compiler("net.tflite")
    assert result.code == 1
    assert result.out == f"{VERSION}\nInvalid model: net.tflite\nModel could not be parsed\n"
    assert files(tmp_path) == {"net.tflite"}


def test_a_compiled_model_and_a_missing_one_are_invalid(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    assert compiler("net.tflite").code == 0
    result = compiler("net_edgetpu.tflite")
    assert result.code == 1
    assert "Invalid model: net_edgetpu.tflite" in result.out
    assert "already compiled" in result.err
    result = compiler("none.tflite")
    assert result.code == 1
    assert "Invalid model: none.tflite" in result.out
    assert "does not exist" in result.err


def test_dynamic_shapes_fail_as_in_the_interpreter(compiler: Callable[..., Result], tmp_path: Path) -> None:
    model = chain()
    tensors = [replace(t, shape_signature=(1, -1, 8, 4)) if t.name == "input" else t for t in model.main.tensors]
    write_model(replace(model, graphs=(replace(model.main, tensors=tuple(tensors)),)), tmp_path / "net.tflite")
    result = compiler("net.tflite")
    assert result.code == 1
    report = parse_vendor(result.out)
    assert report.succeeded is False
    assert any("dynamic-sized tensors" in line for line in report.errors)
    assert "'input'" in result.err


def test_a_failure_names_the_operator(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(uncompilable(), tmp_path / "net.tflite")
    result = compiler("net.tflite")
    assert result.code == 1
    assert parse_vendor(result.out).succeeded is False
    assert "conv_4" in result.err
    assert files(tmp_path) == {"net.tflite"}


def test_a_search_that_finds_nothing_fails(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(uncompilable(), tmp_path / "net.tflite")
    result = compiler("-d", "-k", "9", "net.tflite")
    assert result.code == 1
    assert result.out.count("Try to compile segment with") == 1
    assert result.out.endswith("Compilation failed! \n")
    assert files(tmp_path) == {"net.tflite"}


def test_the_time_limit_ends_the_compilation_and_leaves_nothing(
    compiler: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atoll.compiler.emit import Compiled

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr(Compiled, "write", lambda *_: time.sleep(1000))  # in the child: it is a fork
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("-t", "1", "net.tflite", "-o", "new")
    assert result.code == 1
    assert "Compilation timeout." in result.out
    assert result.out.endswith("Compilation failed! \n")
    assert "1 seconds" in result.err
    assert files(tmp_path) == {"net.tflite"}
    assert not list(scratch.iterdir())
    assert not (tmp_path / "new").exists()


def test_a_bug_of_ours_is_an_internal_error(
    compiler: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atoll.compiler.emit import Compiled

    def broken(*_: object) -> None:
        raise AssertionError("a rule of ours was broken")

    monkeypatch.setattr(Compiled, "write", broken)
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("net.tflite")
    assert result.code == 1
    assert result.out.endswith("Internal compiler error. Aborting! \n")
    assert "a rule of ours was broken" in result.err
    assert files(tmp_path) == {"net.tflite"}


def test_a_child_that_dies_is_an_internal_error(
    compiler: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from atoll.compiler.emit import Compiled

    monkeypatch.setattr(Compiled, "write", lambda *_: os._exit(9))
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("net.tflite")
    assert result.code == 1
    assert result.out.endswith("Internal compiler error. Aborting! \n")
    assert files(tmp_path) == {"net.tflite"}


def test_a_full_disk_leaves_nothing(
    compiler: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_model(chain(), tmp_path / "net.tflite")
    monkeypatch.setattr(Path, "write_bytes", full)
    result = compiler("net.tflite", "-o", "new")
    assert result.code == 1
    assert "the disk is full" in result.err and "TMPDIR" in result.err
    assert files(tmp_path) == {"net.tflite"}
    assert not (tmp_path / "new").exists()


def test_names_reach_the_terminal_without_control_characters(compiler: Callable[..., Result], tmp_path: Path) -> None:
    name = "net\x1b[2J\u202e"
    write_model(chain(), tmp_path / f"{name}.tflite")
    good, bad = compiler(f"{name}.tflite"), compiler(f"{name}.tflite", "-i", "\x1b]0;owned\x07")
    assert (good.code, bad.code) == (0, 1) and "net\\x1b[2J\\u202e" in good.out and "\\x1b]0;owned" in bad.err
    assert all(line.isprintable() for text in (good.out, bad.out, bad.err) for line in text.split("\n"))


@pytest.mark.parametrize("name", ["x" * 300, "net.tflite/x"])
def test_a_directory_that_cannot_be_is_named(compiler: Callable[..., Result], tmp_path: Path, name: str) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("net.tflite", "-o", name)
    assert result.code == 1 and f"cannot write to {name}: " in result.err and "Traceback" not in result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_an_output_that_takes_nothing_is_said() -> None:
    program = "from atoll.vendor_tools.entry_points import edgetpu_compiler; edgetpu_compiler()"
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", program, "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and done.stderr == "error: standard output: No space left on device\n"


def test_ctrl_c_ends_it_quietly(tmp_path: Path) -> None:
    """As a process of its own: the child ignores the signal, the parent ends the child."""
    import signal

    write_model(chain(), tmp_path / "net.tflite")
    program = (
        "import time; from atoll.compiler.emit import Compiled; from atoll.vendor_tools.edgetpu_compiler import main\n"
        "def wait(*_):\n    open('started', 'w').close(); time.sleep(1000)\n"
        "Compiled.write = wait\n"
        "main(['net.tflite'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert files(tmp_path) == {"net.tflite", "started"}
