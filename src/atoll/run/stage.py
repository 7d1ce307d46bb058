"""One segment's interpreter and the items in front of it -> the items behind it, with its outputs."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

from atoll.errors import PipelineError
from atoll.run.queues import Channel, Closed
from atoll.run.stats import Meter
from atoll.run.wiring import Array, Interpreter, StageWiring


class StageError(PipelineError):
    """A segment that failed on one item; the exception it raised is the ``__cause__``.

    ``segment`` counts from 0; so does ``item``, the number that ``Pipeline.push`` returned for it.
    """

    def __init__(self, segment: int, item: int, cause: BaseException) -> None:
        super().__init__(f"segment {segment} failed on item {item}: {str(cause) or type(cause).__name__}")
        self.segment = segment
        self.item = item
        self.__cause__ = cause


class Item:
    """One inference on its way: its number, the tensors somebody still needs, or its failure."""

    __slots__ = ("error", "number", "tensors")

    def __init__(self, number: int, tensors: dict[str, Array]) -> None:
        self.number = number
        self.tensors = tensors
        self.error: StageError | None = None


class Stage:
    """The loop of one thread. ``on_failure`` is told of every failed item and says whether to go on."""

    def __init__(
        self,
        segment: int,
        interpreter: Interpreter,
        wiring: StageWiring,
        source: Channel[Item],
        sink: Channel[Item],
        on_failure: Callable[[StageError], bool],
    ) -> None:
        self.segment = segment
        self.meter = Meter()
        self._interpreter = interpreter
        self._wiring = wiring
        self._source = source
        self._sink = sink
        self._on_failure = on_failure

    def run(self) -> None:
        """Serve until the source ends or a failure stops the stage; the sink always ends after it."""
        get, put, record = self._source.get, self._sink.put, self.meter.record
        go_on = True
        try:
            free = perf_counter_ns()
            while go_on:
                item = get()
                begin = perf_counter_ns()
                if item.error is None:
                    go_on = self._serve(item)
                end = perf_counter_ns()
                put(item)
                del item  # else its tensors live until the next item comes
                waited, free = begin - free, perf_counter_ns()
                record(waited, end - begin, free - end)
        except Closed:
            pass
        finally:
            self._source.abort()  # nobody reads it any more: whoever writes to it must not wait
            self._sink.finish()

    def _serve(self, item: Item) -> bool:
        """Compute one item; False when its failure is to stop the stage."""
        try:
            self._compute(item.tensors)
        except BaseException as cause:  # a thread that dies silently would hang its neighbours
            item.tensors.clear()
            item.error = StageError(self.segment, item.number, cause)
            return self._on_failure(item.error)
        return True

    def _compute(self, tensors: dict[str, Array]) -> None:
        interpreter, wiring = self._interpreter, self._wiring
        for name, index in wiring.reads:
            interpreter.set_tensor(index, tensors[name])
        for name in wiring.drops:
            del tensors[name]
        interpreter.invoke()
        for name, index in wiring.fetches:
            tensors[name] = interpreter.get_tensor(index)  # a copy: the caller may keep it
