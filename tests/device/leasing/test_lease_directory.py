"""Directories in which no lease can be taken, and what is said about them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.device.leasing import directory as leasedir
from atoll.device.leasing.lease import lease
from atoll.errors import (
    LeaseDirectoryError,
    LeaseFileError,
    LeaseFileSystemError,
)
from atoll.model import Model

Save = Callable[[Model], Path]


def test_directory_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(leasedir.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(LeaseDirectoryError, match="is a file"):
        lease().acquire()
    monkeypatch.setenv(leasedir.VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(LeaseDirectoryError, match="cannot be made"):
        lease().acquire()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_directory_without_permission(own_directory: Path) -> None:
    own_directory.mkdir(mode=0o500)
    with pytest.raises(LeaseDirectoryError, match="is not writable"):
        lease().acquire()


def test_network_file_system(tmp_path: Path, own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    lines = [
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw",
        f"30 21 0:50 / {own_directory.parent} rw shared:1 - nfs4 server:/ rw",
    ]
    mounts.write_text("\n".join(lines))
    monkeypatch.setattr(leasedir, "MOUNTS", mounts)
    with pytest.raises(LeaseFileSystemError, match=r"network file system \(nfs4\)"):
        lease().acquire()
    assert leasedir.file_system(Path("/"), mounts) == "ext4"


def test_lock_file_that_is_none(own_directory: Path) -> None:
    own_directory.mkdir()
    (own_directory / "device-virtual%3Apci%3A0.lock").mkdir()
    with pytest.raises(LeaseFileError, match=r"device-virtual.*cannot be opened"):
        lease().acquire()
    os.mkfifo(own_directory / "device-virtual%3Apci%3A1.lock")
    with pytest.raises(LeaseFileError, match="is not a file"):
        lease(devices=["pci:1"]).acquire()
