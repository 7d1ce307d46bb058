"""A tensor's shape and type -> an array nobody else uses, whose memory comes back when nobody looks at it any more."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any, Protocol

import numpy as np

from atoll.run.wiring import Array, TensorSpec

KEPT_BYTES = 64 << 20
KEPT_BUFFERS = 16, 1024
"""What a pool keeps for reuse, per size of buffer: at most so many bytes, but so many buffers at least and at most."""


class Allocator(Protocol):
    """Where a pipeline gets the arrays of its tensors from; called from several threads at once.

    There is no call to give one back: an array is free when it is garbage. An allocator may wait for that, and so
    bound the memory; it must not do so for arrays that the same thread has still to release.
    """

    def allocate(self, spec: TensorSpec, /) -> Array:
        """A writable, C-contiguous array of ``spec.shape`` and ``spec.dtype``; what is in it does not matter."""


class _Loan(weakref.ref):  # type: ignore[type-arg]
    """Watches one array over the memory of a pool."""

    __slots__ = ("memory",)
    memory: bytearray


class Pool:
    """Memory by size, used again as soon as the last array on it is gone.

    Every array handed out is new, on a ``bytearray`` of the pool. Views of it, and views of those, keep it alive
    (numpy shortens chains of views only down to the array on foreign memory), so when it dies nobody can see the
    memory any more. Nothing has to be given back, and what a caller keeps is never overwritten.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self.allocated = 0
        """How often the system was asked for memory: stands still once every array comes from used memory."""
        self._kept_bytes = kept_bytes
        self._free: dict[int, deque[bytearray]] = {}
        self._loans: dict[int, _Loan] = {}
        own = weakref.ref(self)

        def give_back(loan: Any) -> None:
            pool = own()
            if pool is not None:
                pool._give_back(loan)

        self._callback = give_back

    def allocate(self, spec: TensorSpec, /) -> Array:
        size = spec.nbytes
        free = self._free.get(size)
        if free is None:
            least, most = KEPT_BUFFERS
            kept = min(max(self._kept_bytes // max(size, 1), least), most)
            free = self._free.setdefault(size, deque(maxlen=kept))
        try:
            memory = free.pop()
        except IndexError:
            memory = bytearray(size)
            self.allocated += 1
        array: Array = np.ndarray(spec.shape, spec.dtype, memory)
        loan = _Loan(array, self._callback)
        loan.memory = memory
        self._loans[id(loan)] = loan
        return array

    def _give_back(self, loan: _Loan) -> None:
        """Called wherever the array dies, in the middle of anything: so no lock, and nothing that is not atomic."""
        del self._loans[id(loan)]
        self._free[len(loan.memory)].append(loan.memory)
