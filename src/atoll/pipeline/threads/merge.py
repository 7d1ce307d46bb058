"""Items that several replicas finish in any order → one channel, in the order of their numbers."""

from __future__ import annotations

import threading
from queue import SimpleQueue

from atoll.pipeline.threads.item import Item
from atoll.pipeline.threads.queues import Channel, ChannelClosed

WINDOW_PER_REPLICA = 4
"""How many items per replica may be between being taken and leaving in order: a device this many times as fast as
its sibling is still never idle."""


class Merge:
    """Every number from 0 must come once. At most ``window`` items are inside, so nothing piles up."""

    __slots__ = ("_credits", "_delivering", "_lock", "_next", "_pending", "_sink", "window")

    def __init__(self, sink: Channel[Item], window: int) -> None:
        self.window = window
        self._sink = sink
        self._pending: dict[int, Item] = {}
        self._next = 0
        self._delivering = False
        self._lock = threading.Lock()
        self._credits: SimpleQueue[bool] = SimpleQueue()
        for _ in range(window):
            self._credits.put(True)

    def admit(self) -> None:
        """Wait for the right to take one more item; :class:`ChannelClosed` after :meth:`abort`."""
        if not self._credits.get():
            self._credits.put(False)
            raise ChannelClosed

    def put(self, item: Item) -> None:
        """Pass on ``item`` and what waited for it, unless a sibling is at it: that one goes on with this item."""
        with self._lock:
            self._pending[item.number] = item
            if self._delivering:
                return
            self._delivering = True
        while (ready := self._pop()) is not None:
            self._sink.put(ready)
            del ready
            self._credits.put(True)

    def _pop(self) -> Item | None:
        with self._lock:
            item = self._pending.pop(self._next, None)
            if item is None:
                self._delivering = False
            else:
                self._next += 1
            return item

    def abort(self) -> None:
        """Let no replica take or wait for another item; never blocks."""
        self._credits.put(False)
