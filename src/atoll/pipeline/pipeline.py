"""Inputs by name → outputs by name, in order, through one interpreter and one thread per segment, or several."""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Literal

import numpy as np

from atoll.errors import InputDtypeError, InputError, InputShapeError, PipelineClosedError, PipelineError
from atoll.pipeline.async_pipeline import AsyncPipeline, Inputs
from atoll.pipeline.bounds import check_sizes, most_items
from atoll.pipeline.engine import EXIT_GRACE_S, Engine, EngineSettings
from atoll.pipeline.groups import Segments, Spares, groups_of, opened, units_of
from atoll.pipeline.monitoring.bottleneck import Bottleneck, bottleneck
from atoll.pipeline.monitoring.trace import Trace
from atoll.pipeline.pool import Allocator, Pool
from atoll.pipeline.processes.chain import ChainSpec, process_specs
from atoll.pipeline.processes.process_engine import ProcessEngine
from atoll.pipeline.recovery import OnError, Recovery, Reopen
from atoll.pipeline.threads.item import Item, StageError
from atoll.pipeline.threads.queues import Channel, ChannelClosed
from atoll.pipeline.wiring import InterpreterLike, wire
from atoll.products.stage_stats import StageStats
from atoll.products.tensor_spec import Array, TensorSpec

MEMORY_BUDGET = 256 << 20
"""Bytes in flight, by default: a quarter of the smallest Coral board's memory."""


