"""Stages that hang -> stages that go on: an item that takes too long is taken away and given to a new thread."""

from __future__ import annotations

import threading
from time import perf_counter_ns
from typing import TYPE_CHECKING

from atoll.pipeline.recovery import StallError

if TYPE_CHECKING:
    from atoll.pipeline.engine import Engine
    from atoll.pipeline.threads.stage import Worker

CHECKS_PER_LIMIT = 4
"""A stall is noticed at most a quarter of the limit late."""
LONGEST_PERIOD_S = 1.0


class Watchdog:
    """A thread that looks at every worker from time to time. The thread of a stage that hangs cannot be ended: it is
    left alone with its interpreter, and what it may bring in the end is dropped."""

    def __init__(self, engine: Engine, limit: float) -> None:
        self.limit = limit
        self.period = min(limit / CHECKS_PER_LIMIT, LONGEST_PERIOD_S)
        self._engine = engine
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="atoll-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._done.set()

    def join(self, timeout: float | None = None) -> bool:
        """Whether the thread has ended, within ``timeout`` seconds."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._done.wait(self.period):
            limit = perf_counter_ns() - int(self.limit * 1e9)
            for worker in self._engine.workers:
                self._look_at(worker, limit)

    def _look_at(self, worker: Worker, limit: int) -> None:
        item = worker.overdue(limit)
        if item is None:
            return
        engine = self._engine
        cause = StallError(f"no result within {self.limit:g} s")
        successor = worker.successor(item, cause)
        try:
            if not engine.aborted:
                engine.employ(successor)
                engine.dismiss(worker, end=False)
                return
        except RuntimeError:  # the system has no thread left
            engine.crash()
        engine.dismiss(worker, end=True)
