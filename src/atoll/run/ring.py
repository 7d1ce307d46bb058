"""Items of one process -> the same items, in order, in another: frames of shared memory, and two semaphores."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from multiprocessing.shared_memory import SharedMemory
from multiprocessing.synchronize import Semaphore
from typing import Any

import numpy as np

from atoll.arrays import ALIGNMENT
from atoll.errors import PipelineError
from atoll.run.pool import Allocator
from atoll.run.queues import Channel, Closed
from atoll.run.stage import Item, StageError
from atoll.run.wiring import Array, TensorSpec

ITEM, ERROR, END = range(3)
"""What a frame holds: tensors; nothing, for a :class:`StageError` comes through the pipe; nothing, ever again."""

WRITTEN, ABORTED, KINDS = 0, 1, 2
"""Places in the header (int64): how many frames were written, whether the ring was aborted, and each frame's kind."""


class Signals:
    """What the two processes of a ring wake each other with. Travels to a process only when that is started."""

    def __init__(self, context: SpawnContext) -> None:
        self.items: Semaphore = context.Semaphore(0)
        self.room: Semaphore = context.Semaphore(0)
        self.errors_out: Connection
        self.errors_in: Connection
        self.errors_out, self.errors_in = context.Pipe(duplex=False)

    def close(self) -> None:
        self.errors_out.close()
        self.errors_in.close()


@dataclass(frozen=True)
class Memory:
    """The shared memory of a ring, as it is told to another process: its name, and what is in each of its frames."""

    name: str
    specs: tuple[TensorSpec, ...]
    frames: int


