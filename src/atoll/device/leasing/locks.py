"""A path → a lock that the operating system takes back when its holder dies, however it dies.

Own code instead of `filelock`: that truncates the file it locks (ours say who holds it), creates it in a way that
`fs.protected_regular` forbids for another user's file, and does not give the descriptor that a command inherits.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import weakref
from pathlib import Path

from atoll.errors import LeaseDirectoryError, LeaseFileError, LeaseFileSystemError

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30
    """Which byte is locked: Windows forbids others to read a locked region, and they have to read who holds it."""

    def _flock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _flock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        # Closing is not enough: a child that another thread is just starting has a copy until its exec.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


_RECORD = 512

_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

_held: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A lock that is held until ``release``, or until every process that has its descriptor is gone."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        _held.add(self)

    def write(self, content: bytes) -> None:
        """Replace what the file says (a text without NUL); readers see it with :func:`read`."""
        record = content.ljust(_RECORD, b"\0")
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        os.write(self.descriptor, record)
        if os.fstat(self.descriptor).st_size > len(record):  # rarely: cutting a file waits for the journal
            os.ftruncate(self.descriptor, len(record))

    def release(self) -> None:
        """Free the lock; a second call does nothing."""
        if self.descriptor >= 0:
            _unlock(self.descriptor)
            self.abandon()

    def abandon(self) -> None:
        """Close this process's copy of the descriptor; whoever has another one keeps the lock."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.abandon()


def try_lock(path: Path) -> Lock | None:
    """Lock a file, making it if need be; None when somebody else (another thread, too) holds it.

    Raises:
        LeaseDirectoryError: the file cannot be made, opened or locked.
    """
    descriptor = _open(path)
    try:
        _flock(descriptor)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return None
        raise LeaseFileSystemError(
            f"{path} cannot be locked: {error.strerror}", "Name a directory on a local disk in ATOLL_LEASE_DIR."
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    return Lock(path, descriptor)


def read(path: Path) -> bytes:
    """What the file says, b"" when there is none; at most 64 KiB."""
    try:
        with path.open("rb") as file:
            return file.read(1 << 16).rstrip(b"\0")
    except OSError:
        return b""


def _open(path: Path) -> int:
    try:
        try:
            # Without O_CREAT first: Linux forbids it for another user's file in a sticky directory.
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:
            descriptor = os.open(path, _FLAGS | os.O_CREAT, 0o666)
            if hasattr(os, "fchmod") and os.fstat(descriptor).st_uid == os.geteuid():
                os.fchmod(descriptor, 0o666)  # whatever the umask: other users share the devices
    except OSError as error:
        raise _unusable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LeaseFileError(f"{path} is not a file, so it cannot be locked", "Remove it.")
    return descriptor


def _unusable(path: Path, error: OSError) -> LeaseDirectoryError:
    if path.is_symlink() or path.exists():
        return LeaseFileError(
            f"the lock file {path} cannot be opened: {error.strerror}",
            "It is left over from another user or program. Remove it, or name another directory in ATOLL_LEASE_DIR.",
        )
    return LeaseDirectoryError(
        f"the lease directory {path.parent} is not writable: {error.strerror}",
        "Every user of the devices must be able to write there. Set ATOLL_LEASE_DIR to a directory that all share.",
    )


def _forget() -> None:
    """In a forked child: its copies of the descriptors would keep the locks after the parent's death."""
    for lock in list(_held):
        lock.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
