"""A tensor's shape and type → an array nobody else uses, whose memory comes back when nobody looks at it any more."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np

from atoll.device.aligned_arrays import aligned_empty
from atoll.products.tensor_spec import Array, TensorSpec

KEPT_BYTES = 64 << 20
KEPT_BUFFERS = 16, 256
"""What a pool knows per tensor: at most so many bytes, but so many buffers at least and at most. All are looked at
before a new one is made, always in the same order: the first are used most and stay in the processor's cache."""


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
    a view of it, a ``memoryview``, a DLPack capsule) holds a reference to what owns it: numpy shortens chains of views
    down to that. So a buffer whose owner only the pool refers to is free. Nothing has to be given back, and what a
    caller keeps is never overwritten. Without the interpreter lock counts of references are not to be relied on: there
    it hands out new arrays.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self.allocated = 0
        """How often (about) the system was asked for memory: stands still once everything comes from used buffers."""
        self._kept_bytes = kept_bytes
        self._shelves: dict[int, _Shelf] = {}

    def allocate(self, spec: TensorSpec, /) -> Array:
        """A view of an unused buffer, or of a new one."""
        shelf = self._shelves.get(id(spec))  # hashing a spec takes longer than all the rest
        if shelf is None:
            shelf = self._shelves.setdefault(id(spec), _Shelf(spec, self._kept_bytes))
        buffers = shelf.buffers
        array = _unused(buffers, FREE)
        if array is None:
            self.allocated += 1
            kept = aligned_empty(spec.shape, spec.dtype)
            array = kept.view()  # before another thread sees it
            buffers.insert(0, (kept.base, kept))  # what callers keep moves to the end, and falls off there
            del buffers[shelf.kept :]
        return array


Buffer = tuple[Any, Array]
"""What owns the memory, and an array on it."""


class _Shelf:
    """The buffers of one tensor. Threads change it without a lock: each step leaves a valid list, and a buffer that two
    look at has more references than a free one, so neither takes it."""

    __slots__ = ("buffers", "kept", "spec")

    def __init__(self, spec: TensorSpec, kept_bytes: int) -> None:
        least, most = KEPT_BUFFERS
        self.spec = spec  # as long as it lives no other has its id
        self.buffers: list[Buffer] = []
        self.kept = min(max(kept_bytes // max(spec.nbytes, 1), least), most) if REUSES else 0


def _unused(buffers: list[Buffer], free: int) -> Array | None:
    """The array of the first buffer whose owner has ``free`` references."""
    for owner, array in buffers:
        if getrefcount(owner) == free:
            view: Array = array.view()  # before another thread can look: the variable counts as well
            return view
    return None


def _references_of_unused() -> int:
    """What ``_unused`` counts when nobody else sees a buffer; which of its own it counts depends on the Python."""
    trace, profile = sys.gettrace(), sys.getprofile()  # a debugger that looks at variables counts, too
    sys.settrace(None)
    sys.setprofile(None)
    try:
        array = aligned_empty((1,), np.dtype(np.uint8))
        buffers = [(array.base, array)]
        # 0 where no count will do: then nothing is ever found unused
        return next((count for count in range(1, 100) if _unused(buffers, count) is not None), 0)
    finally:
        sys.settrace(trace)
        sys.setprofile(profile)


getrefcount = sys.getrefcount
FREE = _references_of_unused()
REUSES: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
