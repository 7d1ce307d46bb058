"""A tensor's shape and type -> an array nobody else uses, whose memory comes back when nobody looks at it any more."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, Protocol

import numpy as np

from atoll.run.wiring import Array, TensorSpec

KEPT_BYTES = 64 << 20
KEPT_BUFFERS = 16, 1024
"""What a pool knows per tensor: at most so many bytes, but so many buffers at least and at most."""
TRIES = 4
"""How many buffers, the one used longest ago first, are looked at before a new one is made."""


class Allocator(Protocol):
    """Where a pipeline gets the arrays of its tensors from; called from several threads at once.

    There is no call to give one back: an array is free when it is garbage. An allocator may wait for that, and so
    bound the memory; it must not do so for arrays that the same thread has still to release.
    """

    def allocate(self, spec: TensorSpec, /) -> Array:
        """A writable, C-contiguous array of ``spec.shape`` and ``spec.dtype``; what is in it does not matter."""


class Pool:
    """Buffers by tensor, used again as soon as the last array on them is gone.

    Every array handed out is a new view of a buffer that never leaves the pool. Whoever can see the memory (an array,
    a view of it, a ``memoryview``, a DLPack capsule) holds a reference to the buffer: numpy shortens chains of views
    down to it. So a buffer that only the pool refers to is free. Nothing has to be given back, and what a caller
    keeps is never overwritten. Without the interpreter lock counts of references are not to be relied on: there it
    hands out new arrays.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self.allocated = 0
        """How often (about) the system was asked for memory: stands still once everything comes from used buffers."""
        self._kept_bytes = kept_bytes
        self._shelves: dict[int, tuple[TensorSpec, deque[Array]]] = {}
        self._reuse = getattr(sys, "_is_gil_enabled", lambda: True)()

    def allocate(self, spec: TensorSpec, /) -> Array:
        shelf = self._shelves.get(id(spec))  # hashing a spec takes longer than all the rest
        buffers = self._shelf(spec) if shelf is None else shelf[1]
        for _ in range(TRIES if self._reuse else 0):
            try:
                buffer: Any = buffers.popleft()
            except IndexError:
                break
            if getrefcount(buffer) == 2:  # the variable and the argument
                array: Array = buffer.view()
                buffers.append(buffer)
                return array
            buffers.append(buffer)
        self.allocated += 1
        buffer = np.empty(spec.shape, spec.dtype)
        buffers.append(buffer)
        return buffer.view()  # type: ignore[no-any-return]

    def _shelf(self, spec: TensorSpec) -> deque[Array]:
        least, most = KEPT_BUFFERS
        kept = min(max(self._kept_bytes // max(spec.nbytes, 1), least), most) if self._reuse else 0
        return self._shelves.setdefault(id(spec), (spec, deque(maxlen=kept)))[1]


getrefcount = sys.getrefcount
