"""A point in time in → the calling thread back at that time, within microseconds where the system allows."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

_PR_SET_TIMERSLACK = 29
"""Linux may delay a thread's timers by its slack to save wake-ups, 50 µs by default (prctl(2))."""

_LATE = 25e-6
"""Seconds that a sleep takes too long with a slack of 1 ns, to begin with: 9 to 45 µs were measured."""

_STEP = 1e-6
"""By which the estimate follows what a thread observes: up and down equally often, so it tends to the median."""


class _Threads(threading.local):
    late: float = -1.0
    """Seconds that this thread's sleeps take too long, as estimated; negative before the first."""


_threads = _Threads()


def wait_until(deadline: float) -> None:
    """Return when ``time.perf_counter()`` has about reached ``deadline``, as often a little early as a little late.

    The GIL is free meanwhile. There is no loop that waits for the last microseconds: sixteen threads that do are in
    each other's way. Lowers the timer slack of the calling thread for good (Linux; elsewhere sleeps are as exact as
    they are).
    """
    late = _threads.late
    if late < 0:
        _lower_timer_slack()
        late = _threads.late = _LATE
    remaining = deadline - late - time.perf_counter()
    if remaining > 0:
        time.sleep(remaining)
        _threads.late = late + _STEP if time.perf_counter() > deadline else max(late - _STEP, 0.0)


def _lower_timer_slack() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
