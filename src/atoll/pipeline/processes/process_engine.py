"""A chain of processes → an engine like that of threads, which loses nothing when a process dies."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from multiprocessing import util
from queue import SimpleQueue

from atoll.errors import PipelineError
from atoll.pipeline import switch_interval as interval
from atoll.pipeline.engine import EXIT_GRACE_S, EngineSettings, end_all, keep_until_exit
from atoll.pipeline.processes.chain import LOOK_S, Chain, ChainSpec, ProcessDiedError
from atoll.pipeline.threads.item import Item, StageError
from atoll.pipeline.threads.queues import Channel, ChannelClosed
from atoll.products.stage_stats import StageStats

MOST_REPLACED_IN_VAIN = 10
"""How often in a row a chain may be replaced beyond retries, before anything has come out of it."""

REPLACE_GRACE_S = 1.0
"""How long the others may take to finish their inferences when one process has died."""

util.Finalize(None, end_all, exitpriority=1)  # before multiprocessing's own hook kills the processes


class ProcessEngine:
    """What :class:`atoll.pipeline.engine.Engine` is for threads, for processes: between the same two channels.

    One thread sends items into the chain of processes, another takes them out. Items stay here until their results have
    come: when a process dies, a new chain is started, and gets what had not come out of the old one. The sender does
    that, for it may have to wait for the receiver; a third thread does it while the sender waits for an item.

    Raises:
        Exception: as :class:`atoll.pipeline.processes.chain.Chain`.
    """

    def __init__(
        self,
        spec: ChainSpec,
        ingress: Channel[Item],
        egress: Channel[Item],
        settings: EngineSettings,
    ) -> None:
        self.ingress = ingress
        self.egress = egress
        self.failure: StageError | None = None
        self.aborted = False
        self._spec = spec
        self._allocator = settings.allocator
        self._recovery = settings.recovery
        self._trace = settings.trace
        self._interval_s = interval.interval(2) if settings.short_interval else None
        self._sending = threading.Lock()
        """Held while items are sent, and while the chain is replaced."""
        self._books = threading.Condition()
        """Held while these do not fit each other; notified when an item has come."""
        self._inside: deque[Item] = deque()
        """What was sent, or has failed here, and has not come out."""
        self._received = 0
        """How many items have come out of this chain."""
        self._next_number = 0
        self._alone_until = -1
        """Items up to this number are sent one by one, to find out at which of them a process dies."""
        self._extra_room = 0
        """By how much the output is larger while the chain holds less than it can."""
        self._roomy_until = -1
        self._all_sent = False
        """No item will follow."""
        self._over = False
        """Nothing will come out of the chain any more."""
        self._replaced_in_vain = 0
        """How often the chain was replaced since the last item came or failed."""
        self._stats: tuple[StageStats, ...] = ()
        self._chain = Chain(spec)
        self.wiring = self._chain.wiring
        self._broken: SimpleQueue[Chain | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for run, name in (
                (self._send, "atoll-sender"),
                (self._receive, "atoll-receiver"),
                (self._replace_while_idle, "atoll-replacer"),
            )
        ]

    @property
    def capacity(self) -> int:
        """The most items that fit, in channels, in the processes and in the hands of sender and receiver."""
        return self.ingress.size + self._chain.capacity + self.egress.size + 2

    def start(self) -> None:
        """Start every thread or none; :class:`PipelineError` when the system has no more."""
        keep_until_exit(self)
        if self._interval_s is not None:
            interval.shorten(self._interval_s)
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as cause:
            self.discard()
            raise PipelineError(f"cannot start the threads of a pipeline: {cause}") from cause

    def close(self) -> None:
        """No item will follow; what is inside is finished, whether or not anybody takes it."""
        self.ingress.finish()
        self.egress.remove_bound()

    def abort(self) -> None:
        """Drop everything inside. Never blocks nor locks."""
        self.aborted = self._over = True
        self.ingress.abort()
        self.egress.abort()
        self._chain.abort()

    def discard(self) -> None:
        """End one that has not started, or not wholly."""
        self.abort()
        self._broken.put(None)
        self._chain.stop(0)

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
        first, _, last = self._spec.frames
        self._spec = replace(self._spec, frames=(first, between, last))
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
        except ChannelClosed:
            with self._sending:
                if not self._all_sent:
                    self._all_sent = True
                    self._chain.finish()

    def _replace_while_idle(self) -> None:
        """The replacer's thread: as the sender does when it notices."""
        while (broken := self._broken.get()) is not None:
            try:
                with self._sending:
                    if self._chain is broken:
                        self._send_all(self._replace_chain())
            finally:
                broken.replaced.set()

    def _send_all(self, items: list[Item]) -> None:
        """With the lock held: send these, and replace the chain as often as it breaks meanwhile."""
        while items:
            try:
                for item in items:
                    self._send_one(item)
                break
            except ChannelClosed:
                items = self._replace_chain()
            except Exception as error:  # a fault of ours: nobody shall wait for ever
                self._give_up(0, error)
                self._chain.abort()
                raise
        if self._all_sent:
            self._chain.finish()

    def _send_one(self, item: Item) -> None:
        chain = self._chain
        if item.number <= self._alone_until + 1:  # the next one must not come close to the last of them either
            with self._books:
                while self._received < chain.sent and not (self._over or chain.fault):
                    self._books.wait(LOOK_S)
        chain.put(item)

    def _receive(self) -> None:
        """The receiver's thread, who also ends everything."""
        try:
            while not self._over:
                self._deliver_failed()
                chain = self._chain
                try:
                    came = chain.get(self._allocator)
                except ChannelClosed:
                    if chain.fault is None:
                        break
                    self._broken.put(chain)
                    chain.replaced.wait()
                    continue
                self._deliver(chain, came)
                del came
            self._deliver_failed()
            if self._inside and self.failure is None and not self.aborted:
                self._give_up(0, PipelineError("its processes ended before everything had come out"))
                self._deliver_failed()
            self._keep_last_figures()
        except ChannelClosed:  # the output was aborted
            pass
        except Exception as error:  # an allocator's, or a fault of ours: nobody shall wait for ever
            self._give_up(0, error)
            with suppress(ChannelClosed):
                self._deliver_failed()
        finally:
            self._end()

    def _deliver(self, chain: Chain, came: Item) -> None:
        """An item came out of the chain: the oldest inside."""
        with self._books:
            if chain is not self._chain or self._over:
                return  # too late: it was sent again, or has failed
            self._received += 1
            self._replaced_in_vain = 0
            item = self._inside.popleft()
            self._books.notify_all()
        item.tensors = came.tensors
        if came.error is not None:
            cause = came.error.__cause__ or came.error
            item.error = StageError(came.error.segment, item.number, cause, came.error.device)
            if self._recovery.on_error == "stop":
                self._fail(item.error)
                self._over = True
        self._hand_out(item)

    def _deliver_failed(self) -> None:
        """The items that failed here, as far as it is their turn."""
        while True:
            with self._books:
                if not self._inside or self._inside[0].error is None:
                    return
                item = self._inside.popleft()
            self._hand_out(item)

    def _hand_out(self, item: Item) -> None:
        self._next_number = item.number + 1
        with self._books:
            if self._extra_room and item.number > self._roomy_until:
                self.egress.resize(self.egress.size - self._extra_room)
                self._extra_room = 0
        self.egress.put(item)

    def _fail(self, error: StageError) -> None:
        self.failure = error
        self.ingress.abort()
        self.egress.remove_bound()

    def _replace_chain(self) -> list[Item]:
        """With the lock held: replace a chain of which a process died; what has to be sent again."""
        old = self._chain
        if self._over or old.fault is None:  # it was not broken but aborted
            return []
        number, death = old.fault
        try:
            self._drain(old)
            old.stop(REPLACE_GRACE_S)
            with self._books:
                self._retry_or_fail(number, death)
                if self.failure and all(item.error for item in self._inside):
                    self._over = True
                    return []
            self._replaced_in_vain += 1
            if self._replaced_in_vain > self._recovery.most_attempts + MOST_REPLACED_IN_VAIN:
                raise death
            new = self._another()
            with self._books:
                self._chain = new
                self._received = 0
                waiting = [item for item in self._inside if item.error is None]
            if self._over:
                new.abort()  # whoever ended this may have seen the old one
            return waiting
        except Exception as error:
            if not self._over:
                self._give_up(self._spec.processes[number].first, error)
            return []
        finally:
            old.replaced.set()

    def _drain(self, old: Chain) -> None:
        """Wait for the receiver to take out what has come out of the last process."""
        with self._books:
            left = old.produced - self._received
            if left > 0:
                last = list(islice((item for item in self._inside if item.error is None), left))[-1]
                self._enlarge_output(left, last.number)
            while self._received < old.produced and not self._over:
                self._books.wait(LOOK_S)

    def _enlarge_output(self, count: int, number: int) -> None:
        """Let more results wait, until item ``number`` is out: who takes them may be waiting for room at the input."""
        self._extra_room += count
        self._roomy_until = max(number, self._roomy_until)
        self.egress.resize(self.egress.size + count)

    def _another(self) -> Chain:
        """A new chain; one that dies while it starts is tried again as often as an item is."""
        for _ in range(self._recovery.most_attempts):
            with suppress(ProcessDiedError):
                return Chain(self._spec, self.wiring, lambda: self._over)
        return Chain(self._spec, self.wiring, lambda: self._over)

    def _retry_or_fail(self, number: int, death: ProcessDiedError) -> None:
        """The item inside a process that died is tried again, or fails, as the policy says.

        If several were inside, none is: they are sent one by one from now on, and the next time it will be one.
        """
        waiting = [item for item in self._inside if item.error is None]
        inside = [index - self._received for index in self._chain.inside(number)]
        suspects = [waiting[index] for index in inside if 0 <= index < len(waiting)]
        if not suspects:
            return
        item = suspects[-1]
        if len(suspects) > 1:
            self._alone_until = max(item.number, self._alone_until)
            self._enlarge_output(len(waiting), item.number)
            return
        item.attempts += 1
        if item.attempts <= self._recovery.most_attempts:
            return
        self._replaced_in_vain = 0
        item.error = StageError(self._spec.processes[number].first, item.number, death)
        item.tensors.clear()
        if self._recovery.on_error == "stop":
            self._fail(item.error)
            self._all_sent = True
            while self._inside[-1] is not item:
                self._inside.pop()

    def _give_up(self, segment: int, cause: Exception) -> None:
        """Nothing more comes: everything that is inside fails, and nothing more is taken."""
        with self._books:
            if self.failure is None:
                number = self._inside[0].number if self._inside else self._next_number
                self._fail(StageError(segment, number, cause))
            for item in self._inside:
                item.error = item.error or StageError(segment, item.number, cause)
                item.tensors.clear()
            self._over = True

    def _keep_last_figures(self) -> None:
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
        self._broken.put(None)
        try:
            with self._sending:  # nobody sends, or replaces it, any more
                self._chain.abort()
                self._chain.stop(EXIT_GRACE_S)
        finally:
            if self._interval_s is not None:
                interval.restore(self._interval_s)
            if not self.aborted:
                self.egress.finish()
