"""Files of the user: opened with an error that explains itself, written aside and renamed when complete."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
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
    UsageError,
)

_OTHER_NAME = "Choose another name for the output."


class _Record:
    """The files of one command: what it read, what it is going to write, and what it wrote."""

    def __init__(self) -> None:
        self.read: set[Path] = set()
        self.reserved: set[Path] = set()
        self.written: set[Path] = set()


_record: _Record | None = None
"""Of the command that runs in this process; library users may read and write back one file as they like."""


@contextlib.contextmanager
def one_command() -> Iterator[None]:
    """Until the block ends no file is written that was read or written before, in whatever thread."""
    global _record
    outer, _record = _record, _Record()
    try:
        yield
    finally:
        _record = outer


def note_read(path: str | Path) -> None:
    """Keep a file from being written by this command; :func:`map_file` calls it, and whoever reads by other means.

    Raises:
        UsageError: the file is one of the outputs.
    """
    if _record is not None:
        if _same_file(path, _record.reserved):
            raise UsageError(f"{path} is an input, and an output would replace it", _OTHER_NAME)
        _record.read.add(Path(os.path.realpath(path)))


def require_writable(path: str | Path) -> None:
    """Notice before long work that a file cannot be written at its end, and keep its name for it.

    Raises:
        OutputError: it cannot be written; UsageError: it is an input or another output of this command.
    """
    if not str(path):
        raise UsageError("the name of an output is empty", "Name a file to write to.")
    path = Path(path)
    _require_replaceable(path)
    _require_writable_directory(path.parent, path)
    if _record is not None:
        _refuse_replacing(path, _record.read, _record.reserved | _record.written)
        _record.reserved.add(Path(os.path.realpath(path)))


def _require_replaceable(path: Path) -> None:
    with writing(path):
        if path.is_dir():
            raise OutputError(f"{path} is a directory", "Name a file to write to, or another directory.")
        if path.exists() and not path.is_file():  # a file would take the place of /dev/null
            raise OutputError(f"{path} is not a regular file", "Name a file to write to.")


def require_writable_directory(path: str | Path) -> None:
    """Notice before long work that files cannot be written there. Raises :class:`OutputError`."""
    _require_writable_directory(Path(path), Path(path))


def _require_writable_directory(directory: Path, named: Path) -> None:
    """``named`` is what the error speaks of. Directories that are missing are not made yet."""
    import tempfile  # late, as below: it imports a lot that reading needs not

    with writing(named):
        if "\0" in str(named):
            raise ValueError("a null character in the name")
        while not directory.exists() and directory != directory.parent:
            directory = directory.parent
        # Asking for permissions is not enough: root has them on file systems that take no files, such as /proc.
        with tempfile.TemporaryFile(dir=directory):
            pass


def claim_output(path: str | Path) -> None:
    """Say that this command writes a file, now and maybe again (see :func:`write_file`). Raises UsageError."""
    if _record is not None:
        _refuse_replacing(path, _record.read, _record.written)
        real = Path(os.path.realpath(path))
        _record.reserved.discard(real)
        _record.written.add(real)


def _refuse_replacing(path: str | Path, inputs: set[Path], outputs: set[Path]) -> None:
    if _same_file(path, inputs):
        raise UsageError(f"{path} is an input, and an output would replace it", _OTHER_NAME)
    if _same_file(path, outputs):
        raise UsageError(f"two outputs would be written to {path}", "Give each a name of its own.")


def _same_file(path: str | Path, others: set[Path]) -> bool:
    """Whether it is one of them, maybe under another name; ``others`` are real paths."""
    if Path(os.path.realpath(path)) in others:
        return True
    for other in others:
        with contextlib.suppress(OSError):  # one of the two does not exist, or does no more
            if other.samefile(path):
                return True
    return False


def map_file(path: str | Path) -> memoryview:
    """The file's bytes, read-only and mapped, so that only what is touched is loaded.

    Raises:
        FileMissingError, IsDirectoryError, NoPermissionError, FileAccessError, EmptyFileError.
        UsageError: within :func:`one_command`, the file is one of the outputs.
    """
    path = Path(path)
    try:
        # A pipe or a device would block or never end, and neither can be mapped.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsDirectoryError(f"{path} is a directory, not a file", "Name the .tflite file in it.")
        if not stat.S_ISREG(mode):
            raise FileAccessError(f"{path} is not a regular file", "Copy it to a file first.")
        note_read(path)
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
def output_directory(path: str | Path, *, again: bool = False) -> Iterator[OutputDirectory]:
    """A set of files that appears in ``path`` completely or not at all.

    Files are written into a hidden directory beside their destination and renamed when the block ends without an
    error; after an error or Ctrl-C nothing is left behind, a directory made for them included. ``again``: its files may
    replace what this command wrote or read.

    Raises:
        OutputError: the directory cannot be made or written, or the disk is full.
        UsageError: within :func:`one_command`, a file would replace an input or another output.
    """
    import tempfile

    directory = Path(path)
    made = _make_directories(directory)
    complete = False
    try:
        with contextlib.ExitStack() as stack:
            with writing(directory):
                staging = stack.enter_context(tempfile.TemporaryDirectory(prefix=".atoll-", dir=directory))
            output = OutputDirectory(directory, Path(staging), again)
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

    def __init__(self, directory: Path, staging: Path, again: bool = False) -> None:
        self.directory = directory
        self._staging = staging
        self._again = again
        self._names: list[str] = []

    def write(self, name: str, content: Any) -> Path:
        """Stage ``content`` (bytes-like, or text) as ``name``; returns the path it will have in the end."""
        if not self._again:
            claim_output(self.directory / name)
        # Names of files that are no UTF-8 keep their bytes.
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        with writing(self.directory / name):
            (self._staging / name).write_bytes(data)
        self._names.append(name)
        return self.directory / name

    def publish(self) -> None:
        """Give every staged file its final name, after what could stop any of them was looked for."""
        umask = os.umask(0)
        os.umask(umask)
        for name in self._names:
            _require_replaceable(self.directory / name)
            (self._staging / name).chmod(0o666 & ~umask)
        for name in self._names:
            with writing(self.directory / name):
                (self._staging / name).replace(self.directory / name)


def write_file(path: str | Path, content: Any, *, again: bool = False) -> None:
    """Write one file (bytes-like, or text) aside and rename it into place.

    ``again``: it may have been written before by this command, which claimed it (:func:`claim_output`).

    Raises:
        OutputError, UsageError: see :func:`output_directory`.
    """
    path = Path(path)
    _require_replaceable(path)
    with output_directory(path.parent, again=again) as output:
        output.write(path.name, content)


def _make_directories(directory: Path) -> list[Path]:
    """Create ``directory`` and its parents; returns those that did not exist before, outermost first."""
    missing = []
    folder = directory
    with writing(directory):
        while not folder.exists() and folder != folder.parent:
            missing.append(folder)
            folder = folder.parent
        directory.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


_scratch: set[Path] = set()


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for files that are gone when the block ends. Raises :class:`OutputError`: there is no room for it."""
    import tempfile

    with contextlib.ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atoll-")))
        except OSError as error:
            raise OutputError(f"there is no place for temporary files: {_reason(error)}", _TMPDIR) from error
        _scratch.add(folder)
        stack.callback(_scratch.discard, folder)
        yield folder


_TMPDIR = "Name a directory with room in the environment variable TMPDIR."


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let an error of the system in the block say what could not be written, and why.

    Raises:
        OutputError: with the path or, for files of :func:`scratch_directory`, what the user knows of it: TMPDIR.
    """
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        scratch = _scratch.intersection((path, *path.parents))
        if scratch:
            place = scratch.pop().parent
            raise OutputError(f"cannot write temporary files to {place}: {_reason(error)}", _TMPDIR) from error
        raise OutputError(
            f"cannot write to {path}: {_reason(error)}",
            "Choose another directory, or free it; nothing was written.",
        ) from error


def _reason(error: OSError | ValueError) -> str:
    number, text = (error.errno, error.strerror) if isinstance(error, OSError) else (None, "")
    known = {
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
        errno.EROFS: "the file system is read-only",
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.ENOTDIR: "a part of the path is a file, not a directory",
        errno.EEXIST: "a file of that name is in the way",
        errno.ENAMETOOLONG: "the name is too long",
    }
    return known.get(number or 0, text or str(error))