class Pipeline(AsyncPipeline):
    """Runs the segments of one model at the same time, each on its own interpreter, on successive inputs.

    Every method may be called from any thread. Leaving the ``with`` block finishes what is inside (an exception drops
    it) and ends all threads; results not popped yet can be popped afterwards.

    Args:
        interpreters: One per segment, in order, or a list of them (replicas, which take work from one queue): anything
            with LiteRT's ``Interpreter`` interface, or a function without arguments that opens one. Nobody else may use
            them while the pipeline runs.
        inputs: What the pipeline takes; None: the inputs of segment 0.
        outputs: The names it returns; None: the outputs of the last segment, and those that no other segment takes.
        input_queue, stage_queue, output_queue: How many items may wait before the first segment, between two segments,
            and behind the last.
        memory_budget: The most bytes of tensors in flight; None: no limit.
        allocator: Where the arrays of inputs, relayed tensors and outputs come from; None: a pool.
        on_error: ``"stop"`` ends the pipeline at the first failed item; ``"continue"`` goes on with the next item;
            ``"retry"`` tries the item again, and if all tries fail goes on with the next.
        retries: How many more tries: on what ``reopen`` opens, else on the next of ``spares``, else on the same
            interpreter, and at last on a sibling's.
        reopen: ``reopen(segment, failed_interpreter)`` gives another interpreter.
        spares: Further interpreters by segment.
        stall_timeout: Seconds after which an item counts as failed, and the segment goes on, on another interpreter and
            thread; None: never.
        devices: Names of the devices, in the form of ``interpreters``; None: what their attribute ``device`` says.
        allocate: Call ``allocate_tensors`` on each first (always with ``processes``).
        trace: Records what happened when.
        short_interval: Keep Python's thread switch interval short while the pipeline runs, so that Python code in other
            threads does not stop it.
        processes: Run the segments in so many other processes, so that they share no interpreter lock, and a driver
            that crashes takes only its process with it. Interpreters and ``spares`` must then be functions of modules
            that open them, or ``functools.partial`` of such. When one dies, all are started anew, and what was inside
            is sent again; the item at which it died counts as failed. A script needs ``if __name__ == "__main__":``, as
            with :mod:`multiprocessing`.
        cpus: Tie each process to one of these processors, in turn: threads pass their lock on more quickly there.

    Raises:
        PipelineError: The segments do not fit together, or an option is wrong.
    """

    _on_drop: ClassVar[Literal["abort", "close"]] = "abort"
    """What happens to what is inside when nobody refers to the pipeline any more."""

    def __init__(
        self,
        interpreters: Segments,
        *,
        inputs: Sequence[TensorSpec] | None = None,
        outputs: Sequence[str] | None = None,
        input_queue: int = 2,
        stage_queue: int = 2,
        output_queue: int = 2,
        memory_budget: int | None = MEMORY_BUDGET,
        allocator: Allocator | None = None,
        on_error: OnError = "stop",
        retries: int = 3,
        reopen: Reopen | None = None,
        spares: Spares | None = None,
        stall_timeout: float | None = None,
        devices: Sequence[str | Sequence[str]] | None = None,
        allocate: bool = True,
        trace: Trace | None = None,
        short_interval: bool = True,
        processes: int | None = None,
        cpus: Sequence[int] | None = None,
    ) -> None:
        check_sizes(input_queue=input_queue, stage_queue=stage_queue, output_queue=output_queue)
        self._allocator = Pool() if allocator is None else allocator
        ingress, egress = Channel[Item](input_queue), Channel[Item](output_queue)
        if processes is None:
            if cpus is not None:
                raise PipelineError("cpus are for worker processes", "Give processes too, or leave cpus out.")
            ready = {i: opened(group) for i, group in (spares or {}).items()}
            recovery = Recovery(on_error, retries, reopen, ready, stall_timeout)
            settings = EngineSettings(self._allocator, recovery, short_interval, trace)
            self._groups = groups_of(interpreters, ready, allocate)
            wiring = wire([group[0] for group in self._groups], inputs, outputs)
            units = units_of(self._groups, wiring, self._allocator, devices)
            self._engine: Engine | ProcessEngine = Engine(units, wiring, ingress, stage_queue, egress, settings)
        else:
            recovery = Recovery(on_error, retries, reopen, {}, stall_timeout)
            settings = EngineSettings(self._allocator, recovery, short_interval, trace)
            parts = process_specs(interpreters, spares or {}, processes, devices, recovery, trace is not None, cpus)
            spec = ChainSpec(parts, inputs, outputs, (input_queue, stage_queue, output_queue))
            self._groups = ()
            self._engine = ProcessEngine(spec, ingress, egress, settings)
            wiring = self._engine.wiring
        self._wiring = wiring
        self._specs = {spec.name: spec for spec in wiring.inputs}
        self._needed = [spec for spec in wiring.inputs if spec.name in wiring.relayed]
        self._results = tuple(spec.name for spec in wiring.outputs)
        self._lock = threading.RLock()  # a signal handler may close while its own thread is in push
        self._closed = self._cancelled = False
        self._pushed = self._popped = 0
        self._last = 0  # one more than the number of the item popped last
        try:
            self._most = most_items(memory_budget, wiring.item_bytes)
        except PipelineError:
            self._engine.discard()
            raise
        # A dropped pipeline ends its threads; at exit the engine's own hook does, which waits for them too.
        weakref.finalize(self, getattr(self._engine, self._on_drop)).atexit = False
        self._engine.start()

    @property
    def interpreters(self) -> tuple[InterpreterLike, ...]:
        """Those that the pipeline was made with, by segment and replica."""
        return tuple(interpreter for group in self._groups for interpreter in group)

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
        """The most items that can be inside at once, in queues and in stages, within the memory budget."""
        return min(self._engine.capacity, self._most)

    @property
    def allocator(self) -> Allocator:
        """Where the tensors come from; for inputs to be pushed without a copy."""
        return self._allocator

    @property
    def failure(self) -> StageError | None:
        """The failure that stopped the pipeline, as soon as it happened."""
        return self._engine.failure

    def push(self, inputs: Inputs, timeout: float | None = None, *, copy: bool = True) -> int:
        """Hand over one set of inputs and return its number, from 0.

        ``inputs``: every input by name, or the array itself when the model has one input. They are copied, so the
        arrays may be reused; without ``copy`` they belong to the pipeline from now on. Blocks while the pipeline
        is full, at most ``timeout`` seconds, then ``TimeoutError``.
        Raises :class:`InputError`, :class:`InputShapeError`, :class:`InputDtypeError` when the inputs do not
        fit, :class:`PipelineClosedError` after close or cancel, :class:`StageError` after a failure stopped
        the pipeline.
        """
        given = self._checked(inputs)
        tensors: dict[str, Array] | None = None
        deadline = None if timeout is None else time.monotonic() + timeout
        ingress = self._engine.ingress
        try:
            while not self._closed and self._engine.failure is None:
                if self._full():
                    ingress.wait(None if deadline is None else deadline - time.monotonic(), self._full)
                if tensors is None:
                    tensors = self._admitted(given, copy)
                with self._lock:  # numbers in the order of the queue, and nothing behind its end
                    if self._closed or self._engine.failure is not None:
                        break
                    number = self._pushed
                    if number - self._popped < self._most and ingress.offer(Item(number, tensors)):
                        self._pushed = number + 1
                        return number
        except ChannelClosed:
            pass
        raise self._refusal()

    def pop(self, timeout: float | None = None) -> dict[str, Array] | None:
        """The next outputs by name, in the order of the pushes; None once closed and drained, or cancelled.

        The arrays belong to the caller. Blocks until there is a result, at most ``timeout`` seconds, then
        ``TimeoutError``. An item that failed raises its :class:`StageError` in its place; if that stopped the
        pipeline, so does every later call.
        """
        engine = self._engine
        try:
            item = engine.egress.get(timeout)
        except ChannelClosed:
            item = None
        if item is not None and engine.failure is not None and item.number > engine.failure.item:
            item = None  # a sibling had finished it already
        if item is None:
            if self._cancelled or engine.failure is None:
                return None
            raise self._refusal()
        with self._lock:
            self._popped += 1
            self._last = item.number + 1
        engine.ingress.wake_writers()
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
                # While no result is ready and the memory budget is not used up there is room for one more, behind
                # the last segment: push returns.
                room = due == self._pushed or (not len(ready) and self._pushed - due < self._most)
                if end is None and room:
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

    def resize(
        self, input_queue: int | None = None, stage_queue: int | None = None, output_queue: int | None = None
    ) -> None:
        """Change the sizes of queues while the pipeline runs; nothing inside is lost.

        Raises :class:`PipelineError` when a size is less than 1.
        """
        check_sizes(input_queue=input_queue, stage_queue=stage_queue, output_queue=output_queue)
        engine = self._engine
        if input_queue is not None:
            engine.ingress.resize(input_queue)
        if stage_queue is not None:
            engine.resize(stage_queue)
        if output_queue is not None and not engine.ingress.ended:  # a closed output stays without bound
            engine.egress.resize(output_queue)
            if engine.ingress.ended:  # by somebody else, meanwhile
                engine.egress.remove_bound()

    def stats(self) -> tuple[StageStats, ...]:
        """What each segment did so far; one per device, by segment and replica."""
        return self._engine.stats()

    def bottleneck(self) -> Bottleneck | None:
        """The segment that limits the throughput, and what would help; None before the first result."""
        return bottleneck(self.stats())

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

    def _full(self) -> bool:
        ingress = self._engine.ingress
        return len(ingress) >= ingress.size or self._pushed - self._popped >= self._most

    def _checked(self, inputs: Inputs) -> Mapping[str, Array]:
        """The inputs by name."""
        specs = self._specs
        if isinstance(inputs, np.ndarray) or not isinstance(inputs, Mapping):
            if len(specs) != 1:
                raise InputError(f"the model has {len(specs)} inputs: {_names(specs)}", "Push them by name.")
            inputs = dict.fromkeys(specs, inputs)
        elif inputs.keys() != specs.keys():
            raise InputError(f"expected the inputs {_names(specs)}, got {_names(inputs)}")
        for name, array in inputs.items():
            spec = specs[name]
            if not isinstance(array, np.ndarray) or array.dtype != spec.dtype:
                given = array.dtype if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
                raise InputDtypeError(f"input '{name}': expected an array of {spec.dtype}, got {given}")
            if array.shape != spec.shape:
                raise InputShapeError(f"input '{name}': expected shape {spec.shape}, got {array.shape}")
        return inputs

    def _admitted(self, inputs: Mapping[str, Array], copy: bool) -> dict[str, Array]:
        """The inputs that are needed, as arrays of the pipeline's own."""
        if not copy:
            return {spec.name: inputs[spec.name] for spec in self._needed}
        tensors = {}
        for spec in self._needed:
            array = self._allocator.allocate(spec)
            array[...] = inputs[spec.name]
            tensors[spec.name] = array
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
        if self._last != number + 1:
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


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
