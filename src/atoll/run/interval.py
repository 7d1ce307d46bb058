"""A pipeline runs -> Python threads change over soon enough for it, however busy the others are."""

from __future__ import annotations

import sys
import threading

INTERVAL_S = 20e-6
"""How long a thread may go on when a stage waits for the interpreter lock. Python's 5 ms make a 1 ms pipeline ten times
as slow as soon as one other thread computes in Python (docs/pipeline.md has the measurement)."""

_lock = threading.Lock()
_users = 0
_before = 0.0


def shorten() -> None:
    """Set the switch interval of this process, unless it is that short already; ends with :func:`restore`."""
    global _users, _before
    with _lock:
        _users += 1
        if _users == 1:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(_before, INTERVAL_S))


def restore() -> None:
    """Once for each :func:`shorten`; with the last one comes the old interval, unless somebody set another since."""
    global _users
    with _lock:
        _users -= 1
        if not _users and abs(sys.getswitchinterval() - min(_before, INTERVAL_S)) < 1e-6:
            sys.setswitchinterval(_before)
