"""A chain of processes -> an engine like that of threads, which loses nothing when a process dies."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import util

from atoll.errors import AtollError
from atoll.run import interval
from atoll.run.chain import Chain, Plan, ProcessDiedError
from atoll.run.engine import EXIT_GRACE_S, end_all, keep_until_exit
from atoll.run.pool import Allocator
from atoll.run.queues import Channel, Closed
from atoll.run.recovery import Recovery
from atoll.run.stage import Item, StageError
from atoll.run.stats import StageStats
from atoll.run.trace import Trace

MEND_GRACE_S = 1.0
"""How long the others may take to finish their inferences when one process has died."""

util.Finalize(None, end_all, exitpriority=1)  # before multiprocessing's own hook kills the processes


class ProcessEngine:
    """What :class:`atoll.run.engine.Engine` is for threads, for processes: between the same two channels.

    Two threads, one that sends items into the chain of processes and one that takes them out. Items stay here until
    their results have come: when a process dies, a new chain is started, and gets what had not come out of the old one.
    """

    def __init__(
        self,
        plan: Plan,
        ingress: Channel[Item],
        egress: Channel[Item],
        allocator: Allocator,
        recovery: Recovery,
        short_interval: bool = True,
        trace: Trace | None = None,
    ) -> None:
        self.ingress = ingress
        self.egress = egress
        self.failure: StageError | None = None
        self.aborted = False
        self._plan = plan
        self._allocator = allocator
        self._recovery = recovery
        self._trace = trace
        self._inside: deque[Item] = deque()
        """What was sent, or has failed here, and has not come out."""
        self._received = 0
        """How many items have come out of this chain."""
        self._next_number = 0
        self._sending = threading.Lock()
        """Held while items are sent, and while the chain is replaced."""
        self._books = threading.Lock()
        """Held while ``_inside`` and ``_received`` do not fit each other."""
        self._all_sent = False
        """No item will follow."""
        self._over = False
        """Nothing will come out of the chain any more."""
        self._stats: tuple[StageStats, ...] = ()
        self._interval_s = interval.interval(2) if short_interval else None
        self._chain = Chain(plan)
        self.wiring = self._chain.wiring
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for run, name in ((self._send, "atoll-sender"), (self._receive, "atoll-receiver"))
        ]

    @property
    def capacity(self) -> int:
        """The most items that fit, in channels, in the processes and in the hands of the two threads."""
        return self.ingress.size + self._chain.capacity + self.egress.size + 2

    def start(self) -> None:
        keep_until_exit(self)
        if self._interval_s is not None:
            interval.shorten(self._interval_s)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """No item will follow; what is inside is finished, whether or not anybody takes it."""
        self.ingress.finish()
        self.egress.lift()

    def abort(self) -> None:
        """Drop everything inside. Never blocks nor locks."""
        self.aborted = self._over = True
        self.ingress.abort()
        self.egress.abort()
        self._chain.abort()

    def join(self, timeout: float | None = None) -> list[str]:
        """Wait for the processes to end; the names of the threads that still wait for them after ``timeout`` s."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))
        return [thread.name for thread in self._threads if thread.is_alive()]

    def stats(self) -> tuple[StageStats, ...]:
        """One per segment and device, in this order, since the processes were started; the last known at the end."""
        answers = self._chain.ask("stats")
        if answers and all(answers):
            self._stats = tuple(stage for answer in answers for stage in answer)
        return self._stats

    def resize(self, between: int) -> None:
        """Change how many items may wait between two segments of one process."""
        first, _, last = self._plan.frames
        self._plan = replace(self._plan, frames=(first, between, last))
        self._chain.resize(between)

    def _send(self) -> None:
        """The sender's thread. It never has more than one item that the chain has not taken: all must fit in again."""
        try:
            while True:
                item = self.ingress.get()
                with self._sending:
                    self._inside.append(item)
                    self._send_all([item])
                del item
        except Closed:
            with self._sending:
                if not self._all_sent:
                    self._all_sent = True
                    self._chain.finish()

    def _send_all(self, items: list[Item]) -> None:
        """With the lock held: send these, and mend the chain as often as it breaks meanwhile."""
        while not _sent(self._chain, items):
            items = self._mend()
        if self._all_sent:
            self._chain.finish()

    def _send_again(self, broken: Chain) -> None:
        """A thread beside the receiver's, who takes out meanwhile: mend the chain, unless the sender does."""
        with self._sending:
            if self._chain is broken:
                self._send_all(self._mend())
        broken.replaced.set()

    def _receive(self) -> None:
        """The receiver's thread, who also ends everything."""
        try:
            while not self._over:
                self._deliver_failed()
                chain = self._chain
                try:
                    came = chain.get(self._allocator)
                except Closed:
                    if chain.fault is None:
                        break
                    thread = threading.Thread(target=self._send_again, args=(chain,), name="atoll-sender", daemon=True)
                    self._threads.append(thread)
                    thread.start()
                    chain.replaced.wait()
                    continue
                self._deliver(chain, came)
                del came
            self._deliver_failed()
            self._remember()
        except Closed:  # the output was aborted
            pass
        finally:
            self._end()

    def _deliver(self, chain: Chain, came: Item) -> None:
        """An item came out of the chain: the oldest inside."""
        with self._books:
            if chain is not self._chain:
                return  # too late, it was sent again
            self._received += 1
            item = self._inside.popleft()
        item.tensors = came.tensors
        if came.error is not None:
            cause = came.error.__cause__ or came.error
            item.error = StageError(came.error.segment, item.number, cause, came.error.device)
            if self._recovery.on_error == "stop":
                self._fail(item.error)
                self._over = True
        self._next_number = item.number + 1
        self.egress.put(item)

    def _deliver_failed(self) -> None:
        """The items that failed here, as far as it is their turn."""
        while True:
            with self._books:
                if not self._inside or self._inside[0].error is None:
                    return
                item = self._inside.popleft()
            self._next_number = item.number + 1
            self.egress.put(item)

    def _fail(self, error: StageError) -> None:
        self.failure = error
        self.ingress.abort()
        self.egress.lift()

    def _mend(self) -> list[Item]:
        """With the lock held: replace a chain of which a process died; what has to be sent again."""
        old = self._chain
        if self._over or old.fault is None:  # it was not broken but aborted
            return []
        number, death = old.fault
        try:
            with self._books:
                self._blame(number, death)
                old.stop(MEND_GRACE_S)
                waiting = [item for item in self._inside if item.error is None]
                if self.failure and not waiting:
                    self._over = True
                    return []
                self._chain = self._another()
                self._received = 0
            if self._over:
                self._chain.abort()  # whoever ended this may have seen the old one
            return waiting
        except AtollError as error:
            self._give_up(self._plan.jobs[number].first, error)
            return []
        finally:
            old.replaced.set()

    def _another(self) -> Chain:
        """A new chain; one that dies while it starts is tried again as often as an item is."""
        for _ in range(self._recovery.most_attempts):
            try:
                return Chain(self._plan)
            except ProcessDiedError:
                if self._over:
                    raise
        return Chain(self._plan)

    def _blame(self, number: int, death: ProcessDiedError) -> None:
        """The oldest item inside a process that died is tried again, or fails, as the policy says."""
        produced, sent = self._chain.produced(number), self._chain.sent
        if produced >= sent:
            return  # it had nothing to do
        item = [item for item in self._inside if item.error is None][produced - self._received]
        item.attempts += 1
        if item.attempts <= self._recovery.most_attempts:
            return
        item.error = StageError(self._plan.jobs[number].first, item.number, death)
        item.tensors.clear()
        if self._recovery.on_error == "stop":
            self._fail(item.error)
            self._all_sent = True
            while self._inside[-1] is not item:
                self._inside.pop()

    def _give_up(self, segment: int, cause: Exception) -> None:
        """No new processes are to be had: everything that is inside fails, and nothing more is taken."""
        self._over = True
        for item in self._inside:
            item.error = item.error or StageError(segment, item.number, cause)
            item.tensors.clear()
        if self.failure is None:
            first = self._inside[0].error if self._inside else None
            self._fail(first or StageError(segment, self._next_number, cause))

    def _remember(self) -> None:
        """What the processes know and will be asked for when they are gone."""
        if self.aborted:
            return
        self.stats()
        if self._trace is not None:
            for events in self._chain.ask("trace"):
                for event in events or ():
                    self._trace.record(*event)

    def _end(self) -> None:
        self._over = True
        self.ingress.abort()
        self._chain.abort()
        with self._sending:  # nobody sends, or mends, any more
            self._chain.abort()
            self._chain.stop(EXIT_GRACE_S)
        if self._interval_s is not None:
            interval.restore(self._interval_s)
        if not self.aborted:
            self.egress.finish()


def _sent(chain: Chain, items: Sequence[Item]) -> bool:
    """Whether all could be sent."""
    try:
        for item in items:
            chain.put(item)
    except Closed:
        return False
    return True
