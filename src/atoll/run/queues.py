"""Items of one thread -> the same items, in order, in another: a bounded channel that can always be left."""

from __future__ import annotations

import queue
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

_SLOT: Final = object()  # room for one item
_UNBOUNDED: Final = object()  # room for any number of items; stays in the queue of slots
_END: Final = object()  # nothing more will come through, or be let in; stays in its queue


class Closed(Exception):  # noqa: N818 - a signal between threads, never an error a user sees
    """The channel has nothing more to give, or takes nothing more."""


class Channel(Generic[T]):
    """A FIFO for ``size`` items, made of two ``SimpleQueue``: items going one way, free slots the other.

    ``SimpleQueue`` is a lock and a ring buffer in C: a hop costs four calls and no Python-level condition
    variable, a third of what ``queue.Queue`` costs. Its ``put`` never blocks and is reentrant, so
    :meth:`finish`, :meth:`lift` and :meth:`abort` return at once, may be called from anywhere (a finalizer
    too), and wake whoever is blocked.
    """

    __slots__ = ("_aborted", "_items", "_slots")

    def __init__(self, size: int) -> None:
        self._items: SimpleQueue[Any] = SimpleQueue()
        self._slots: SimpleQueue[Any] = SimpleQueue()
        self._aborted = False
        for _ in range(size):
            self._slots.put(_SLOT)

    def __len__(self) -> int:
        """About how many items wait (the end mark counts as one)."""
        return self._items.qsize()

    def reserve(self, timeout: float | None = None) -> None:
        """Take a free slot; :class:`Closed` if none will be, else after ``timeout`` s ``TimeoutError``."""
        try:
            slot = self._slots.get() if timeout is None else self._slots.get(timeout=max(timeout, 0))
        except queue.Empty:
            raise TimeoutError(f"no room within {timeout} s") from None
        if slot is not _SLOT:
            self._slots.put(slot)
            if slot is _END:
                raise Closed

    def append(self, item: T) -> None:
        """Put an item into the slot that :meth:`reserve` took; never blocks."""
        self._items.put(item)

    def put(self, item: T) -> None:
        """Wait for a free slot and put ``item`` into it; :class:`Closed` if none will come."""
        self.reserve()
        self._items.put(item)

    def get(self, timeout: float | None = None) -> T:
        """The next item; :class:`Closed` if none will come, else after ``timeout`` s ``TimeoutError``."""
        try:
            item = self._items.get() if timeout is None else self._items.get(timeout=max(timeout, 0))
        except queue.Empty:
            raise TimeoutError(f"nothing came within {timeout} s") from None
        if item is _END or self._aborted:
            self._items.put(_END)
            raise Closed
        self._slots.put(_SLOT)
        return item  # type: ignore[no-any-return]

    def finish(self) -> None:
        """No item will follow: readers get what is left, then :class:`Closed`; waiting writers are woken."""
        self._items.put(_END)
        self._slots.put(_END)

    def lift(self) -> None:
        """Forget the bound: from now on nobody waits for a slot."""
        self._slots.put(_UNBOUNDED)

    def abort(self) -> None:
        """Drop what is inside and let nobody wait here ever again."""
        self._aborted = True
        try:
            while True:
                self._items.get_nowait()
        except queue.Empty:
            self.finish()
