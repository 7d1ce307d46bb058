"""Stages that hang → stages that go on: an item that takes too long is taken away and given to a new thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter_ns

CHECKS_PER_LIMIT = 4
"""A stall is noticed at most a quarter of the limit late."""
LONGEST_PERIOD_S = 1.0


class Watchdog:
    """A thread that looks at every worker from time to time. The thread of a stage that hangs cannot be ended: it is
    left alone with its interpreter, and what it may bring in the end is dropped.

    ``look`` is called with the time (``perf_counter_ns``) before which whatever is still under way is overdue.
    """

    def __init__(self, limit: float, look: Callable[[int], object]) -> None:
        self.limit = limit
        self.period = min(limit / CHECKS_PER_LIMIT, LONGEST_PERIOD_S)
        self._look = look
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="atoll-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; never blocks."""
        self._done.set()

    def join(self, timeout: float | None = None) -> bool:
        """Whether the thread has ended, within ``timeout`` seconds."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._done.wait(self.period):
            self._look(perf_counter_ns() - int(self.limit * 1e9))
