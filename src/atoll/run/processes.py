"""Openers of interpreters -> their segments running in other processes, which may die without anything being lost."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from typing import Any

from atoll.errors import AtollError, PipelineError
from atoll.run.engine import EXIT_GRACE_S, end_all, keep_until_exit
from atoll.run.groups import Opener, Segments, Spares, is_opener, listed
from atoll.run.pool import Allocator
from atoll.run.queues import Channel, Closed
from atoll.run.recovery import Recovery
from atoll.run.ring import Ring, Signals
from atoll.run.stage import Item, StageError
from atoll.run.stats import StageStats
from atoll.run.trace import Trace
from atoll.run.wiring import TensorSpec, Wiring, wire
from atoll.run.worker import Job, Question, Wires, serve

ANSWER_S = 5.0
"""How long a process may take to say how it is, before it counts as silent."""

MEND_GRACE_S = 1.0
"""How long the others may take to finish their inferences when one process has died."""

util.Finalize(None, end_all, exitpriority=1)  # before multiprocessing's own hook kills the processes


class ProcessDiedError(PipelineError):
    """The process of some segments ended by itself: a fault of a driver, or somebody killed it."""


@dataclass(frozen=True)
class Plan:
    """What every set of processes is made from."""

    jobs: Sequence[Job]
    inputs: Sequence[TensorSpec] | None
    outputs: Sequence[str] | None
    frames: tuple[int, int, int]
    """How many items may wait at the input, between segments, and at the output."""


class Chain:
    """One set of processes, joined by rings. Either all of them run, or all are given up."""

    def __init__(self, plan: Plan) -> None:
        """Start them; raises what the openers raise, or :class:`PipelineError`."""
        self.fault: tuple[int, ProcessDiedError] | None = None
        """The number and the end of the first process that died, when one did."""
        self.replaced = threading.Event()
        """It broke, and another one has taken its place, or none will."""
        self._ended = False
        self._asked = 0
        self._watcher: threading.Thread | None = None
        self._lock = threading.Lock()
        self._rings: list[Ring] = []
        context = multiprocessing.get_context("spawn")
        self._signals = [Signals(context) for _ in range(len(plan.jobs) + 1)]
        self._controls: list[Connection] = []
        self._processes = []
        try:
            for number, job in enumerate(plan.jobs):
                ours, theirs = context.Pipe()
                arguments = (theirs, job, self._signals[number], self._signals[number + 1])
                process = context.Process(target=serve, args=arguments, name=f"atoll-segment-{job.first}", daemon=True)
                self._controls.append(ours)
                _start(process, job)
                self._processes.append(process)
                theirs.close()
            described = [self._first_answer(number) for number in range(len(plan.jobs))]
            self.wiring = wire([segment for group in described for segment in group], plan.inputs, plan.outputs)
            self.capacity = self._join(plan, [len(group) for group in described])
        except BaseException:
            self.abort()
            self.stop(0)
            raise
        self._watcher = threading.Thread(target=self._watch, name="atoll-processes", daemon=True)
        self._watcher.start()

    def _join(self, plan: Plan, sizes: Sequence[int]) -> int:
        """Make the rings; how many items fit into all of it."""
        at_input, between, at_output = plan.frames
        frames = [at_input, *[between] * (len(sizes) - 1), at_output]
        crossing = _crossing(self.wiring, sizes)
        for specs, count, signal in zip(crossing, frames, self._signals):
            self._rings.append(Ring.create(specs, count, signal))
        for control, (source, sink) in zip(self._controls, pairwise(self._rings)):
            control.send(Wires(source.memory, sink.memory, between))
        inside = sum(self._first_answer(number) for number in range(len(sizes)))
        for ring in self._rings:
            ring.forget()
        return int(inside) - sum(frames[1:-1])  # the rings between two processes were counted by both

    def put(self, item: Item) -> None:
        """Send an item in; :class:`Closed` when the chain is given up."""
        self._rings[0].put(item.tensors)

    def get(self, allocator: Allocator) -> Item:
        """The next item that comes out, numbered from 0; :class:`Closed` at the end, or when the chain is given up."""
        return self._rings[-1].get(allocator)

    def finish(self) -> None:
        """Nothing more will be sent."""
        self._rings[0].finish()

    @property
    def sent(self) -> int:
        """How many items were put in."""
        return self._rings[0].written

    def produced(self, number: int) -> int:
        """How many items a process has passed on."""
        return self._rings[number + 1].written

    def ask(self, what: str | int) -> list[Any]:
        """What each process answers (:class:`Question`), or None."""
        with self._lock:
            self._asked += 1
            return [_ask(control, Question(self._asked, what)) for control in self._controls]

    def abort(self) -> None:
        """Let nothing more in or out; never blocks nor locks."""
        self._ended = True
        for ring in self._rings:
            ring.abort(everywhere=True)

    def stop(self, grace: float) -> None:
        """End the processes, after ``grace`` seconds by force, and give the memory back. May be repeated."""
        self._ended = True
        with self._lock:
            for control in self._controls:
                _tell(control, None)
        deadline = time.monotonic() + grace
        for process in self._processes:
            process.join(max(deadline - time.monotonic(), 0))
            if process.is_alive():
                process.kill()
            process.join()
        if self._watcher:
            self._watcher.join()
        with self._lock:
            while self._processes:
                self._processes.pop().close()
            while self._controls:
                self._controls.pop().close()
            for ring in self._rings:
                ring.close()
            for signals in self._signals:
                signals.close()

    def _first_answer(self, number: int) -> Any:
        """What a process that is being started says; raises what it could not do."""
        control, process = self._controls[number], self._processes[number]
        wait([control, process.sentinel])
        try:
            answer = control.recv()
        except (EOFError, ConnectionResetError):
            process.join()
            raise _death(number, process.exitcode) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _watch(self) -> None:
        """Give the chain up when a process dies by itself."""
        sentinels = [process.sentinel for process in self._processes]
        number = sentinels.index(wait(sentinels)[0])  # type: ignore[arg-type]
        if self._ended:
            return
        self._processes[number].join()  # it may not be dead yet
        self.fault = number, _death(number, self._processes[number].exitcode)
        self.abort()


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
        self._chain.ask(between)

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


def jobs_of(
    segments: Segments,
    spares: Spares,
    processes: int,
    devices: Sequence[str | Sequence[str]] | None,
    recovery: Recovery,
    traced: bool,
) -> list[Job]:
    """Deal the segments out to processes, each some that follow each other, as equally as possible.

    Raises:
        PipelineError: there are not so many segments, or they are not functions that open interpreters.
    """
    openers = [_openers(i, group) for i, group in enumerate(listed(segments))]
    others = {i: _openers(i, group) for i, group in spares.items()}
    if not 1 <= processes <= len(openers):
        raise PipelineError(
            f"{len(openers)} segments do not fit into {processes} processes", "Each process needs at least one segment."
        )
    places = [number * len(openers) // processes for number in range(processes + 1)]
    return [
        Job(
            first,
            openers[first:end],
            {i: others[i] for i in range(first, end) if i in others},
            None if devices is None else devices[first:end],
            recovery.on_error,
            recovery.retries,
            recovery.reopen,
            recovery.stall_timeout,
            traced,
        )
        for first, end in pairwise(places)
    ]


def _openers(segment: int, group: Sequence[object]) -> list[Opener]:
    for item in group:
        if not is_opener(item):
            raise PipelineError(
                f"segment {segment} is given as {type(item).__name__}, but it has to be opened in another process",
                "Give what opens it there: functools.partial(atoll.make_interpreter, file, device).",
            )
    return list(filter(is_opener, group))


def _crossing(wiring: Wiring, sizes: Sequence[int]) -> list[list[TensorSpec]]:
    """The tensors that some later segment needs, or the caller: at the input, between processes, and at the output."""
    live = {spec.name: spec for spec in wiring.inputs if spec.name in wiring.relayed}
    crossing = [list(live.values())]
    stages = iter(wiring.stages)
    for size in sizes:
        for stage in islice(stages, size):
            live.update((spec.name, spec) for spec in stage.fetches)
            for name in stage.drops:
                del live[name]
        crossing.append(list(live.values()))
    return crossing


def _start(process: Any, job: Job) -> None:
    try:
        process.start()
    except (AttributeError, TypeError, ValueError) as error:  # what pickle says of what it does not know
        raise PipelineError(
            f"the openers of segment {job.first} and its neighbours cannot go to another process: {error}",
            "Give functions of a module, or functools.partial of them, with arguments that can be pickled.",
        ) from error


def _ask(control: Connection, question: Question) -> Any:
    try:
        control.send(question)
        while control.poll(ANSWER_S):
            answered, answer = control.recv()
            if answered == question:
                return answer
    except (OSError, EOFError):
        pass  # it is gone
    return None


def _tell(control: Connection, message: object) -> None:
    with suppress(OSError):  # it is gone
        control.send(message)


def _death(number: int, code: int | None) -> ProcessDiedError:
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return ProcessDiedError(f"process {number} of the pipeline died ({how})", "See what it wrote to standard error.")
