"""A process of its own: openers of some segments in → those segments running between two rings."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from atoll.errors import PipelineError
from atoll.pipeline.engine import Engine, EngineSettings
from atoll.pipeline.groups import Opener, groups_of, opened, units_of
from atoll.pipeline.monitoring.trace import Trace
from atoll.pipeline.pool import Pool
from atoll.pipeline.processes.ring import Ring, RingMemory, RingSignals, RingSink, RingSource, SentError
from atoll.pipeline.recovery import OnError, Recovery, Reopen
from atoll.pipeline.wiring import InterpreterLike, wire

LEAVE_S = 2.0
"""How long a process that is to end waits for inferences under way."""

CRASHED = 70
"""Exit code when the fault is ours (``EX_SOFTWARE`` of sysexits.h)."""


@dataclass(frozen=True)
class ProcessSpec:
    """What a process is to do: the segments from ``first`` on. All that pickle knows."""

    first: int
    openers: Sequence[Sequence[Opener]]
    spares: Mapping[int, Sequence[Opener]]
    devices: Sequence[str | Sequence[str]] | None
    on_error: OnError
    retries: int
    reopen: Reopen | None
    stall_timeout: float | None
    traced: bool
    cpu: int | None = None
    """The only processor that the process may use; None: all."""


@dataclass(frozen=True)
class TensorDetails:
    """What an interpreter says about its tensors: enough for another process to wire a pipeline."""

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]

    @classmethod
    def of(cls, interpreter: InterpreterLike) -> TensorDetails:
        """What it says now."""
        wanted = ("name", "index", "shape", "dtype")
        return cls(
            [{key: detail[key] for key in wanted} for detail in interpreter.get_input_details()],
            [{key: detail[key] for key in wanted} for detail in interpreter.get_output_details()],
        )

    def get_input_details(self) -> list[dict[str, Any]]:
        """As LiteRT's."""
        return self.inputs

    def get_output_details(self) -> list[dict[str, Any]]:
        """As LiteRT's."""
        return self.outputs


@dataclass(frozen=True)
class RingPair:
    """Where the tensors come from and go to, and how many items may wait between two segments."""

    source: RingMemory
    sink: RingMemory
    between: int


@dataclass(frozen=True)
class Question:
    """What the parent asks; ``number`` tells answers that came too late from the one that is waited for."""

    number: int
    what: str | int
    """``"stats"``, ``"trace"``, or how many items may wait between two segments from now on."""


def serve(control: Connection, own: ProcessSpec, source: RingSignals, sink: RingSignals) -> None:
    """The main function of the process.

    Says on ``control`` what its segments are, takes the :class:`RingPair`, and answers what the other side asks, until
    that sends None or is gone. Exceptions of openers are sent instead.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to act upon
    if own.cpu is not None:
        os.sched_setaffinity(0, {own.cpu})  # before there is another thread
    try:
        _serve(control, own, source, sink)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the parent is gone, and with it whoever wanted this


def _serve(control: Connection, own: ProcessSpec, source: RingSignals, sink: RingSignals) -> None:
    try:
        spares = {i: opened(openers) for i, openers in own.spares.items()}
        groups = groups_of(own.openers, {}, allocate=True)
        control.send([TensorDetails.of(group[0]) for group in groups])
    except Exception as error:
        control.send(SentError.of(error))
        return
    rings: RingPair | None = control.recv()
    if rings is None:
        return
    trace = Trace() if own.traced else None
    try:
        engine = _engine(own, groups, spares, rings, source, sink, trace)
        engine.start()
        control.send(engine.capacity)
    except PipelineError as error:
        control.send(SentError.of(error))
        return
    threading.Thread(target=_exit_if_broken, args=(engine,), daemon=True).start()
    while (question := control.recv()) is not None:
        control.send((question, _answer(question.what, engine, trace)))
    engine.abort()
    engine.join(LEAVE_S)
    os._exit(0)  # past a thread that hangs in a driver


def _engine(
    own: ProcessSpec,
    groups: tuple[tuple[InterpreterLike, ...], ...],
    spares: Mapping[int, Sequence[InterpreterLike]],
    rings: RingPair,
    source: RingSignals,
    sink: RingSignals,
    trace: Trace | None,
) -> Engine:
    pool = Pool()
    wiring = wire([group[0] for group in groups], rings.source.specs, [spec.name for spec in rings.sink.specs])
    recovery = Recovery(own.on_error, own.retries, own.reopen, spares, own.stall_timeout)
    return Engine(
        units_of(groups, wiring, pool, own.devices),
        wiring,
        RingSource(Ring(rings.source, source), pool),
        rings.between,
        RingSink(Ring(rings.sink, sink), own.first + len(groups) - 1),
        EngineSettings(pool, recovery, trace=trace),
        own.first,
    )


def _answer(what: str | int, engine: Engine, trace: Trace | None) -> Any:
    if what == "stats":
        return engine.stats()
    if what == "trace":
        return trace.events if trace else []
    assert isinstance(what, int)
    engine.resize(what)
    return engine.capacity


def _exit_if_broken(engine: Engine) -> None:
    """End the process when a thread of it has failed through a fault of ours: the other side then knows."""
    engine.crashed.wait()
    engine.join(LEAVE_S)
    os._exit(CRASHED)
