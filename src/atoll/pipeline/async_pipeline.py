"""The pipeline's calls → the same for asyncio, without a thread per call and safe to cancel."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from atoll.products.tensor_spec import Array

if TYPE_CHECKING:
    from atoll.pipeline.engine import Engine
    from atoll.pipeline.processes.process_engine import ProcessEngine

T = TypeVar("T")
Inputs = Mapping[str, Array] | Array
"""Inputs of one inference: by name, or the array itself where there is one."""
Listeners = list[Callable[[], object]]


class AsyncPipeline(ABC):
    """What ``Pipeline`` offers to coroutines. A call that is cancelled has taken nothing and given nothing."""

    _engine: Engine | ProcessEngine

    @abstractmethod
    def push(self, inputs: Inputs, timeout: float | None = None, *, copy: bool = True) -> int:
        """Hand over one set of inputs."""

    @abstractmethod
    def pop(self, timeout: float | None = None) -> dict[str, Array] | None:
        """The next outputs."""

    @abstractmethod
    def close(self) -> None:
        """No more inputs."""

    @abstractmethod
    def cancel(self) -> None:
        """Drop everything."""

    @abstractmethod
    def join(self, timeout: float | None = None) -> bool:
        """Wait for the threads to end."""

    async def apush(self, inputs: Inputs, *, copy: bool = True) -> int:
        """:meth:`atoll.Pipeline.push`; waits for room without blocking the event loop."""
        return await _repeated(lambda: self.push(inputs, 0, copy=copy), self._engine.ingress.room_listeners)

    async def apop(self) -> dict[str, Array] | None:
        """:meth:`atoll.Pipeline.pop`; waits for the result without blocking the event loop."""
        return await _repeated(lambda: self.pop(0), self._engine.egress.item_listeners)

    def __aiter__(self) -> AsyncIterator[dict[str, Array]]:
        return self._results_async()

    async def _results_async(self) -> AsyncIterator[dict[str, Array]]:
        """The results of all that is pushed, until the pipeline is closed and drained."""
        while (result := await self.apop()) is not None:
            yield result

    async def amap(
        self, inputs: Iterable[Mapping[str, Array] | Array] | AsyncIterable[Mapping[str, Array] | Array]
    ) -> AsyncIterator[dict[str, Array]]:
        """The outputs for each of ``inputs``, in order; takes inputs only as fast as there is room for them.

        What raises in ``inputs``, or is refused, raises here after the results before it. Leaving the loop early
        drops what is in flight. The pipeline stays open. Nobody else may pop meanwhile.
        """
        counted = _Count()
        feeder = asyncio.ensure_future(self._feed(inputs, counted))
        done = 0
        try:
            while True:
                while done == counted.pushed and not feeder.done():
                    await counted.changed()
                if done == counted.pushed:
                    break
                done += 1  # also when it raises: its place is used up
                result = await self.apop()
                if result is None:
                    break
                yield result
            await feeder
        finally:
            feeder.cancel()
            with contextlib.suppress(BaseException):
                await feeder
            for _ in range(counted.pushed - done):
                with contextlib.suppress(Exception):
                    if await self.apop() is None:
                        break

    async def _feed(self, inputs: Iterable[Any] | AsyncIterable[Any], counted: _Count) -> None:
        try:
            if isinstance(inputs, AsyncIterable):
                async for item in inputs:
                    await self.apush(item)
                    counted.add()
            else:
                for item in inputs:
                    await self.apush(item)
                    counted.add()
                    await asyncio.sleep(0)  # let results be taken although there is always room
        finally:
            counted.wake()

    async def __aenter__(self) -> AsyncPipeline:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self.join)


class _Count:
    """How many items the feeder has pushed, and a way to wait for the next."""

    def __init__(self) -> None:
        self.pushed = 0
        self._event = asyncio.Event()

    def add(self) -> None:
        self.pushed += 1
        self._event.set()

    def wake(self) -> None:
        self._event.set()

    async def changed(self) -> None:
        await self._event.wait()
        self._event.clear()


async def _repeated(attempt: Callable[[], T], listeners: Listeners) -> T:
    """Try until it works; a failed attempt is repeated when the channel says that something has changed."""
    loop = asyncio.get_running_loop()
    while True:
        changed = asyncio.Event()
        listener = _waker(loop, changed)
        listeners.append(listener)  # before the attempt, so that nothing is missed
        try:
            return attempt()
        except TimeoutError:
            await changed.wait()
        finally:
            with contextlib.suppress(ValueError):
                listeners.remove(listener)


def _waker(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], object]:
    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(event.set)

    return wake