class Ring:
    """One side of a ring: one process writes, another reads.

    Within a process any number of threads may read, but only one at a time may write.
    """

    def __init__(self, memory: Memory, signals: Signals) -> None:
        self.memory = memory
        self._signals = signals
        self._shared = SharedMemory(memory.name)
        everything: Array = np.frombuffer(self._shared.buf, np.uint8)  # type: ignore[arg-type]
        place = _up(8 * (KINDS + memory.frames))
        self._header: Array = everything[: 8 * (KINDS + memory.frames)].view(np.int64)
        self._views: list[list[tuple[TensorSpec, Array]]] = []
        for _ in range(memory.frames):
            self._views.append([])
            for spec in memory.specs:
                array = everything[place : place + spec.nbytes].view(spec.dtype).reshape(spec.shape)
                self._views[-1].append((spec, array))
                place += _up(spec.nbytes)
        self._next = 0
        self._closed = self._named = False
        self._lock = threading.Lock()

    @classmethod
    def create(cls, specs: Sequence[TensorSpec], frames: int, signals: Signals) -> Ring:
        """A new one, whose memory is there until :meth:`forget` and the last :meth:`close`.

        Raises:
            PipelineError: the system has not so much shared memory.
        """
        size = _up(8 * (KINDS + frames)) + frames * sum(_up(spec.nbytes) for spec in specs)
        try:
            shared = SharedMemory(create=True, size=size)
            try:
                if hasattr(os, "posix_fallocate"):  # else writing ends the process when the memory is used up
                    os.posix_fallocate(shared._fd, 0, size)  # type: ignore[attr-defined]
            except OSError:
                shared.unlink()
                raise
        except OSError as error:
            raise PipelineError(
                f"no shared memory for {frames} frames of {size // frames} bytes: {error}",
                "Enlarge /dev/shm (docker: --shm-size), or leave processes out.",
            ) from error
        ring = cls(Memory(shared.name, tuple(specs), frames), signals)
        ring._named = True
        shared.close()
        for _ in range(frames):
            signals.room.release()
        return ring

    @property
    def written(self) -> int:
        """How many items, errors and ends were written so far, as either side sees it."""
        return int(self._header[WRITTEN])

    def put(self, tensors: dict[str, Array], error: StageError | None = None) -> None:
        """Copy the tensors into a frame, when there is one free. :class:`Closed` after an abort."""
        views = self._frame(ERROR if error else ITEM)
        if error:
            self._signals.errors_in.send((error.segment, error.device, sendable(error.__cause__ or error)))
        else:
            for spec, view in views:
                view[...] = tensors[spec.name]
        self._publish()

    def finish(self) -> None:
        """Nothing more will be written."""
        with contextlib.suppress(Closed):
            self._frame(END)
            self._publish()

    def _frame(self, kind: int) -> list[tuple[TensorSpec, Array]]:
        self._signals.room.acquire()
        if self._closed or self._header[ABORTED]:
            self._signals.room.release()
            raise Closed
        frame = self._next % self.memory.frames
        self._header[KINDS + frame] = kind
        return self._views[frame]

    def _publish(self) -> None:
        self._next += 1
        self._header[WRITTEN] = self._next
        self._signals.items.release()

    def get(self, allocator: Allocator) -> Item:
        """The next item, numbered from 0, its tensors copied to new arrays; or its error, with that number.

        :class:`Closed` at the end and after an abort.
        """
        self._signals.items.acquire()  # outside of the lock: each item wakes one thread
        with self._lock:
            if self._closed or self._header[ABORTED]:
                self._signals.items.release()
                raise Closed
            frame = self._next % self.memory.frames
            kind = self._header[KINDS + frame]
            if kind == END:
                self._signals.items.release()  # for the next thread
                raise Closed
            item = Item(self._next, {})
            if kind == ERROR:
                segment, device, cause = self._signals.errors_out.recv()
                item.error = StageError(segment, self._next, cause, device)
            else:
                for spec, view in self._views[frame]:
                    array = allocator.allocate(spec)
                    array[...] = view
                    item.tensors[spec.name] = array
            self._next += 1
        self._signals.room.release()
        return item

    def abort(self, everywhere: bool = False) -> None:
        """Wake for good whoever waits on this side (``everywhere``: and on the other); never blocks nor locks."""
        self._closed = True
        if everywhere:
            self._header[ABORTED] = 1
        self._signals.items.release()
        self._signals.room.release()

    def close(self) -> None:
        """Let go of the memory, after an abort. May be repeated."""
        self.forget()
        with self._lock:
            self._header = np.zeros(KINDS, np.int64)
            self._views.clear()
            self._shared.close()

    def forget(self) -> None:
        """Free the name: once both sides are open, nothing is left behind, whatever happens to them."""
        if self._named:
            self._named = False
            self._shared.unlink()


class RingSource(Channel[Item]):
    """The reading side as a channel."""

    __slots__ = ("_allocator", "_ring")

    def __init__(self, ring: Ring, allocator: Allocator) -> None:
        super().__init__(ring.memory.frames)
        self._ring = ring
        self._allocator = allocator

    def __len__(self) -> int:
        return max(self._ring.written - self._ring._next, 0)

    def get(self, timeout: float | None = None) -> Item:  # noqa: ARG002 - workers wait as long as it takes
        return self._ring.get(self._allocator)

    def abort(self) -> None:
        self._ring.abort()


class RingSink(Channel[Item]):
    """The writing side as a channel: bounded for good, because its reader always reads."""

    __slots__ = ("_ring",)

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring.memory.frames)
        self._ring = ring

    def put(self, item: Item) -> None:
        self._ring.put(item.tensors, item.error)

    def finish(self) -> None:
        self._ring.finish()

    def lift(self) -> None:
        pass

    def abort(self) -> None:
        self._ring.abort()


def _up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def sendable(cause: BaseException) -> BaseException:
    """The exception itself if another process can make it again, else one that says the same."""
    try:
        copy: Any = pickle.loads(pickle.dumps(cause))
        if type(copy) is type(cause):
            return cause
    except Exception:
        pass
    return PipelineError(f"{type(cause).__name__}: {cause}")
