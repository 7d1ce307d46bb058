"""`edgetpu_compiler`: options, output, exit status and files as with the vendor's, and bad input."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from atoll.compiler.external.report_parser import ParsedAttempt, parse_vendor
from atoll.model import Buffer, DType, Model, Tensor
from atoll.model.tflite import read_model, write_model
from atoll.vendor_tools import edgetpu_compiler
from builders import GraphBuilder, branched, chain

VERSION = "Edge TPU Compiler version 16.0.384591198"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


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


def test_version_and_help(compiler: Callable[..., Result]) -> None:
    for flag in ("-v", "--version"):
        assert compiler(flag) == Result(0, f"{VERSION}\n", "")
    for flag in ("-h", "--help"):
        result = compiler(flag)
        assert result.code == 0
        assert result.out.startswith(f"{VERSION}\n\nUsage:\nedgetpu_compiler [options] model...\n")
    for option in ("-i", "-m", "-n", "-o", "-s", "-d", "-k", "-t", "-v", "-a", "-h"):
        assert f"  {option}, --" in result.out


def test_a_model_is_compiled_and_its_report_is_read_back(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("net.tflite")
    assert result.code == 0
    assert result.err == ""
    assert files(tmp_path) == {"net.tflite", "net_edgetpu.tflite", "net_edgetpu.log"}
    lines = result.out.splitlines()
    assert lines[:3] == [VERSION, "Started a compilation timeout timer of 180 seconds.", ""]
    assert lines[-2:] == ["Compilation child process completed within timeout period.", "Compilation succeeded! "]
    (model,) = parse_vendor(result.out).models
    assert (model.input_model, model.output_model) == ("net.tflite", "net_edgetpu.tflite")
    assert model.operation_log == "net_edgetpu.log"
    assert (model.subgraphs, model.total_operators) == (1, 6)
    assert "See the operation log file for individual operation details." in lines
    (logged,) = parse_vendor((tmp_path / "net_edgetpu.log").read_text()).models
    assert [(row.operator, row.count, row.status) for row in logged.operators] == [("CONV_2D", 6, "Mapped to Edge TPU")]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-sa", "net.tflite"),
        ("-aaas", "net.tflite"),
        ("net.tflite", "-s"),
        ("--show_operations", "net.tflite", "-t", "60"),
        ("net.tflite", "--timeout_sec=60", "-s", "-s"),
    ],
)
def test_flags_bundle_repeat_and_follow_models(
    compiler: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler(*arguments)
    assert result.code == 0
    (model,) = parse_vendor(result.out).models
    assert sum(row.count for row in model.operators) == 6


@pytest.mark.parametrize("directory", ["out", "out/deep", "."])
def test_the_output_directory_is_made_and_printed_as_given(
    compiler: Callable[..., Result], tmp_path: Path, directory: str
) -> None:
    (tmp_path / "in").mkdir()
    write_model(chain(), tmp_path / "in" / "net.tflite")
    result = compiler("in/net.tflite", "-o", directory)
    assert result.code == 0
    (model,) = parse_vendor(result.out).models
    assert model.input_model == "in/net.tflite"
    assert model.output_model == f"{directory}/net_edgetpu.tflite"
    assert (tmp_path / directory / "net_edgetpu.tflite").exists()
    assert (tmp_path / directory / "net_edgetpu.log").exists()


def test_segments_have_a_block_each(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("--num_segments=3", "net.tflite")
    assert result.code == 0
    assert result.out.count(VERSION) == 1
    assert result.out.count("Started a compilation timeout timer") == 3
    assert result.out.count("Compilation succeeded! \n") == 3
    names = [f"net_segment_{i}_of_3" for i in range(3)]
    models = parse_vendor(result.out).models
    assert [m.input_model for m in models] == [f"{name}.tflite" for name in names]
    assert [m.output_model for m in models] == [f"{name}_edgetpu.tflite" for name in names]
    assert sum(m.total_operators or 0 for m in models) == 6
    assert files(tmp_path) == {"net.tflite"} | {f"{n}_edgetpu.{e}" for n in names for e in ("tflite", "log")}


def test_several_models_share_a_token(compiler: Callable[..., Result], tmp_path: Path) -> None:
    from atoll.compiler.package_format import read_package

    for seed, name in enumerate("ab"):
        write_model(chain(seed=seed), tmp_path / f"{name}.tflite")
    result = compiler("a.tflite", "b.tflite", "-s")
    assert result.code == 0
    assert "\nModels compiled successfully in " in result.out
    first, second = parse_vendor(result.out).models
    assert first.on_chip_remaining == second.on_chip_remaining
    tokens = set()
    for name in "ab":
        (operator,) = read_model(tmp_path / f"{name}_edgetpu.tflite").main.operators
        tokens |= {item.token for item in read_package(operator.custom_options).executables}
    assert len(tokens) == 1


def test_compiling_twice_gives_the_same_files(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(branched(), tmp_path / "net.tflite")
    contents = []
    for _ in range(2):
        assert compiler("net.tflite").code == 0
        contents.append([(tmp_path / f"net_edgetpu.{end}").read_bytes() for end in ("tflite", "log")])
    assert contents[0] == contents[1]


def test_mapping_stops_at_the_named_tensors(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("-s", "-i", "conv_2", "net.tflite")
    (model,) = parse_vendor(result.out).models
    assert (model.mapped_operators, model.cpu_operators) == (3, 3)
    compiled = read_model(tmp_path / "net_edgetpu.tflite").main
    assert [compiled.tensors[i].name for i in compiled.outputs] == ["conv_5"]
    assert compiled.tensors[compiled.operators[0].outputs[0]].name == "conv_2"


def test_lists_of_co_compiled_models_have_colons_between_and_in_their_names(
    compiler: Callable[..., Result], tmp_path: Path
) -> None:
    first = chain()
    renamed = tuple(replace(t, name="Call:1") if t.name == "conv_1" else t for t in first.main.tensors)
    write_model(replace(first, graphs=(replace(first.main, tensors=renamed),)), tmp_path / "a.tflite")
    write_model(chain(seed=1), tmp_path / "b.tflite")
    result = compiler("-i", "Call:1:conv_3", "a.tflite", "b.tflite")
    assert result.code == 0
    assert [m.mapped_operators for m in parse_vendor(result.out).models] == [2, 4]
    result = compiler("-i", ":conv_3", "a.tflite", "b.tflite")
    assert [m.mapped_operators for m in parse_vendor(result.out).models] == [None, 4]
    assert compiler("-i", "conv_0:conv_3:conv_4", "a.tflite", "b.tflite").code == 1


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
        ("-m", "15", "a.tflite"),
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


@pytest.mark.parametrize(("options", "tried"), [(("-d",), (6, 5, 4)), (("-d", "-k", "2"), (6, 4)), (("-dk5",), (6, 1))])
def test_the_search_steps_back_until_it_compiles(
    compiler: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], tried: tuple[int, ...]
) -> None:
    write_model(uncompilable(), tmp_path / "net.tflite")
    result = compiler(*options, "net.tflite")
    assert result.code == 0
    report = parse_vendor(result.out)
    assert report.attempts == tuple(ParsedAttempt(n, () if n == 6 else (f"conv_{n - 1}",)) for n in tried)
    assert result.out.count("Compilation failed! \n") == len(tried) - 1
    assert (report.succeeded, report.models[0].mapped_operators) == (True, tried[-1])


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
    from atoll.files import StagedFiles

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_model(chain(), tmp_path / "net.tflite")
    monkeypatch.setattr(StagedFiles, "write", full)
    result = compiler("net.tflite", "-o", "new")
    assert result.code == 1
    assert "the disk is full" in result.err
    assert files(tmp_path) == {"net.tflite"}
    assert not (tmp_path / "new").exists()


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


def test_nothing_maps_and_it_still_compiles(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("-m", "10", "net.tflite")
    assert result.code == 0
    (model,) = parse_vendor(result.out).models
    assert model.subgraphs == 0
    for size in (model.on_chip_used, model.on_chip_remaining, model.off_chip_used):
        assert size is not None and size.text == "0.00B"
    assert model.cpu_operators == 6
