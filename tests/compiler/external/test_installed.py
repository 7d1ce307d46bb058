"""The vendor's compiler is found, never mistaken, run side by side, and its failures are explained."""

from __future__ import annotations

import ast
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.compiler.external.calling import VendorResult
from atoll.compiler.external.installed import NAME, VARIABLE, Program, _examine, find_compiler
from atoll.compiler.external.vendor_compiler import VendorCompiler
from atoll.compiler.interface import CompileOptions
from atoll.errors import (
    CompilerFailedError,
    CompilerInvalidError,
    CompilerMissingError,
    CompilerTimeoutError,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the vendor's compiler is for Linux")

STANDIN = """#!{python} -S
import os, pathlib, sys, time
arguments = sys.argv[1:]
pathlib.Path({log!r}).open("a").write(repr(arguments) + chr(10))
print("Edge TPU Compiler version {version}")
if "--version" in arguments:
    sys.exit(0)
model = pathlib.Path(arguments[-1])
directory = pathlib.Path(arguments[arguments.index("-o") + 1])
if not model.exists():
    sys.exit("Invalid model: " + str(model))
fails = model.read_text()
if fails == "crash":
    os.abort()
if fails == "hang":
    os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
    time.sleep(1000)
if fails == "silent":
    sys.exit(1)
if fails == "lies":
    sys.exit(0)
if fails == "later" and "-d" not in arguments or fails not in ("fine", "later"):
    print("Compilation failed: " + fails)
    print("Compilation failed! ")
    sys.exit(1)
print("Model compiled successfully in 3 ms.")
(directory / (model.stem + "_edgetpu.tflite")).write_text("compiled")
(directory / (model.stem + "_edgetpu.log")).write_text("log")
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    _examine.cache_clear()


def install(tmp_path: Path, version: str = "16.0.384591198", folder: str = "bin") -> Path:
    path = tmp_path / folder / NAME
    path.parent.mkdir(exist_ok=True)
    path.write_text(STANDIN.format(python=sys.executable, version=version, log=str(tmp_path / "calls")))
    path.chmod(0o755)
    return path


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def compiler(tmp_path: Path) -> VendorCompiler:
    install(tmp_path)
    found = find_compiler()
    assert found is not None
    return VendorCompiler(found.path, found.version)


def compiled(compiler: VendorCompiler, path: Path, *, retry: bool = True, **options: int) -> VendorResult:
    """One file, as the compiler asks for each of several."""
    asked = replace(compiler, options=CompileOptions(**options))  # type: ignore[arg-type]
    return asked._call.compile(path, path.parent, retry=retry)


def model(tmp_path: Path, behaviour: str, name: str = "net") -> Path:
    path = tmp_path / f"{name}.tflite"
    path.write_text(behaviour)
    return path


def calls(tmp_path: Path) -> list[list[str]]:
    return [ast.literal_eval(line) for line in (tmp_path / "calls").read_text().splitlines() if "--version" not in line]


def test_found_in_path(tmp_path: Path) -> None:
    assert find_compiler() is None
    path = install(tmp_path)
    assert find_compiler() == Program(str(path), "16.0.384591198")


def test_named_by_option_and_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = install(tmp_path, "15.0.340273435", "elsewhere")
    assert find_compiler(str(other)) == Program(str(other), "15.0.340273435")
    monkeypatch.setenv(VARIABLE, str(other))
    assert find_compiler() == Program(str(other), "15.0.340273435")
    monkeypatch.setenv(VARIABLE, "none")
    assert find_compiler() is None


def test_our_own_command_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As installed by pip, and behind a wrapper that does not show what it runs."""
    own = script(
        tmp_path / "bin" / NAME, f"#!{sys.executable}\nfrom atoll.vendor_tools.edgetpu_compiler import main\nmain()\n"
    )
    wrapper = script(tmp_path / "shims" / NAME, f'#!/bin/sh\nexec "{own}" "$@"\n')
    for path in (own, wrapper):
        with pytest.raises(CompilerInvalidError, match="atoll's own command"):
            find_compiler(str(path))
    assert find_compiler() is None
    theirs = install(tmp_path, folder="real")
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / name) for name in ("shims", "bin", "real")))
    found = find_compiler()
    assert found is not None
    assert found.path == str(theirs)


def test_things_that_are_no_compiler(tmp_path: Path) -> None:
    with pytest.raises(CompilerMissingError, match="no vendor compiler 'nowhere'"):
        find_compiler("nowhere")
    with pytest.raises(CompilerInvalidError, match="it says 'gcc 12'"):
        find_compiler(str(script(tmp_path / "bin" / "cc", "#!/bin/sh\necho gcc 12\n")))
    with pytest.raises(CompilerInvalidError, match="it says 'nothing'"):
        find_compiler(str(script(tmp_path / "bin" / "mute", "#!/bin/sh\n")))
    broken = tmp_path / "bin" / "broken"
    broken.write_bytes(b"\x7fELF garbage")
    broken.chmod(0o755)
    with pytest.raises(CompilerInvalidError, match="cannot be run"):
        find_compiler(str(broken))


