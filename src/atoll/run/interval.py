"""A pipeline runs -> Python threads change over soon enough for it, however busy the others are."""

from __future__ import annotations

import sys
import threading

SERIAL_S = 50e-6
"""How long a thread may go on when a stage waits for the interpreter lock. Python's 5 ms make a 1 ms pipeline ten times
as slow as soon as one other thread computes in Python; below this, threads of a pipeline interrupt each other more than
it helps (docs/pipeline.md has the measurements)."""

OVERLAPPED_S = 250e-6
"""The same where a device has several interpreters: its next item is under way already while a stage waits."""

_lock = threading.Lock()
_wanted: list[float] = []
_before = 0.0


def shorten(seconds: float) -> None:
    """Set the switch interval of this process, unless it is that short already; ends with :func:`restore`."""
    global _before
    with _lock:
        if not _wanted:
            _before = sys.getswitchinterval()
        _wanted.append(seconds)
        sys.setswitchinterval(min(_before, *_wanted))


def restore(seconds: float) -> None:
    """Once for each :func:`shorten`; with the last one comes the old interval, unless somebody set another since."""
    with _lock:
        untouched = abs(sys.getswitchinterval() - min(_before, *_wanted)) < 1e-6
        _wanted.remove(seconds)
        if untouched:
            sys.setswitchinterval(min([_before, *_wanted]))
