"""Which compiler: what the user asked for, what is installed, and what will run the result decide."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from atoll.compiler.choosing import Codegen, choose_compiler
from atoll.compiler.external.installed import VARIABLE, _examine
from atoll.compiler.external.vendor_compiler import VendorCompiler
from atoll.errors import CompilerInvalidError, CompilerMissingError, UsageError
from standin_compiler import VERSION, install

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the vendor's compiler is for Linux")


@pytest.mark.parametrize("mode", ["auto", "virtual", "vendor"])
@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("installed", [False, True])
def test_choice(mode: Codegen, real: bool, installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _examine.cache_clear()
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    if installed:
        install(tmp_path / "bin")
    said: list[str] = []
    if mode == "vendor" and not installed:
        with pytest.raises(CompilerMissingError) as caught:
            choose_compiler(mode, real_devices=real)
        assert "apt install edgetpu-compiler" in caught.value.hint
        return
    found = choose_compiler(mode, real_devices=real, on_message=said.append)
    vendor = installed and (mode == "vendor" or (mode == "auto" and real))
    assert found.virtual != vendor
    if mode != "virtual":
        assert len(said) == 1
        assert ("the vendor's compiler " + VERSION in said[0]) == vendor


def test_choice_of_a_named_compiler(tmp_path: Path) -> None:
    path = str(install(tmp_path / "bin"))
    found = choose_compiler("auto", path, real_devices=False)  # whoever names one wants it
    assert found == VendorCompiler(path, VERSION)
    with pytest.raises(UsageError, match="--codegen virtual does not use it"):
        choose_compiler("virtual", path, real_devices=True)
    (tmp_path / "bin" / "cc").write_text("#!/bin/sh\necho gcc 12\n")
    (tmp_path / "bin" / "cc").chmod(0o755)
    for mode in ("auto", "vendor"):
        with pytest.raises(CompilerInvalidError, match="gcc 12") as caught:
            choose_compiler(mode, str(tmp_path / "bin" / "cc"), real_devices=True)
        assert "--codegen virtual" in caught.value.hint
