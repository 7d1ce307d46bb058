"""Interpreters and their wiring -> one running thread per segment, joined by channels, that always ends."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Sequence

from atoll.errors import PipelineError
from atoll.run.queues import Channel
from atoll.run.stage import Item, Stage, StageError
from atoll.run.stats import StageStats
from atoll.run.wiring import Interpreter, Wiring

EXIT_GRACE_S = 5.0
"""How long a leaving process waits for stages that are still inside ``invoke`` (the slowest measured single
inference on an Edge TPU takes well under a second)."""


class Engine:
    """The threads and what they share; knows nothing of the pipeline, so that a dropped pipeline can end it.

    Threads are daemons only so that a stage stuck inside a driver cannot keep the process from leaving; every
    engine still running at exit is aborted and joined first (a daemon killed inside native code could crash
    the process).
    """

    def __init__(
        self,
        interpreters: Sequence[Interpreter],
        wiring: Wiring,
        sizes: tuple[int, int, int],
        stop_at_failure: bool,
    ) -> None:
        at_input, between, at_output = sizes
        hops: list[Channel[Item]] = [Channel(between) for _ in interpreters[1:]]
        self.ingress: Channel[Item] = Channel(at_input)
        self.egress: Channel[Item] = Channel(at_output)
        self.capacity = at_input + len(hops) * between + at_output + len(interpreters)
        self.failure: StageError | None = None
        self._channels = [self.ingress, *hops, self.egress]
        self._lock = threading.Lock()
        self._stop_at_failure = stop_at_failure
        self._stages = [
            Stage(i, interpreter, part, self._channels[i], self._channels[i + 1], self._fail)
            for i, (interpreter, part) in enumerate(zip(interpreters, wiring.stages))
        ]
        self._threads = [
            threading.Thread(target=stage.run, name=f"atoll-segment-{stage.segment}", daemon=True)
            for stage in self._stages
        ]

    def start(self) -> None:
        """Start every thread or none; :class:`PipelineError` when the system has no more."""
        _running.add(self)
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as cause:
            self.abort()
            raise PipelineError(f"cannot start a thread per segment: {cause}") from cause

    def close(self) -> None:
        """No item will follow; what is inside is finished, whether or not anybody takes it."""
        # What is in flight is bounded already, so results may pile up: every thread ends without a consumer.
        self.egress.lift()
        self.ingress.finish()

    def abort(self) -> None:
        """Drop everything inside; each thread ends after the ``invoke`` it is in. Never blocks nor locks."""
        for channel in self._channels:
            channel.abort()

    def join(self, timeout: float | None = None) -> list[str]:
        """Wait for the threads to end; the names of those that did not within ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))
        return [thread.name for thread in self._threads if thread.is_alive()]

    def stats(self) -> tuple[StageStats, ...]:
        return tuple(
            stage.meter.read(stage.segment, len(channel)) for stage, channel in zip(self._stages, self._channels)
        )

    def _fail(self, error: StageError) -> bool:
        """Called by a stage whose item failed: end what is behind the item, finish what is ahead of it."""
        if not self._stop_at_failure:
            return True
        with self._lock:
            if self.failure is None or error.item < self.failure.item:
                self.failure = error
        self.egress.lift()
        for channel in self._channels[: error.segment + 1]:
            channel.abort()
        return False


_running: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _leave() -> None:
    engines = list(_running)
    for engine in engines:
        engine.abort()
    deadline = time.monotonic() + EXIT_GRACE_S
    for engine in engines:
        engine.join(max(deadline - time.monotonic(), 0))
