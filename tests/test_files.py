"""Output appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atoll.errors import OutputError
from atoll.files import output_directory, write_file


def test_files_appear_together(tmp_path: Path) -> None:
    with output_directory(tmp_path / "a/b") as output:
        assert output.write("x", b"1") == tmp_path / "a/b/x"
        output.write("y", "text")
        assert not (tmp_path / "a/b/x").exists()
    assert (tmp_path / "a/b/x").read_bytes() == b"1" and (tmp_path / "a/b/y").read_text() == "text"
    assert sorted(os.listdir(tmp_path / "a/b")) == ["x", "y"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_a_failure(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), output_directory(tmp_path / "a/b") as output:
        output.write("x", b"1")
        raise error
    assert os.listdir(tmp_path) == []


def test_an_old_file_survives_a_failure(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    (tmp_path / "y").mkdir()
    with pytest.raises(OutputError, match="is a directory"), output_directory(tmp_path) as output:
        output.write("x", b"new")
        output.write("y", b"new")
    assert (tmp_path / "x").read_text() == "old" and sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"1")
    (tmp_path / "plain").write_bytes(b"1")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full's file system errors")
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        return os.write(os.open("/dev/full", os.O_WRONLY), data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_file(tmp_path / "x", b"1")
    assert os.listdir(tmp_path) == []