def test_compile(tmp_path: Path, compiler: VendorCompiler) -> None:
    result = compiled(compiler, model(tmp_path, "fine"), min_runtime=13, seconds=50)
    assert result.output.read_text() == "compiled"
    assert result.log.read_text() == "log"
    assert "compiled successfully" in result.text
    assert not result.searched
    assert calls(tmp_path) == [["-s", "-o", str(tmp_path), "-t", "50", "-m", "13", str(tmp_path / "net.tflite")]]


def test_failures_are_stepped_around_where_that_can_help(tmp_path: Path, compiler: VendorCompiler) -> None:
    assert compiled(compiler, model(tmp_path, "later")).searched
    assert ["-d" in call for call in calls(tmp_path)] == [False, True]
    with pytest.raises(CompilerFailedError):
        compiled(VendorCompiler(compiler.path, "15.0.1"), model(tmp_path, "later"))
    before = len(calls(tmp_path))
    with pytest.raises(CompilerFailedError, match="Model not quantized"):
        compiled(compiler, model(tmp_path, "Model not quantized"))
    assert len(calls(tmp_path)) == before + 1


@pytest.mark.parametrize(
    ("behaviour", "message", "hint"),
    [
        ("Compilation failed due to large activation tensors in model.", "large activation", "cut before it"),
        ("crash", "killed by signal 6", "The compiler crashed"),
        ("silent", "Edge TPU Compiler version", "atoll check"),
        ("lies", "Edge TPU Compiler version", "atoll check"),
        ("some new reason", "failed with status 1; it printed: Edge TPU", "atoll check"),
    ],
)
def test_failures_are_explained(
    tmp_path: Path, compiler: VendorCompiler, behaviour: str, message: str, hint: str
) -> None:
    with pytest.raises(CompilerFailedError, match=message) as caught:
        compiled(compiler, model(tmp_path, behaviour))
    assert str(tmp_path / "net.tflite") in caught.value.message
    assert hint in caught.value.hint


def test_time_limit_kills_it_and_its_children(
    tmp_path: Path, compiler: VendorCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atoll.compiler.external import calling as internals

    monkeypatch.setattr(internals, "GRACE", 0.5)
    begin = time.monotonic()
    with pytest.raises(CompilerTimeoutError, match="did not finish within 0 s"):
        compiled(compiler, model(tmp_path, "hang"), retry=False, seconds=0)
    assert time.monotonic() - begin < 500  # the child that sleeps 1,000 s held its output open


def test_what_prints_without_end_is_stopped(tmp_path: Path) -> None:
    flood = script(tmp_path / "flood", "#!/bin/sh\nexec /bin/cat /dev/zero\n")
    with pytest.raises(CompilerInvalidError, match="not the vendor's compiler"):
        find_compiler(str(flood))
    with pytest.raises(CompilerFailedError, match=r"printed more than 1048576 bytes and was stopped") as caught:
        compiled(VendorCompiler(str(flood), "16.0"), model(tmp_path, "fine"))
    assert len(str(caught.value)) < 1000


def test_segments_side_by_side(tmp_path: Path, compiler: VendorCompiler) -> None:
    models = [model(tmp_path, "fine", f"net_segment_{i}_of_4") for i in range(4)]
    results = compiler.compile_files(models, tmp_path, jobs=2)
    assert [result.model for result in results] == models
    assert all(result.output.exists() for result in results)
    models[2].write_text("Model not quantized")
    with pytest.raises(CompilerFailedError, match="segment_2_of_4"):
        compiler.compile_files(models, tmp_path)


def test_a_failure_ends_the_others(tmp_path: Path, compiler: VendorCompiler) -> None:
    models = [model(tmp_path, "Model not quantized", "bad"), model(tmp_path, "hang", "slow")]
    begin = time.monotonic()
    with pytest.raises(CompilerFailedError, match="bad"):
        compiler.compile_files(models, tmp_path, jobs=2)
    assert time.monotonic() - begin < 100  # the limit is 190 s, the stand-in hangs for 1,000 s


def test_a_broken_compiler_in_path_is_told(tmp_path: Path) -> None:
    script(tmp_path / "bin" / NAME, "#!/bin/sh\nexit 3\n")
    with pytest.raises(CompilerInvalidError, match="not the vendor's compiler"):
        find_compiler()


def test_a_compiler_that_was_removed(tmp_path: Path, compiler: VendorCompiler) -> None:
    Path(compiler.path).unlink()
    with pytest.raises(CompilerMissingError, match="cannot be run: it, or its interpreter, is gone"):
        compiled(compiler, model(tmp_path, "fine"))
