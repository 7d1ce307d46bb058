"""One segment: the items in front of it → the items behind it, with its outputs, by as many workers as devices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

from atoll.pipeline.monitoring.stats import StageMeter
from atoll.pipeline.monitoring.trace import Trace
from atoll.pipeline.pool import Allocator
from atoll.pipeline.recovery import Recovery, StallError
from atoll.pipeline.threads.item import Item, StageError
from atoll.pipeline.threads.merge import WINDOW_PER_REPLICA, Merge
from atoll.pipeline.threads.queues import Channel, ChannelClosed
from atoll.pipeline.unit import InterpreterUnit, device_key, device_name
from atoll.pipeline.wiring import StageWiring
from atoll.products.tensor_spec import Array


class Abandoned(Exception):  # noqa: N818 - a signal within a thread
    """The watchdog has given the item to another thread."""


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What all stages of an engine share."""

    allocator: Allocator
    recovery: Recovery
    on_failure: Callable[[StageError], bool]
    """Told of every failed item; says whether to go on."""
    on_crash: Callable[[], object]
    trace: Trace | None


class SegmentStage:
    """What the workers of one segment share."""

    def __init__(
        self,
        number: int,
        wiring: StageWiring,
        units: Sequence[InterpreterUnit],
        source: Channel[Item],
        sink: Channel[Item],
        context: EngineContext,
    ) -> None:
        self.number = number
        self.wiring = wiring
        self.source = source
        self.sink = sink
        self.recovery = context.recovery
        self.on_failure = context.on_failure
        self.on_crash = context.on_crash
        self.trace = context.trace
        self._allocator = context.allocator
        self.merge = Merge(sink, len(units) * WINDOW_PER_REPLICA) if len(units) > 1 else None
        meters: dict[object, StageMeter] = {}  # one per device; interpreters that do not tell have one each
        self.workers = [
            Worker(self, replica, unit, meters.setdefault(device_key(unit), StageMeter()))
            for replica, unit in enumerate(units)
        ]
        self._alive = self._staying = len(units)
        self._lock = threading.Lock()

    @property
    def devices(self) -> list[Worker]:
        """One worker per device."""
        return list({worker.meter: worker for worker in self.workers}.values())

    @property
    def capacity(self) -> int:
        """How many items can be inside, in the hands of the workers and waiting for their turn to leave."""
        return self.merge.window if self.merge else 1

    def may_end_early(self) -> bool:
        """Whether a worker may end before its time: not the last one."""
        with self._lock:
            if self._staying == 1:
                return False
            self._staying -= 1
            return True

    def abort(self) -> None:
        """Let the workers take nothing more; never blocks nor locks."""
        self.source.abort()
        if self.merge:
            self.merge.abort()

    def leave(self) -> None:
        """A worker ends. With the last one the segment does, and so what is behind it."""
        with self._lock:
            self._alive -= 1
            last = not self._alive
        if last:
            self.abort()  # nobody reads it any more: whoever writes to it must not wait
            self.sink.finish()

    def replaced(self, unit: InterpreterUnit) -> InterpreterUnit | None:
        """Another unit for one that failed; when there is none, the same one, unless it hangs.

        Raises what re-opening the device and allocating its tensors raises.
        """
        interpreter = self.recovery.other(self.number, unit.interpreter)
        if interpreter is None:
            return None if unit.stalled else unit
        interpreter.allocate_tensors()
        return InterpreterUnit(interpreter, self.wiring, self._allocator, device_name(interpreter) or unit.device)


