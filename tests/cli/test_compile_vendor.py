"""`atoll compile` with the vendor's compiler, and `--partition` with either: as their users meet them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atoll.compiler.external.installed import NAME, VARIABLE, _examine
from atoll.model.tflite import read_model
from standin_compiler import VERSION, install

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the vendor's compiler is for Linux")

Atoll = Callable[..., Any]


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with our own command of the vendor's name, as pip installs it."""
    _examine.cache_clear()
    monkeypatch.delenv(VARIABLE, raising=False)
    own = tmp_path / "own" / NAME
    own.parent.mkdir()
    own.write_text(
        f"#!{sys.executable}\nfrom atoll.vendor_tools.entry_points import edgetpu_compiler\nedgetpu_compiler()\n"
    )
    own.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join((str(own.parent), str(tmp_path / "bin"), "/usr/bin", "/bin")))
    return tmp_path / "bin"


def test_our_own_command_is_not_the_vendors(atoll: Atoll, chain_file: Path, path: Path, tmp_path: Path) -> None:
    result = atoll("compile", chain_file, "-o", tmp_path / "out", "-n", 2)
    assert result.code == 0
    assert "atoll's own, for virtual devices" in result.err
    assert "remaining" in result.out
    assert atoll("compile", chain_file, "-o", tmp_path / "out", "--quiet").err == ""
    result = atoll("compile", chain_file, "--codegen", "vendor")
    assert (result.code, "apt install edgetpu-compiler" in result.err) == (110, True)
    result = atoll("compile", chain_file, "--compiler", tmp_path / "own" / NAME)
    assert (result.code, "atoll's own command" in result.err) == (111, True)


def test_the_vendors_is_used_when_it_is_there(atoll: Atoll, chain_file: Path, path: Path, tmp_path: Path) -> None:
    install(path)
    result = atoll("compile", chain_file, "-o", tmp_path / "out", "-n", 2)
    assert result.code == 0
    assert f"the vendor's compiler {VERSION}, {path / NAME}" in result.err
    rows = [line.split() for line in result.out.splitlines()]
    assert [row[1] for row in rows if row and "edgetpu.tflite" in row[0] and row[1] == "vendor"] == ["vendor"] * 2
    assert "agree on every figure" in result.out
    result = atoll("compile", chain_file, "-o", tmp_path / "own files", "--codegen", "virtual")
    assert (result.code, result.err) == (0, "")


def test_json_has_prediction_and_answer(
    atoll: Atoll, chain_file: Path, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = install(path)
    monkeypatch.setenv("STANDIN_COMPILER", "chain=stop:conv_2")
    result = atoll("compile", chain_file, "-o", tmp_path / "out", "--json", "--compiler", command, "-m", 13)
    content = json.loads(result.out)
    assert content["schema"] == "atoll.compile/2"
    assert (content["compiler"], content["compiler_path"]) == (f"the vendor's compiler {VERSION}", str(command))
    (compiled,), (file,) = content["files"], content["agreements"]
    assert Path(content["directory"], compiled["output"]).stat().st_size == compiled["output_bytes"]
    assert Path(content["directory"], compiled["log"]).exists()
    assert compiled["mapped_operators"] == 3
    assert file["searched"] is True
    assert (file["predicted"]["mapped"], file["vendor"]["mapped"]) == ({"CONV_2D": 6}, {"CONV_2D": 3})
    assert {"what": "operators on the Edge TPU", "predicted": "6", "vendor": "3"} in file["differences"]


@pytest.mark.parametrize("codegen", ["virtual", "vendor"])
def test_cut_as_a_file_says(atoll: Atoll, chain_file: Path, path: Path, tmp_path: Path, codegen: str) -> None:
    from atoll import toolchain
    from atoll.partitioning import partition_of, write_partition

    install(path)
    graph = toolchain.load(chain_file).main
    write_partition(tmp_path / "cuts.json", graph, partition_of(graph, [[0], [1, 2, 3, 4, 5]], "by hand"))
    options = "-o", tmp_path / "out", "--codegen", codegen
    result = atoll("compile", chain_file, "--partition", tmp_path / "cuts.json", *options)
    assert result.code == 0, result.err
    second = read_model(tmp_path / "out" / "chain_segment_1_of_2_edgetpu.tflite").main
    assert [second.tensors[i].name for i in second.inputs] == ["conv_0"]
    (tmp_path / "bad.json").write_text((tmp_path / "cuts.json").read_text().replace('"conv_0"', '"conv_1"'))
    result = atoll("compile", chain_file, "--partition", tmp_path / "bad.json", *options)
    assert (result.code, "bad.json" in result.err) == (40, True)
    assert atoll("compile", chain_file, "--partition", tmp_path / "none.json", *options).code == 11


def test_options_that_exclude_each_other(atoll: Atoll, chain_file: Path, branched_file: Path, path: Path) -> None:
    command = install(path)
    for arguments in (
        ("--partition", "x.json", "-n", "2"),
        ("--partition", "x.json", branched_file),
        ("--codegen", "virtual", "--compiler", command),
        ("--codegen", "vendor", "--generation", "15"),
        ("--codegen", "vendor", "-i", "conv_0"),
        ("--codegen", "vendor", branched_file),
    ):
        result = atoll("compile", chain_file, *arguments)
        assert (result.code, bool(result.err)) == (2, True), arguments


def test_what_only_ours_can_is_done_by_ours(
    atoll: Atoll, chain_file: Path, branched_file: Path, path: Path, tmp_path: Path
) -> None:
    install(path)
    result = atoll("compile", chain_file, branched_file, "-o", tmp_path / "out")
    assert result.code == 0
    assert "only it has several models on one Edge TPU" in result.err


@pytest.mark.parametrize(("how", "code"), [("refuse", 112), ("garbage", 114)])
def test_each_failure_has_its_code(
    atoll: Atoll, chain_file: Path, path: Path, tmp_path: Path, how: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(path)
    monkeypatch.setenv("STANDIN_COMPILER", f"chain={how}")
    result = atoll("compile", chain_file, "-o", tmp_path / "out")
    assert (result.code, str(chain_file) in result.err) == (code, True)
    assert not (tmp_path / "out").exists()


def test_a_compiler_that_is_none(atoll: Atoll, chain_file: Path, path: Path) -> None:
    path.mkdir()
    (path / NAME).write_text("#!/bin/sh\necho compiled\n")
    (path / NAME).chmod(0o755)
    result = atoll("compile", chain_file)
    assert result.code == 111
    assert "is not the vendor's compiler: it says 'compiled'" in result.err
    assert "--codegen virtual" in result.err
