"""A point in time in -> the calling thread back at that time, within microseconds where the system allows."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

_PR_SET_TIMERSLACK = 29
"""Linux may delay a thread's timers by its slack to save wake-ups, 50 µs by default (prctl(2))."""

_MARGIN = 20e-6
"""Seconds that a sleep overshoots with a slack of 1 ns: 23 to 26 µs measured on a 2-core virtual machine. The rest is
not waited for in a loop: sixteen threads that do are in each other's way."""

_threads = threading.local()


def wait_until(deadline: float) -> None:
    """Return when ``time.perf_counter()`` has about reached ``deadline``; the GIL is free meanwhile.

    Lowers the timer slack of the calling thread for good (Linux; elsewhere sleeps are as exact as they are).
    """
    if not hasattr(_threads, "precise"):
        _threads.precise = _lower_timer_slack()
    remaining = deadline - time.perf_counter()
    if remaining > _MARGIN:
        time.sleep(remaining - _MARGIN)


def _lower_timer_slack() -> bool:
    return sys.platform == "linux" and bool(ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0)