class Worker:
    """The loop of one thread: one replica of a segment.

    With a stall limit the watchdog may, while the thread is inside ``invoke``, take away its item and its place
    (:meth:`overdue`). Whoever holds the lock first has the item: the thread finds out in :meth:`_claim` and ends.
    """

    def __init__(self, stage: SegmentStage, replica: int, unit: InterpreterUnit, meter: StageMeter) -> None:
        self.stage = stage
        self.replica = replica
        self.unit = unit
        self.meter = meter
        self._inherited: tuple[Item, BaseException] | None = None
        self._serving = True
        self._watched = stage.recovery.stall_timeout is not None
        self._lock = threading.Lock()
        self._since = 0
        self._item: Item | None = None
        self._abandoned = False

    def run(self, on_end: Callable[[], object]) -> None:
        """Serve until the source ends or a failure ends the worker: ``on_end`` is called, unless another takes over."""
        try:
            self._loop()
        except (ChannelClosed, Abandoned):
            pass
        except BaseException:  # a fault of ours: nobody shall wait for what this thread had
            self.stage.on_crash()
            raise
        finally:
            if not self._abandoned:
                self.stage.leave()
                on_end()

    def _loop(self) -> None:
        stage = self.stage
        merge, get, trace = stage.merge, stage.source.get, stage.trace
        put = stage.sink.put if merge is None else merge.put
        meter = self.meter
        while self._serving:
            if self._inherited is not None:
                item, cause = self._inherited
                self._inherited = None
                begin = perf_counter_ns()
                self._publish(item, self._recover(item, cause))
                del cause
            else:
                if merge is not None:
                    merge.admit()
                    meter.released(perf_counter_ns())
                item = get()
                begin = perf_counter_ns()
                if item.error is None:
                    self._serve(item)
            end = perf_counter_ns()
            number = item.number
            meter.record(begin, end)  # first: while it waits in `put`, a sibling may go on to later items
            put(item)
            del item  # else its tensors live until the next item comes
            if merge is None:
                meter.released(perf_counter_ns())
            if trace is not None:
                trace.record(stage.number, self.replica, number, begin, end)

    def _serve(self, item: Item) -> None:
        if self._watched:
            self._watch(item)
        try:
            with self.unit.lock:
                given = self.unit.run(item.tensors)
            if self._watched:
                self._claim()
        except Abandoned:
            raise
        except BaseException as cause:  # a thread that dies silently would hang its neighbours
            if self._watched:
                self._claim()
            self._publish(item, self._recover(item, cause))
            return
        self._publish(item, given)

    def _publish(self, item: Item, given: dict[str, Array] | None) -> None:
        if given is not None:
            tensors = item.tensors
            for name in self.stage.wiring.drops:
                del tensors[name]
            tensors.update(given)
            item.attempts = 0

    def _recover(self, item: Item, cause: BaseException) -> dict[str, Array] | None:
        """Try again as the policy says; None when that failed too, and then the item carries its error."""
        stage = self.stage
        self.meter.failures += 1
        while item.attempts < stage.recovery.most_attempts:
            item.attempts += 1
            try:
                self._watch(item)
                unit = stage.replaced(self.unit)
                if unit is None:
                    self._claim()
                    break
                self.unit = unit
                with unit.lock:
                    given = unit.run(item.tensors)
                self._claim()
                self.meter.retries += 1
                return given
            except Abandoned:
                raise
            except BaseException as again:
                self._claim()
                self.meter.failures += 1
                cause = again
        if stage.recovery.on_error == "retry":
            borrowed = self._borrow(item)
            if borrowed is not None:
                return borrowed
        if self.unit.stalled and stage.recovery.on_error != "stop":
            self._renew()
        item.tensors.clear()
        item.error = StageError(stage.number, item.number, cause, self.unit.device)
        self._serving = stage.on_failure(item.error) and not (self.unit.stalled and stage.may_end_early())
        return None

    def _borrow(self, item: Item) -> dict[str, Array] | None:
        """Let a sibling's device compute the item; if it can, this worker's is to blame, and the worker leaves."""
        for sibling in self.stage.workers:
            if sibling is self or sibling.unit is self.unit or sibling.unit.stalled:
                continue
            if item.attempts >= self.stage.recovery.most_attempts + len(self.stage.workers):
                return None  # each time the watchdog had to help
            item.attempts += 1
            try:
                self._watch(item)
                with sibling.unit.lock:
                    given = sibling.unit.run(item.tensors)
                self._claim()
            except Abandoned:
                raise
            except BaseException:  # the item's own error says more than this one
                self._claim()
                continue
            self.meter.retries += 1
            self._serving = not self.stage.may_end_early()
            return given
        return None

    def _renew(self) -> None:
        """A device for the items to come, in place of one that hangs; without one they all fail."""
        reason = "give spares, or reopen"
        try:
            other = self.stage.replaced(self.unit)
        except Exception as cause:
            other, reason = None, str(cause)
        self.unit = other or _Hanging(self.unit, reason)

    def _watch(self, item: Item) -> None:
        if self._watched:
            self._item = item
            self._since = perf_counter_ns()

    def _claim(self) -> None:
        """Take the item back out of the watchdog's reach; :class:`Abandoned` when it was faster."""
        with self._lock:
            if self._abandoned:
                raise Abandoned
            self._since = 0
            self._item = None

    def overdue(self, limit: int) -> Item | None:
        """The item that the worker is at since before ``limit``; from then on it is the caller's."""
        with self._lock:
            if not 0 < self._since <= limit or self._abandoned:
                return None
            self._abandoned = True
            item, self._item = self._item, None
            return item

    def successor(self, item: Item, cause: StallError) -> Worker:
        """Another worker in the place of this one, which hangs; it begins with the item."""
        self.unit.stalled = True
        other = Worker(self.stage, self.replica, self.unit, self.meter)
        other._inherited = item, cause
        self.stage.workers[self.replica] = other
        return other


class _Hanging(InterpreterUnit):
    """What is left of a unit that hangs: it fails at once, with the reason why there is no other."""

    def __init__(self, hung: InterpreterUnit, reason: str) -> None:
        self.interpreter = hung.interpreter
        self.device = hung.device
        self.stalled = True
        self.lock = threading.Lock()
        self._reason = reason

    def run(self, tensors: Mapping[str, Array]) -> dict[str, Array]:  # noqa: ARG002
        raise StallError(f"the device hangs since an earlier item, and there is no other ({self._reason})")
