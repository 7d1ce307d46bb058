"""Files of the user: opened with an error that explains itself, written aside and renamed when complete."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atoll.errors import (
    EmptyFileError,
    FileAccessError,
    FileMissingError,
    IsDirectoryError,
    NoPermissionError,
    OutputError,
)


def map_file(path: str | Path) -> memoryview:
    """The file's bytes, read-only and mapped, so that only what is touched is loaded.

    Raises:
        FileMissingError, IsDirectoryError, NoPermissionError, FileAccessError, EmptyFileError.
    """
    path = Path(path)
    try:
        # A pipe or a device would block or never end, and neither can be mapped.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsDirectoryError(f"{path} is a directory, not a file", "Name the .tflite file in it.")
        if not stat.S_ISREG(mode):
            raise FileAccessError(f"{path} is not a regular file", "Copy it to a file first.")
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise EmptyFileError(f"{path} is empty", "Was the download or the conversion interrupted?")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as error:
        raise FileMissingError(f"{path} does not exist", "Check the name and the directory.") from error
    except PermissionError as error:
        raise NoPermissionError(f"{path} may not be read by this user", f"Try: chmod +r {path}") from error
    except (OSError, ValueError) as error:
        raise FileAccessError(f"{path} cannot be opened: {error}") from error


@contextlib.contextmanager
def output_directory(path: str | Path) -> Iterator[OutputDirectory]:
    """A set of files that appears in ``path`` completely or not at all.

    Files are written into a hidden directory beside their destination and renamed when the block ends without an
    error; after an error or Ctrl-C nothing is left behind, a directory made for them included.

    Raises:
        OutputError: the directory cannot be made or written, or the disk is full.
    """
    directory = Path(path)
    made = _make_directories(directory)
    complete = False
    try:
        with _explained(directory), tempfile.TemporaryDirectory(prefix=".atoll-", dir=directory) as staging:
            output = OutputDirectory(directory, Path(staging))
            yield output
            output.publish()
            complete = True
    finally:
        if not complete:
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()


class OutputDirectory:
    """Files on their way into a directory; see :func:`output_directory`."""

    def __init__(self, directory: Path, staging: Path) -> None:
        self.directory = directory
        self._staging = staging
        self._names: list[str] = []

    def write(self, name: str, content: Any) -> Path:
        """Stage ``content`` (bytes-like, or text) as ``name``; returns the path it will have in the end."""
        data = content.encode() if isinstance(content, str) else content
        (self._staging / name).write_bytes(data)
        self._names.append(name)
        return self.directory / name

    def publish(self) -> None:
        """Give every staged file its final name, after what could stop any of them was looked for."""
        umask = os.umask(0)
        os.umask(umask)
        for name in self._names:
            target = self.directory / name
            if target.is_dir():
                raise OutputError(f"{target} is a directory", "Remove it or choose another output directory.")
            (self._staging / name).chmod(0o666 & ~umask)
        for name in self._names:
            (self._staging / name).replace(self.directory / name)


def write_file(path: str | Path, content: Any) -> None:
    """Write one file (bytes-like, or text) aside and rename it into place. Raises :class:`OutputError`."""
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a directory", "Name a file to write to.")
    with output_directory(path.parent) as output:
        output.write(path.name, content)


def _make_directories(directory: Path) -> list[Path]:
    """Create ``directory`` and its parents; returns those that did not exist before, outermost first."""
    missing = []
    folder = directory
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    with _explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = {
            errno.EACCES: "permission denied",
            errno.EPERM: "permission denied",
            errno.EROFS: "the file system is read-only",
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.ENOTDIR: "a part of the path is a file, not a directory",
            errno.EEXIST: "a file of that name is in the way",
        }.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(
            f"cannot write to {directory}: {reason}",
            "Choose another directory, or free it; nothing was written.",
        ) from error
