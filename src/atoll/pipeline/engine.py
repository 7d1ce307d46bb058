"""Interpreters and their wiring → running threads, at least one per segment, joined by channels, that always end."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from atoll.errors import PipelineError
from atoll.pipeline import switch_interval as interval
from atoll.pipeline.monitoring.trace import Trace
from atoll.pipeline.pool import Allocator
from atoll.pipeline.recovery import Recovery, StallError
from atoll.pipeline.threads.item import Item, StageError
from atoll.pipeline.threads.queues import Channel
from atoll.pipeline.threads.stage import EngineContext, SegmentStage, Worker
from atoll.pipeline.threads.watchdog import Watchdog
from atoll.pipeline.unit import InterpreterUnit
from atoll.pipeline.wiring import Wiring
from atoll.products.stage_stats import StageStats

EXIT_GRACE_S = 5.0
"""How long a leaving process waits for stages that are still inside ``invoke`` (the slowest measured single
inference on an Edge TPU takes well under a second)."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine works, of threads or of processes."""

    allocator: Allocator
    recovery: Recovery
    short_interval: bool = True
    """Keep Python's thread switch interval short while it runs."""
    trace: Trace | None = None


class Engine:
    """The threads and what they share; knows nothing of the pipeline, so that a dropped pipeline can end it.

    ``first`` is the number of the first segment.

    Threads are daemons only so that a stage stuck inside a driver cannot keep the process from leaving; every
    engine still running at exit is aborted and joined first (a daemon killed inside native code could crash
    the process).
    """

    def __init__(
        self,
        units: Sequence[Sequence[InterpreterUnit]],
        wiring: Wiring,
        ingress: Channel[Item],
        between: int,
        egress: Channel[Item],
        settings: EngineSettings,
        first: int = 0,
    ) -> None:
        self.ingress = ingress
        self.egress = egress
        self.failure: StageError | None = None
        self.aborted = False
        self.crashed = threading.Event()
        """Set when a fault of ours has ended it."""
        between_stages: list[Channel[Item]] = [Channel(between) for _ in units[1:]]
        self._channels = [ingress, *between_stages, egress]
        self._first = first
        recovery = settings.recovery
        self._stop_at_failure = recovery.on_error == "stop"
        self._lock = threading.Lock()
        context = EngineContext(settings.allocator, recovery, self._fail, self.crash, settings.trace)
        self._stages = [
            SegmentStage(i, part, group, source, sink, context)
            for i, (group, part, source, sink) in enumerate(
                zip(units, wiring.stages, self._channels, self._channels[1:]), first
            )
        ]
        self._threads: dict[Worker, threading.Thread] = {}
        limit = recovery.stall_timeout
        self._watchdog = None if limit is None else Watchdog(limit, self._replace_stalled)
        self._ended = 0
        self._short_interval = settings.short_interval
        self._interval_s = interval.interval(len(self.workers))

    @property
    def capacity(self) -> int:
        """The most items that fit, in channels and in segments."""
        return sum(channel.size for channel in self._channels) + sum(stage.capacity for stage in self._stages)

    @property
    def workers(self) -> list[Worker]:
        """Those of now, by segment and replica."""
        return [worker for stage in self._stages for worker in stage.workers]

    def start(self) -> None:
        """Start every thread or none; :class:`PipelineError` when the system has no more."""
        keep_until_exit(self)
        workers = self.workers
        self._ended = -len(workers)
        if self._short_interval:
            interval.shorten(self._interval_s)
        for position, worker in enumerate(workers):
            try:
                self._start_worker(worker)
                continue
            except RuntimeError as cause:
                self.abort()
                for idle in workers[position:]:
                    idle.stage.leave()
                    self._worker_ended()
                raise PipelineError(f"cannot start a thread per segment: {cause}") from cause
        if self._watchdog is not None:
            self._watchdog.start()

    def _start_worker(self, worker: Worker) -> None:
        """Start a worker's thread, in the place of its predecessor's if it has one."""
        replica = f".{worker.replica}" if worker.stage.merge else ""
        name = f"atoll-segment-{worker.stage.number}{replica}"
        thread = threading.Thread(target=worker.run, args=(self._worker_ended,), name=name, daemon=True)
        thread.start()
        with self._lock:
            self._threads[worker] = thread

    def _forget_worker(self, worker: Worker, end: bool) -> None:
        """Forget the thread of an abandoned worker; ``end``: and nobody takes its place."""
        with self._lock:
            self._threads.pop(worker, None)
        if end:
            worker.stage.leave()
            self._worker_ended()

    def _replace_stalled(self, since: int) -> None:
        """Give the items that workers are at for so long (ns) to new workers; the watchdog's call."""
        for worker in self.workers:
            item = worker.overdue(since)
            if item is not None:
                self._replace_worker(worker, item)

    def _replace_worker(self, worker: Worker, item: Item) -> None:
        assert self._watchdog is not None
        successor = worker.successor(item, StallError(f"no result within {self._watchdog.limit:g} s"))
        try:
            if not self.aborted:
                self._start_worker(successor)
                self._forget_worker(worker, end=False)
                return
        except RuntimeError:  # the system has no thread left
            self.crash()
        self._forget_worker(worker, end=True)

    def _worker_ended(self) -> None:
        with self._lock:
            self._ended += 1
            last = not self._ended
        if last:
            if self._short_interval:
                interval.restore(self._interval_s)
            if self._watchdog is not None:
                self._watchdog.stop()

    def close(self) -> None:
        """No item will follow; what is inside is finished, whether or not anybody takes it."""
        # What is in flight is bounded already, so results may pile up: every thread ends without a consumer.
        # In this order, against somebody who resizes the output meanwhile.
        self.ingress.finish()
        self.egress.remove_bound()

    def abort(self) -> None:
        """Drop everything inside; each thread ends after the ``invoke`` it is in. Never blocks nor locks."""
        self.aborted = True
        for stage in self._stages:
            stage.abort()
        self.egress.abort()

    discard = abort

    def join(self, timeout: float | None = None) -> list[str]:
        """Wait for the threads to end; the names of those that did not within ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                threads = [thread for thread in self._threads.values() if thread.is_alive()]
            threads = [thread for thread in threads if thread is not threading.current_thread()]
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not threads:
                ended = self._watchdog is None or self._watchdog.join(left)
                return [] if ended else ["atoll-watchdog"]
            if left is not None and left <= 0:
                return [thread.name for thread in threads]
            # A stuck thread may be given up meanwhile, so look again from time to time.
            pause = left if self._watchdog is None else min(left or 1.0, self._watchdog.period)
            threads[0].join(pause)

    def stats(self) -> tuple[StageStats, ...]:
        """One per segment and device, in this order."""
        return tuple(
            worker.meter.read(stage.number, len(stage.source), replica, worker.unit.device)
            for stage in self._stages
            for replica, worker in enumerate(stage.devices)
        )

    def resize(self, between: int) -> None:
        """Change how many items may wait between two segments, while the threads run."""
        for channel in self._channels[1:-1]:
            channel.resize(between)

    def crash(self) -> None:
        """A thread cannot go on: end like a cancelled pipeline."""
        self.abort()
        self.crashed.set()

    def _fail(self, error: StageError) -> bool:
        """Called by a worker whose item failed: end what is behind the item, finish what is ahead of it."""
        if not self._stop_at_failure:
            return True
        with self._lock:
            if self.failure is None or error.item < self.failure.item:
                self.failure = error
        for stage in self._stages[: error.segment - self._first + 1]:
            stage.abort()
        self.egress.remove_bound()
        return False


class Stoppable(Protocol):
    """What can be aborted and waited for."""

    def abort(self) -> None:
        """Drop everything; never blocks."""

    def join(self, timeout: float | None = None) -> list[str]:
        """Wait for the threads to end; the names of those that did not."""


_running: weakref.WeakSet[Stoppable] = weakref.WeakSet()


def keep_until_exit(engine: Stoppable) -> None:
    """Abort and join it when Python exits before it has ended."""
    _running.add(engine)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_running.clear)  # the threads are the parent's


@atexit.register
def end_all() -> None:
    """Abort every engine that runs, and wait for it a while."""
    engines = list(_running)
    for engine in engines:
        engine.abort()
    deadline = time.monotonic() + EXIT_GRACE_S
    for engine in engines:
        engine.join(max(deadline - time.monotonic(), 0))
