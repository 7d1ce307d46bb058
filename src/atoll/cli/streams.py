"""Standard output and standard error as they are: pipes whose reader has gone, terminals that know no escape codes,
encodings without our signs.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import sys
from typing import IO

_ASCII = {"─": "-", "…": "~", "→": "->", "×": "x", "≤": "<=", "≥": ">=", "·": "*", "−": "-", "µ": "u", "–": "-"}


def _ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters), error.end


def speak_ascii_where_needed() -> None:
    """From here on, what the streams cannot encode is written in ASCII instead of failing."""
    codecs.register_error("atoll", _ascii)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # None, or a stream of a test or a notebook
            stream.reconfigure(errors="atoll")  # type: ignore[union-attr]


def may_redraw() -> bool:
    """Whether standard error is a terminal on which something may be drawn over: no-color.org, TERM=dumb, CI."""
    return sys.stderr is not None and sys.stderr.isatty() and not plain()


def plain() -> bool:
    """Whether no escape codes are wanted, whatever the terminal; logs of continuous integration keep them all."""
    return bool(os.environ.get("NO_COLOR") or os.environ.get("CI")) or os.environ.get("TERM") == "dumb"


def terminal_columns(otherwise: int = 80) -> int:
    """How wide the terminal is that standard output is; ``COLUMNS`` in the environment counts first.

    As :func:`shutil.get_terminal_size` does, without importing the compression libraries of that module (2 ms).
    """
    with contextlib.suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    with contextlib.suppress(AttributeError, ValueError, OSError):  # no stream, closed, or no terminal
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or otherwise  # type: ignore[union-attr]
    return otherwise


STANDARD_OUTPUT = "standard output"


def write_out(text: str) -> None:
    """Write to standard output, at once; an OSError says that it was that which failed."""
    if sys.stdout is None:  # closed by whoever started us
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        error.filename = STANDARD_OUTPUT
        raise


def reader_has_gone(stream: IO[str] | None) -> bool:
    """Whether an output is a pipe or a terminal that nobody reads any more."""
    if stream is None or not hasattr(select, "poll"):  # Windows
        return False
    with contextlib.suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    return False


def holds_back(stream: IO[str] | None) -> bool:
    """Whether an output has something in its buffer that it cannot get rid of."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        return True
    return False


def abandon(stream: IO[str] | None) -> None:
    """Send what is still buffered nowhere, so that the interpreter does not fail on it when it exits."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
        stream.flush()
