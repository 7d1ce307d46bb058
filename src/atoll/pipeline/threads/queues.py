"""Items of one thread → the same items, in order, in another: a bounded channel that can always be left."""

from __future__ import annotations

import queue
import sys
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

UNBOUNDED: Final = sys.maxsize
_END: Final = object()  # nothing more will come through; stays in the queue of items


class ChannelClosed(Exception):  # noqa: N818 - a signal between threads, never an error a user sees
    """The channel has nothing more to give, or takes nothing more."""


class Channel(Generic[T]):
    """A FIFO for ``size`` items: a ``SimpleQueue`` of them, and another to wake writers who wait for room.

    ``SimpleQueue`` is a lock and a ring buffer in C, a third of what ``queue.Queue`` costs; a hop that need not wait
    is one ``put``, one ``get`` and two comparisons. Any number of threads may read, but only one at a time may write
    (the bound would be overstepped otherwise). A writer that finds no room announces itself, looks again, and then
    waits; a reader takes an item, and then looks whether somebody is announced: one of them sees the other.

    :meth:`finish`, :meth:`remove_bound`, :meth:`abort` and :meth:`resize` never block nor lock, so they may be called
    from anywhere (a finalizer, a signal handler), and wake whoever is blocked.
    """

    __slots__ = (
        "_aborted",
        "_ended",
        "_items",
        "_lock",
        "_room",
        "_waiting",
        "item_listeners",
        "room_listeners",
        "size",
    )

    def __init__(self, size: int) -> None:
        self.size = size
        self.item_listeners: list[Callable[[], object]] = []
        self.room_listeners: list[Callable[[], object]] = []
        """Called once, from any thread, when there may be an item or room; for those who must not block."""
        self._items: SimpleQueue[Any] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._waiting: deque[None] = deque()  # an entry for each writer that waits: counting without a lock
        self._ended = self._aborted = False

    def __len__(self) -> int:
        """About how many items wait (the end mark counts as one)."""
        return self._items.qsize()

    @property
    def full(self) -> bool:
        """Whether there is no room now."""
        return self._items.qsize() >= self.size

    @property
    def ended(self) -> bool:
        """Whether it takes nothing more."""
        return self._ended

    def offer(self, item: T) -> bool:
        """Put ``item`` in if there is room; never waits. :class:`ChannelClosed` when it takes nothing more."""
        if self._ended:
            raise ChannelClosed
        items = self._items
        if items.qsize() >= self.size:
            return False
        items.put(item)
        if self.item_listeners:
            _call(self.item_listeners)
        return True

    def put(self, item: T) -> None:
        """Wait for room and put ``item`` there; :class:`ChannelClosed` if none will come."""
        while not self.offer(item):
            self._waiting.append(None)
            try:
                while not self._ended and self._items.qsize() >= self.size:
                    self._room.get()
            finally:
                self._waiting.pop()

    def wait(self, timeout: float | None = None, full: Callable[[], bool] | None = None) -> None:
        """Wait until there is room, or ``full()`` is false; :class:`ChannelClosed` when the channel ends.

        Any number of threads may wait here. Room may be gone again when this returns. ``TimeoutError`` after
        ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._waiting.append(None)
        try:
            while not self._ended and (self.full if full is None else full()):
                if deadline is None:
                    self._room.get()
                else:
                    self._room.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            raise TimeoutError(f"no room within {timeout} s") from None
        finally:
            self._waiting.pop()
        if self._ended:
            self._room.put(None)  # for the next who waits
            raise ChannelClosed

    def get(self, timeout: float | None = None) -> T:
        """The next item; :class:`ChannelClosed` if none will come, else after ``timeout`` s ``TimeoutError``."""
        if self._aborted:  # not afterwards: what was taken before counts
            raise ChannelClosed
        try:
            item = self._items.get() if timeout is None else self._items.get(timeout=max(timeout, 0))
        except queue.Empty:
            raise TimeoutError(f"nothing came within {timeout} s") from None
        if item is _END:
            self._items.put(_END)
            raise ChannelClosed
        if self._waiting or self.room_listeners:
            self.wake_writers()
        return item  # type: ignore[no-any-return]

    def wake_writers(self) -> None:
        """Let everybody who waits for room look again."""
        for _ in range(len(self._waiting)):
            self._room.put(None)
        if self.room_listeners:
            _call(self.room_listeners)

    def resize(self, size: int) -> None:
        """From now on hold ``size`` items; with more inside, nobody gets in until there are fewer."""
        self.size = size
        self.wake_writers()

    def remove_bound(self) -> None:
        """Forget the bound: from now on nobody waits for room."""
        self.resize(UNBOUNDED)

    def finish(self) -> None:
        """No item will follow: readers get what is left, then :class:`ChannelClosed`; waiting writers are woken."""
        self._ended = True
        self._items.put(_END)
        self._room.put(None)
        _call(self.item_listeners)
        _call(self.room_listeners)

    def abort(self) -> None:
        """Drop what is inside and let nobody wait here ever again."""
        self._aborted = self._ended = True
        try:
            while True:
                self._items.get_nowait()
        except queue.Empty:
            self.finish()


def _call(listeners: list[Callable[[], object]]) -> None:
    while True:
        try:
            listener = listeners.pop()
        except IndexError:
            return
        listener()
