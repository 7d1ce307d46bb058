"""The environment → the directory where all processes of this machine meet to share its devices."""

from __future__ import annotations

import functools
import os
import stat
import sys
import tempfile
from pathlib import Path

from atoll.errors import LeaseDirectoryError, LeaseFileSystemError

VARIABLE = "ATOLL_LEASE_DIR"
"""Environment variable that names another directory; whoever shares devices must share it."""

NETWORK_FILE_SYSTEMS = frozenset(
    {"afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)
"""Whose locks are slow, lost with the connection, or seen on one machine only."""

MOUNTS = Path("/proc/self/mountinfo")


def lease_directory() -> Path:
    """``ATOLL_LEASE_DIR``, or one place for all users of the machine (devices belong to it, not to a user)."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("PROGRAMDATA") or tempfile.gettempdir()) / "atoll" / "leases"
    # Not $TMPDIR nor $XDG_RUNTIME_DIR: they differ from user to user, and two users would get one device.
    return _shared_directory() / "atoll-leases"


def _shared_directory() -> Path:
    locks = Path("/run/lock")
    try:
        mode = locks.stat().st_mode
    except OSError:
        return Path("/tmp")
    # Decided by its mode and not by whether this user may write, so that all users decide alike.
    return locks if stat.S_ISDIR(mode) and mode & stat.S_IWOTH else Path("/tmp")


def prepare(directory: Path) -> None:
    """Make the directory if it is not there.

    Raises:
        LeaseDirectoryError: it cannot be made, or is not a directory.
        LeaseFileSystemError: it lies on a network file system.
    """
    if not directory.is_dir():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not os.environ.get(VARIABLE):
                directory.chmod(0o1777)
        except FileExistsError as error:
            raise LeaseDirectoryError(
                f"the lease directory {directory} is a file", f"Remove it, or name another one in {VARIABLE}."
            ) from error
        except OSError as error:
            raise LeaseDirectoryError(
                f"the lease directory {directory} cannot be made: {error.strerror}",
                f"Set {VARIABLE} to a directory that all users of the devices may write to.",
            ) from error
    kind = file_system(directory, MOUNTS)
    if kind in NETWORK_FILE_SYSTEMS:
        raise LeaseFileSystemError(
            f"the lease directory {directory} lies on a network file system ({kind}): its locks do not protect devices",
            f"Set {VARIABLE} to a directory on this machine, such as /run/lock/atoll-leases.",
        )


@functools.lru_cache(maxsize=16)
def file_system(directory: Path, mounts: Path) -> str:
    """Type of the file system that ``directory`` lies on, as Linux names it; "" where that is not known."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    real, best, kind = str(directory.resolve()) + "/", 0, ""
    for line in lines:
        # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw      (proc(5))
        mount, _, tail = line.partition(" - ")
        fields, source = mount.split(" "), tail.split(" ")
        if len(fields) < 5:
            continue
        point = fields[4].replace("\\040", " ").rstrip("/") + "/"
        if real.startswith(point) and len(point) >= best:
            best, kind = len(point), source[0]
    return kind
