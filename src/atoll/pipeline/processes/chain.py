"""Openers of interpreters → processes that run their segments, joined by rings; when one process dies, all end."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from atoll.errors import PipelineError
from atoll.pipeline.groups import Opener, Segments, Spares, as_lists, is_opener
from atoll.pipeline.pool import Allocator
from atoll.pipeline.processes.ring import Ring, RingSignals, SentError
from atoll.pipeline.processes.segment_process import ProcessSpec, Question, RingPair, serve
from atoll.pipeline.recovery import Recovery
from atoll.pipeline.threads.item import Item
from atoll.pipeline.threads.queues import ChannelClosed
from atoll.pipeline.wiring import Wiring, wire
from atoll.products.tensor_spec import TensorSpec

ANSWER_S = 5.0
"""How long a process may take to say how it is, before it counts as silent."""

LOOK_S = 0.1
"""How often somebody who waits for a process to start looks whether it is wanted still."""

KILLED_S = 5.0
"""How long a process may take to die when it is killed; one that sleeps in a driver may never."""

_starting = threading.Lock()  # Python 3.10 looks at all processes when it starts one: none may be closed meanwhile


class ProcessDiedError(PipelineError):
    """The process of some segments ended by itself: a fault of a driver, or somebody killed it."""


@dataclass(frozen=True)
class ChainSpec:
    """What every set of processes is made from."""

    processes: Sequence[ProcessSpec]
    inputs: Sequence[TensorSpec] | None
    outputs: Sequence[str] | None
    frames: tuple[int, int, int]
    """How many items may wait at the input, between segments, and at the output."""


class Chain:
    """One set of processes, joined by rings. Either all of them run, or all are given up.

    ``wiring``: that of the chain before, if there was one: it must be the same again. ``unwanted`` says whether to stop
    starting.

    Raises:
        PipelineError: the segments do not fit together, or the processes cannot be started.
        ProcessDiedError: one died.
        Exception: what an opener raises.
        ChannelClosed: it is not wanted any more.
    """

    def __init__(
        self, spec: ChainSpec, wiring: Wiring | None = None, unwanted: Callable[[], bool] = lambda: False
    ) -> None:
        self.fault: tuple[int, ProcessDiedError] | None = None
        """The number and the end of the first process that died, when one did."""
        self.replaced = threading.Event()
        """It broke, and another one has taken its place, or none will."""
        self._unwanted = unwanted
        self._ended = False
        self._asked = 0
        self._watcher: threading.Thread | None = None
        self._lock = threading.Lock()
        self._rings: list[Ring] = []
        context = multiprocessing.get_context("spawn")
        self._signals = [RingSignals(context) for _ in range(len(spec.processes) + 1)]
        self._controls: list[Connection] = []
        self._processes: list[SpawnProcess] = []
        try:
            for number, own in enumerate(spec.processes):
                ours, theirs = context.Pipe()
                arguments = (theirs, own, self._signals[number], self._signals[number + 1])
                # No daemon: a forked copy of this process, which knows its children, would end it when it exits.
                process = context.Process(target=serve, args=arguments, name=f"atoll-segment-{own.first}")
                self._controls.append(ours)
                _start(process, own)
                self._processes.append(process)
                theirs.close()
            described = [self._first_answer(number) for number in range(len(spec.processes))]
            self.wiring = wire([segment for group in described for segment in group], spec.inputs, spec.outputs)
            if wiring is not None:
                if wiring != self.wiring:
                    raise PipelineError("the segments have other tensors than before", "Leave their files alone.")
                self.wiring = wiring  # pools know tensors by these objects
            self.capacity = self._connect(spec, [len(group) for group in described])
            watcher = threading.Thread(target=self._watch, name="atoll-processes", daemon=True)
            watcher.start()
            self._watcher = watcher
        except BaseException:
            self.abort()
            self.stop(0)
            raise

    def _connect(self, spec: ChainSpec, sizes: Sequence[int]) -> int:
        """Make the rings; how many items fit into all of it."""
        at_input, between, at_output = spec.frames
        frames = [at_input, *[between] * (len(sizes) - 1), at_output]
        crossing = _crossing(self.wiring, sizes)
        for specs, count, signal in zip(crossing, frames, self._signals):
            self._rings.append(Ring.create(specs, count, signal))
        for control, (source, sink) in zip(self._controls, pairwise(self._rings)):
            _tell(control, RingPair(source.memory, sink.memory, between))
        capacities = [self._first_answer(number) for number in range(len(sizes))]
        for ring in self._rings:
            ring.forget()
        return self._total(capacities)

    def _total(self, capacities: Sequence[int]) -> int:
        return sum(capacities) - sum(ring.memory.frames for ring in self._rings[1:-1])  # both sides count those

    def put(self, item: Item) -> None:
        """Send an item in; :class:`ChannelClosed` when the chain is given up."""
        self._rings[0].put(item.tensors)

    def get(self, allocator: Allocator) -> Item:
        """The next item that comes out, numbered from 0.

        :class:`ChannelClosed` at the end, or when the chain is given up.
        """
        return self._rings[-1].get(allocator)

    def finish(self) -> None:
        """Nothing more will be sent."""
        self._rings[0].finish()

    @property
    def sent(self) -> int:
        """How many items were put in."""
        return self._rings[0].written

    @property
    def produced(self) -> int:
        """How many have come out of the last process; those can be got even when the chain is given up."""
        return self._rings[-1].written

    def inside(self, number: int) -> range:
        """Which items a process had and has not passed on, counted from 0."""
        source, sink = self._rings[number], self._rings[number + 1]
        return range(sink.written, source.taken)

    def ask(self, what: str | int) -> list[Any]:
        """What each process answers (:class:`Question`), or None."""
        with self._lock:
            self._asked += 1
            return [_ask(control, Question(self._asked, what)) for control in self._controls]

    def resize(self, between: int) -> None:
        """Change how many items may wait between two segments of one process."""
        answers = self.ask(between)
        if answers and all(answers):
            self.capacity = self._total(answers)

    def abort(self) -> None:
        """Let nothing more in or out; never blocks nor locks."""
        self._ended = True
        for ring in self._rings:
            ring.abort()

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
                process.join(KILLED_S)
        if self._watcher and all(not process.is_alive() for process in self._processes):
            self._watcher.join()
        with self._lock:
            while self._processes:
                _close(self._processes.pop())
            while self._controls:
                self._controls.pop().close()
            for ring in self._rings:
                ring.close()
            for signals in self._signals:
                signals.close()

    def _first_answer(self, number: int) -> Any:
        """What a process that is being started says; raises what it could not do."""
        control, process = self._controls[number], self._processes[number]
        while not wait([control, process.sentinel], LOOK_S):
            if self._unwanted():
                raise ChannelClosed
        try:
            answer = control.recv()
        except (EOFError, OSError):
            process.join(KILLED_S)
            raise _death(number, process.exitcode) from None
        if isinstance(answer, SentError):
            raise answer.error
        return answer

    def _watch(self) -> None:
        """Give the chain up when a process dies by itself."""
        sentinels = [process.sentinel for process in self._processes]
        number = sentinels.index(wait(sentinels)[0])  # type: ignore[arg-type]
        if self._ended:
            return
        self._processes[number].join(KILLED_S)  # it may not be dead yet
        self.fault = number, _death(number, self._processes[number].exitcode)
        self.abort()


def process_specs(
    segments: Segments,
    spares: Spares,
    processes: int,
    devices: Sequence[str | Sequence[str]] | None,
    recovery: Recovery,
    traced: bool,
    cpus: Sequence[int] | None = None,
) -> list[ProcessSpec]:
    """Deal the segments out to processes, each some that follow each other, as equally as possible.

    Raises:
        PipelineError: there are not so many segments, or they are not functions that open interpreters, or a processor
            is not to be had.
    """
    _check_cpus(cpus)
    openers = [_openers(i, group) for i, group in enumerate(as_lists(segments))]
    others = {i: _openers(i, group) for i, group in spares.items()}
    if not 1 <= processes <= len(openers):
        raise PipelineError(
            f"{len(openers)} segments do not fit into {processes} processes", "Each process needs at least one segment."
        )
    places = [number * len(openers) // processes for number in range(processes + 1)]
    return [
        ProcessSpec(
            first,
            openers[first:end],
            {i: others[i] for i in range(first, end) if i in others},
            None if devices is None else devices[first:end],
            recovery.on_error,
            recovery.retries,
            recovery.reopen,
            recovery.stall_timeout,
            traced,
            cpus[number % len(cpus)] if cpus else None,
        )
        for number, (first, end) in enumerate(pairwise(places))
    ]


def _check_cpus(cpus: Sequence[int] | None) -> None:
    if cpus is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise PipelineError("this system cannot tie a process to a processor", "Leave cpus out.")
    allowed = sorted(os.sched_getaffinity(0))
    wrong = next((cpu for cpu in cpus if cpu not in allowed), None)
    if wrong is not None or not cpus:
        what = "no processor is" if wrong is None else f"processor {wrong} is not"
        raise PipelineError(
            f"{what} among those that this process may use", f"Those are {', '.join(map(str, allowed))}."
        )


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


def _start(process: SpawnProcess, own: ProcessSpec) -> None:
    try:
        with _starting:
            process.start()
    except (AttributeError, TypeError, ValueError, pickle.PicklingError) as error:  # what pickle says
        raise PipelineError(
            f"the openers of segment {own.first} and its neighbours cannot go to another process: {error}",
            "Give functions of a module, or functools.partial of them, with arguments that can be pickled.",
        ) from error


def _close(process: SpawnProcess) -> None:
    with _starting, suppress(ValueError):  # it cannot be killed: what it has stays until it ends
        process.close()


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
    return ProcessDiedError(
        f"process {number} of the pipeline died ({how})",
        "See what it wrote to standard error. If it could not start: does the script guard its main part with "
        'if __name__ == "__main__"?',
    )
