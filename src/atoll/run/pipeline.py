"""Inputs by name -> outputs by name, in order, through one interpreter and one thread per segment."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal

import numpy as np

from atoll.errors import InputDtypeError, InputError, InputShapeError, PipelineClosedError, PipelineError
from atoll.run.engine import EXIT_GRACE_S, Engine
from atoll.run.queues import Closed
from atoll.run.stage import Item, StageError
from atoll.run.stats import StageStats
from atoll.run.wiring import Array, Interpreter, TensorSpec, wire

Inputs = Mapping[str, Array] | Array


class Pipeline:
    """Runs the segments of one model at the same time, each on its own interpreter, on successive inputs.

    ``interpreters``: one per segment, in order; anything with LiteRT's ``Interpreter`` interface. Nobody else
    may use them while the pipeline runs. ``allocate``: call ``allocate_tensors`` on each first.
    ``inputs``/``outputs``: what the pipeline takes (default: the inputs of segment 0) and the names it
    returns (default: the outputs of the last segment, and those of earlier ones that no other segment takes).
    ``input_queue``, ``stage_queue``, ``output_queue``: how many items may wait in front of the first segment,
    between two, and behind the last. ``on_error``: ``"stop"`` ends the pipeline at the first failed item;
    ``"continue"`` goes on with the next item.

    Raises :class:`PipelineError` when the segments do not fit together or an option is wrong.

    Every method may be called from any thread. Leaving the ``with`` block finishes what is inside (an
    exception drops it) and ends all threads; results not popped yet can be popped afterwards.
    """

    def __init__(
        self,
        interpreters: Iterable[Interpreter],
        *,
        inputs: Sequence[TensorSpec] | None = None,
        outputs: Sequence[str] | None = None,
        input_queue: int = 2,
        stage_queue: int = 2,
        output_queue: int = 2,
        on_error: Literal["stop", "continue"] = "stop",
        allocate: bool = True,
    ) -> None:
        segments = tuple(interpreters)
        sizes = {"input_queue": input_queue, "stage_queue": stage_queue, "output_queue": output_queue}
        for name, size in sizes.items():
            if size < 1:
                raise PipelineError(f"{name} is {size}, but a queue must hold at least 1 item")
        if on_error not in ("stop", "continue"):
            raise PipelineError(f"on_error is '{on_error}', but must be 'stop' or 'continue'")
        _check_segments(segments)
        if allocate:
            _allocate(segments)
        wiring = wire(segments, inputs, outputs)
        self._interpreters = segments
        self._wiring = wiring
        self._specs = {spec.name: spec for spec in wiring.inputs}
        self._results = tuple(spec.name for spec in wiring.outputs)
        self._lock = threading.RLock()  # a signal handler may close while its own thread is in push
        self._closed = False
        self._cancelled = False
        self._pushed = 0
        self._popped = 0
        self._engine = Engine(segments, wiring, (input_queue, stage_queue, output_queue), on_error == "stop")
        # A dropped pipeline ends its threads; at exit the engine's own hook does, which waits for them too.
        weakref.finalize(self, self._engine.abort).atexit = False
        self._engine.start()

    @property
    def interpreters(self) -> tuple[Interpreter, ...]:
        return self._interpreters

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What :meth:`push` takes."""
        return self._wiring.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What :meth:`pop` returns, in this order."""
        return self._wiring.outputs

    @property
    def capacity(self) -> int:
        """The most items that can be inside at once, in queues and in stages."""
        return self._engine.capacity

    @property
    def failure(self) -> StageError | None:
        """The failure that stopped the pipeline, as soon as it happened."""
        return self._engine.failure

    def push(self, inputs: Inputs, timeout: float | None = None) -> int:
        """Hand over one set of inputs (copied: the arrays may be reused) and return its number, from 0.

        ``inputs``: every input by name, or the array itself when the model has one input. Blocks while the
        pipeline is full, at most ``timeout`` seconds, then ``TimeoutError``.
        Raises :class:`InputError`, :class:`InputShapeError`, :class:`InputDtypeError` when the inputs do not
        fit, :class:`PipelineClosedError` after close or cancel, :class:`StageError` after a failure stopped
        the pipeline.
        """
        tensors = self._admit(inputs)
        ingress = self._engine.ingress
        try:
            ingress.reserve(timeout)
            with self._lock:  # numbers in the order of the queue, and nothing behind its end
                if not self._closed and self._engine.failure is None:
                    number = self._pushed
                    ingress.append(Item(number, tensors))
                    self._pushed = number + 1
                    return number
        except Closed:
            pass
        raise self._refusal()

    def pop(self, timeout: float | None = None) -> dict[str, Array] | None:
        """The next outputs by name, in the order of the pushes; None once closed and drained, or cancelled.

        The arrays belong to the caller. Blocks until there is a result, at most ``timeout`` seconds, then
        ``TimeoutError``. An item that failed raises its :class:`StageError` in its place; if that stopped the
        pipeline, so does every later call.
        """
        try:
            item = self._engine.egress.get(timeout)
        except Closed:
            item = None
        if item is None:
            if self._cancelled or self._engine.failure is None:
                return None
            raise self._refusal()
        self._popped = item.number + 1
        if item.error is not None:
            raise item.error
        return {name: item.tensors[name] for name in self._results}

    def map(self, inputs: Iterable[Inputs]) -> Iterator[dict[str, Array]]:
        """The outputs for each of ``inputs``, in order.

        Lazy: takes the next input only when there is room, so never more than :attr:`capacity` are in flight.
        An input that is refused, or cannot be had, raises in its place, after the results of those before it.
        Leaving the loop early drops the results that were in flight. The pipeline stays open.
        Raises :class:`PipelineError` when items pushed before were not popped yet or somebody else pops
        meanwhile, :class:`PipelineClosedError` when somebody else closes or cancels, and what :meth:`push`
        and :meth:`pop` raise.
        """
        if self._cancelled:
            raise self._refusal()
        if self._pushed != self._popped:
            inside = self._pushed - self._popped
            raise PipelineError(f"{inside} results are still in the pipeline", "Pop them before calling map.")
        source, ready = iter(inputs), self._engine.egress
        due = self._pushed  # the number of the result to come
        end: Exception | None = None
        try:
            while end is None or due < self._pushed:
                # While no result is ready there is room for one more, behind the last segment: push returns.
                if end is None and (due == self._pushed or not len(ready)):
                    try:
                        self.push(next(source))
                    except Exception as reason:  # the end of the inputs, or a bad one: first what is due
                        end = reason
                else:
                    due += 1
                    yield self._pop_due(due - 1)
        except (Exception, GeneratorExit):
            self._discard(self._pushed - due)
            raise
        if not isinstance(end, StopIteration):
            raise end

    def close(self) -> None:
        """No more inputs; what is inside is finished and can be popped. Returns at once, may be repeated."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._engine.close()

    def cancel(self) -> None:
        """Drop everything inside, results too; blocked calls return. Returns at once, may be repeated."""
        self._cancelled = True
        with self._lock:
            self._closed = True
        self._engine.abort()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until all threads have ended (after close, cancel or failure); False after ``timeout`` s."""
        return not self._engine.join(timeout)

    def stats(self) -> tuple[StageStats, ...]:
        """What each segment did so far."""
        return self._engine.stats()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            try:
                self._engine.join()
                return
            except BaseException:
                self._leave_now()
                raise
        self._leave_now()

    def _leave_now(self) -> None:
        self.cancel()
        stuck = self._engine.join(EXIT_GRACE_S)
        if stuck:
            warnings.warn(f"still inside invoke: {', '.join(stuck)}", RuntimeWarning, stacklevel=3)

    def _admit(self, inputs: Inputs) -> dict[str, Array]:
        """Copies of the inputs that are needed, all of them checked."""
        if not isinstance(inputs, Mapping):
            if len(self._specs) != 1:
                raise InputError(
                    f"the model has {len(self._specs)} inputs: {_names(self._specs)}", "Push them by name."
                )
            inputs = dict.fromkeys(self._specs, inputs)
        if inputs.keys() != self._specs.keys():
            raise InputError(f"expected the inputs {_names(self._specs)}, got {_names(inputs)}")
        tensors = {}
        for name, array in inputs.items():
            spec = self._specs[name]
            if not isinstance(array, np.ndarray) or array.dtype != spec.dtype:
                given = array.dtype if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
                raise InputDtypeError(f"input '{name}': expected an array of {spec.dtype}, got {given}")
            if array.shape != spec.shape:
                raise InputShapeError(f"input '{name}': expected shape {spec.shape}, got {array.shape}")
            if name in self._wiring.relayed:
                tensors[name] = array.copy()
        return tensors

    def _refusal(self) -> PipelineError:
        """Why nothing more can be pushed."""
        failure = self._engine.failure
        if failure is not None:
            return failure.with_traceback(None)
        return PipelineClosedError("the pipeline was closed", "A closed pipeline takes no inputs: make a new one.")

    def _pop_due(self, number: int) -> dict[str, Array]:
        outputs = self.pop()
        if outputs is None:
            raise PipelineClosedError(f"the pipeline was cancelled before the result of item {number} came out")
        if self._popped != number + 1:
            raise PipelineError(f"somebody else took the result of item {number}", "Use either map or pop.")
        return outputs

    def _discard(self, count: int) -> None:
        for _ in range(count):
            try:
                if self.pop() is None:
                    return
            except StageError:
                if self._engine.failure is not None:
                    return


def _check_segments(segments: Sequence[Interpreter]) -> None:
    if not segments:
        raise PipelineError("a pipeline needs at least one interpreter")
    for i, interpreter in enumerate(segments):
        for j in range(i):
            if segments[j] is interpreter:
                raise PipelineError(
                    f"segments {j} and {i} are the same interpreter",
                    "Make an interpreter of its own for each segment.",
                )


def _allocate(segments: Sequence[Interpreter]) -> None:
    for i, interpreter in enumerate(segments):
        try:
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as cause:
            raise PipelineError(f"segment {i}: cannot allocate its tensors: {cause}") from cause


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
