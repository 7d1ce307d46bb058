"""Output appears whole or not at all."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from atoll.errors import OutputError, UsageError
from atoll.files import (
    claim_output,
    map_file,
    one_command,
    output_directory,
    require_writable,
    require_writable_directory,
    scratch_directory,
    write_file,
    writing,
)


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


def test_a_command_replaces_no_file_that_it_read_or_wrote(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1")
    with one_command():
        map_file(tmp_path / "in")
        write_file(tmp_path / "out", "2")
        for name in ("in", "out"):
            with pytest.raises(UsageError, match=f"{name}.*"):
                write_file(tmp_path / name, "3")
            with pytest.raises(UsageError), output_directory(tmp_path) as output:
                output.write("new", "3")
                output.write(name, "3")
        map_file(tmp_path / "out")  # reading back what was written is nothing bad
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"in": "1", "out": "2"}
    with one_command():  # another command
        write_file(tmp_path / "in", "4")
    map_file(tmp_path / "in")
    write_file(tmp_path / "in", "5")  # a program that uses the library decides for itself


def test_a_name_kept_for_an_output_is_written_once_and_never_read(tmp_path: Path) -> None:
    with one_command():
        require_writable(tmp_path / "a/out")
        assert os.listdir(tmp_path) == []
        with pytest.raises(UsageError, match="two outputs"):
            require_writable(tmp_path / "a/../a/out")
        write_file(tmp_path / "a/out", "1")
        with pytest.raises(UsageError, match="two outputs"):
            write_file(tmp_path / "a/out", "2")
        require_writable(tmp_path / "model")
        (tmp_path / "model").write_text("model")
        with pytest.raises(UsageError, match=r"model is an input"):
            map_file(tmp_path / "model")


def test_a_claimed_file_is_written_again_by_its_owner_only(tmp_path: Path) -> None:
    with one_command():
        claim_output(tmp_path / "store")
        for text in ("1", "2"):
            write_file(tmp_path / "store", text, again=True)
        with pytest.raises(UsageError, match="two outputs"):
            write_file(tmp_path / "store", "3")
    assert (tmp_path / "store").read_text() == "2"


def test_a_place_that_takes_no_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for check, path in ((require_writable, "file/out"), (require_writable_directory, "file/a/b")):
        with pytest.raises(OutputError, match=f"{path}: a part of the path is a file"):
            check(tmp_path / path)
    with pytest.raises(OutputError, match="is a directory"):
        require_writable(tmp_path)
    (tmp_path / "pipe").symlink_to(os.devnull)
    for write in (require_writable, lambda path: write_file(path, "")):
        with pytest.raises(OutputError, match="not a regular file"):
            write(tmp_path / "pipe")
    (tmp_path / "pipe").unlink()
    assert os.listdir(tmp_path) == ["file"]


def test_names_that_no_file_can_have_are_named(tmp_path: Path) -> None:
    for name, reason in (("x" * 300, "the name is too long"), ("a\0b", "null")):
        for write in (require_writable, require_writable_directory, lambda path: write_file(path, "")):
            with pytest.raises(OutputError, match=rf"cannot write to .*: .*{reason}"):
                write(tmp_path / name)
    with pytest.raises(UsageError, match="empty"):
        require_writable("")
    assert os.listdir(tmp_path) == []


def test_an_error_of_something_else_is_not_the_output_s(tmp_path: Path) -> None:
    """While files are being made ready, others are read."""
    with pytest.raises(FileNotFoundError, match="absent"), output_directory(tmp_path / "new") as output:
        output.write("x", b"1")
        (tmp_path / "absent").read_bytes()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_says_which_file_or_tmpdir(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match=r"cannot write to .*x: the disk is full"), writing(tmp_path / "x"):
        raise full
    with scratch_directory() as folder:
        with pytest.raises(OutputError, match="temporary files") as caught, writing(folder / "within/x"):
            raise full
        assert folder.name not in str(caught.value) and "TMPDIR" in caught.value.hint
    assert not folder.exists()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are text")
def test_names_that_are_no_utf_8_keep_their_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"net\xff")
    write_file(tmp_path / name, f"of {name}")
    assert (tmp_path / name).read_bytes() == b"of net\xff"
