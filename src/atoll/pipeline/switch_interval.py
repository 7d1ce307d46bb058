"""A pipeline runs → Python threads change over soon enough for it, however busy the others are."""

from __future__ import annotations

import sys
import threading

LEAST_S, MOST_S = 20e-6, 500e-6
PER_PAIR_S = 2e-6
"""How long a thread may go on when a stage waits for the interpreter lock: so much per pair of threads of the pipeline.

Python's 5 ms make a 1 ms pipeline twenty times as slow as soon as one other thread computes in Python. But whoever
waits longer than this interrupts the one that runs, and the more threads there are, the more they are in each other's
way: 16 lose half of their throughput at 50 µs, and hardly any above 250 µs (docs/pipeline.md has the measurements).
"""

_lock = threading.Lock()
_wanted: list[float] = []
_before = 0.0


def interval(threads: int) -> float:
    """Seconds for a pipeline of so many threads."""
    return min(max(threads * threads * PER_PAIR_S, LEAST_S), MOST_S)


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
