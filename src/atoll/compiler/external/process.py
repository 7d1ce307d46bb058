"""A command line → how it ended and what it printed, within bounds of time and memory, whatever the command does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

MOST_OUTPUT = 1 << 20
"""Bytes after which a command that prints without end is stopped."""

GRACE = 10.0
"""Seconds more than the limit that a compiler gets to notice the limit itself."""


_SHOWN = 2000
_SHOWN_LINES = 24
"""Characters and lines of its output that a message keeps, half of them from the end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a command; its status is 0 or more, or minus the signal that ended it."""

    status: int
    text: str
    """What it printed, on either stream; of much the beginning and the end."""
    why: Literal["", "time", "output", "stop"] = ""
    """Why it was ended; "": it ended by itself."""


def run_bounded(
    command: Sequence[str],
    seconds: float,
    *,
    environment: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> Ended:
    """Run a command for at most so many seconds, or until ``stop`` is set. What it started is ended with it.

    Raises:
        OSError: it cannot be run.
    """
    # A file, not a pipe: a child that outlives the command would keep a pipe open, and one that floods it our memory.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        try:
            why = _wait(process, output.fileno(), time.monotonic() + seconds, stop)
        finally:
            _kill(process)
            process.wait()
        size = os.fstat(output.fileno()).st_size
        output.seek(0)
        text = output.read(MOST_OUTPUT // 2)
        if size > MOST_OUTPUT:
            output.seek(-MOST_OUTPUT // 2, os.SEEK_END)
            text += b"\n"
        text += output.read(MOST_OUTPUT // 2)
    return Ended(process.returncode, text.decode(errors="replace"), why)


def _wait(
    process: subprocess.Popen[bytes], output: int, deadline: float, stop: threading.Event | None
) -> Literal["", "time", "output", "stop"]:
    pause = 0.002
    while process.poll() is None:
        if os.fstat(output).st_size > MOST_OUTPUT:
            return "output"
        if time.monotonic() > deadline:
            return "time"
        if stop is not None and stop.is_set():
            return "stop"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:  # its children, too
            os.killpg(process.pid, signal.SIGKILL)


def excerpt(text: str, most: int = _SHOWN) -> str:
    """The beginning and the end of a text, with what a terminal would act on made visible."""
    clean = "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
    lines = [line.rstrip() for line in clean.splitlines() if line.strip()]
    if len(lines) > _SHOWN_LINES:
        lines = [*lines[: _SHOWN_LINES // 2], "...", *lines[-_SHOWN_LINES // 2 :]]
    short = "\n".join(lines)
    if len(short) > most:
        short = f"{short[: most // 2]}\n...\n{short[-most // 2 :]}"
    return short or "nothing"
