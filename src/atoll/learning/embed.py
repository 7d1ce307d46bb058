"""Items and workers → results in the order of the items, every worker busy."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from atoll.pipeline import Pipeline

_Item = TypeVar("_Item")
_Input = TypeVar("_Input")
_Result = TypeVar("_Result")


def in_parallel(
    items: Iterable[_Item],
    workers: Sequence[Callable[[_Input], _Result]],
    prepare: Callable[[_Item], _Input],
) -> Iterator[_Result]:
    """The results for ``items``, in order, from whichever worker is free.

    ``workers``: each runs one input at a time, on a device of its own. ``prepare`` makes an input of an item (reads an
    image); it runs in other threads while the workers are busy. At most four items per worker are in flight, so
    memory does not grow with their number. An exception is raised in the place of its result and ends the rest.
    """
    free: SimpleQueue[Callable[[_Input], _Result]] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def run(item: _Item) -> _Result:
        prepared = prepare(item)
        worker = free.get()
        try:
            return worker(prepared)
        finally:
            free.put(worker)

    pending: deque[Future[_Result]] = deque()
    # Twice as many threads as workers: while one half waits for devices, the other prepares what comes next.
    with ThreadPoolExecutor(2 * len(workers), thread_name_prefix="atoll-embed") as pool:
        try:
            for item in items:
                pending.append(pool.submit(run, item))
                if len(pending) >= 4 * len(workers):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


class Pipelined:
    """A pipeline as a worker that may be called from several threads: list it as often as it holds inputs."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._pushing = threading.Lock()
        self._popping = threading.Lock()
        self._waiting: deque[Future[Any]] = deque()

    def __call__(self, inputs: Any) -> Any:
        future: Future[Any] = Future()
        with self._pushing:
            self._pipeline.push(inputs)
            self._waiting.append(future)
        with self._popping:  # as many pops as pushes, so each call takes one result, though perhaps not its own
            try:
                result = self._pipeline.pop()
            except Exception as error:
                self._waiting.popleft().set_exception(error)
            else:
                self._waiting.popleft().set_result(result)
        return future.result()
