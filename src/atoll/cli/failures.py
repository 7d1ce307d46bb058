"""Exceptions → one message on standard error and an exit code: the only place where that is done.

Messages are not wrapped: a terminal does that by itself, and a path that is copied from it stays whole.
"""

from __future__ import annotations

import errno
import os
import sys

import click

from atoll.cli.streams import STANDARD_OUTPUT, abandon, holds_back, reader_has_gone
from atoll.errors import (
    INTERRUPTED,
    AtollError,
    FileAccessError,
    FileMissingError,
    IsDirectoryError,
    NoPermissionError,
    OutputError,
)
from atoll.products.layout import brief, printable

_CODES = {
    errno.ENOENT: FileMissingError.exit_code,
    errno.EISDIR: IsDirectoryError.exit_code,
    errno.EACCES: NoPermissionError.exit_code,
    errno.EPERM: NoPermissionError.exit_code,
    errno.ENOSPC: OutputError.exit_code,
    errno.EDQUOT: OutputError.exit_code,
    errno.EROFS: OutputError.exit_code,
}


def say_on_stderr(text: str) -> None:
    """A line on standard error; if nobody reads it, nobody misses it.

    (Not by ``click.echo``, which writes past the progress bar that has taken the place of the stream.)
    """
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        abandon(sys.stderr)


def exit_code(error: BaseException, doing: str) -> int:
    """Say on standard error what failed, and return the exit code for it.

    Args:
        error: Of the kinds that a command may end with: AtollError, ClickException, KeyboardInterrupt, OSError.
        doing: The command that ran, for errors that do not say what they are about.
    """
    if isinstance(error, AtollError):
        say_on_stderr(f"error: {brief(error.message)}" + (f"\n{brief(error.hint)}" if error.hint else ""))
        return error.exit_code
    if isinstance(error, click.ClickException):
        say_on_stderr(_usage(error))
        return error.exit_code
    if isinstance(error, OSError):
        return _system_error(error, doing)
    say_on_stderr("\ninterrupted")
    return INTERRUPTED


def _usage(error: click.ClickException) -> str:
    """What is wrong with the arguments, and how they should look."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message()
    message = f"error: {printable(error.format_message())}"
    return f"{message}\n{context.get_usage()}\nTry: {context.command_path} --help" if context else message


def _system_error(error: OSError, doing: str) -> int:
    """An error of the operating system: which file, and what is wrong with it."""
    paths = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    if isinstance(error, BrokenPipeError):
        for stream in (sys.stdout, sys.stderr):
            if paths == [STANDARD_OUTPUT] or reader_has_gone(stream):
                abandon(stream)
                return 0  # whoever read our output has enough
    if not paths and holds_back(sys.stdout):
        paths = [STANDARD_OUTPUT]
    if paths == [STANDARD_OUTPUT]:
        abandon(sys.stdout)
    reason = error.strerror or str(error) or type(error).__name__
    say_on_stderr(f"error: {' and '.join(map(printable, paths)) or doing}: {printable(reason)}")
    return _CODES.get(error.errno or 0, FileAccessError.exit_code if paths else AtollError.exit_code)
