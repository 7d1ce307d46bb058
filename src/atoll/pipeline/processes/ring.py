"""Items of one process → the same items, in order, in another: frames of shared memory, and two semaphores."""

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

import numpy as np

from atoll.device.aligned_arrays import ALIGNMENT
from atoll.errors import PipelineError
from atoll.pipeline.pool import Allocator
from atoll.pipeline.threads.item import Item, StageError
from atoll.pipeline.threads.queues import Channel, ChannelClosed
from atoll.products.tensor_spec import Array, TensorSpec

ITEM, ERROR, END = range(3)
"""What a frame holds: tensors; nothing, for the failure comes through the pipe; nothing, ever again."""

WRITTEN, TAKEN, ABORTED, KINDS = range(4)
"""Places in the header (int64): how many items and failures were written, and how many of them taken, whether the ring
was aborted, and from there on each frame's kind."""

MOST_PICKLED = 4096
"""Bytes of an exception: what the pipe surely takes before somebody reads."""


@dataclass(frozen=True)
class SentError:
    """An exception on its way to another process: itself, as far as pickle knows it, and what it says."""

    pickled: bytes
    text: str

    @classmethod
    def of(cls, error: BaseException) -> SentError:
        """The error as it can travel."""
        text = f"{type(error).__name__}: {error}"[: MOST_PICKLED // 4]
        try:
            pickled = pickle.dumps(error)
        except Exception:
            pickled = b""
        return cls(pickled if len(pickled) <= MOST_PICKLED else b"", text)

    @property
    def error(self) -> Exception:
        """The exception if this process can make it again, else one that says the same."""
        with contextlib.suppress(Exception):
            error = pickle.loads(self.pickled)
            if isinstance(error, Exception):
                return error
        return PipelineError(self.text)


class RingSignals:
    """What the two processes of a ring wake each other with. Travels to a process only when that is started."""

    def __init__(self, context: SpawnContext) -> None:
        self.items: Semaphore = context.Semaphore(0)
        self.room: Semaphore = context.Semaphore(0)
        self.errors_out: Connection
        self.errors_in: Connection
        self.errors_out, self.errors_in = context.Pipe(duplex=False)

    def close(self) -> None:
        """Give the pipe back."""
        self.errors_out.close()
        self.errors_in.close()


@dataclass(frozen=True)
class RingMemory:
    """The shared memory of a ring, as it is told to another process: its name, and what is in each of its frames."""

    name: str
    specs: tuple[TensorSpec, ...]
    frames: int


class Ring:
    """One side of a ring: one process writes, another reads.

    Within a process any number of threads may read, but only one at a time may write.
    """

    def __init__(self, memory: RingMemory, signals: RingSignals) -> None:
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
        self._left = self._named = False
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @classmethod
    def create(cls, specs: Sequence[TensorSpec], frames: int, signals: RingSignals) -> Ring:
        """A new one, whose memory is there until :meth:`forget` and the last :meth:`close`.

        Raises:
            PipelineError: the system has not so much shared memory, or a tensor is not plain memory.
        """
        for spec in specs:
            if spec.dtype.kind in "OSU":
                raise PipelineError(f"tensor {spec} cannot go to another process", "Leave processes out.")
        size = _up(8 * (KINDS + frames)) + frames * sum(_up(spec.nbytes) for spec in specs)
        try:
            shared = SharedMemory(create=True, size=size)
            try:
                if hasattr(os, "posix_fallocate"):  # else writing ends the process when the memory is used up
                    os.posix_fallocate(shared._fd, 0, size)  # type: ignore[attr-defined]
                ring = cls(RingMemory(shared.name, tuple(specs), frames), signals)
            except BaseException:
                shared.unlink()
                raise
            finally:
                shared.close()
        except OSError as error:
            raise PipelineError(
                f"no shared memory for {frames} frames of {size // frames} bytes: {error}",
                "Enlarge /dev/shm (docker: --shm-size), or leave processes out.",
            ) from error
        ring._named = True
        for _ in range(frames):
            signals.room.release()
        return ring

    @property
    def written(self) -> int:
        """How many items and failures were written so far, as either side sees it."""
        return int(self._header[WRITTEN])

    @property
    def taken(self) -> int:
        """How many of them were taken out."""
        return int(self._header[TAKEN])

    def put(self, tensors: dict[str, Array]) -> None:
        """Copy the tensors into a frame, when there is one free. :class:`ChannelClosed` after an abort.

        Raises:
            PipelineError: a tensor is not what the ring was made for; nothing was written.
        """
        for spec in self.memory.specs:
            array = tensors[spec.name]
            if array.shape != spec.shape or array.dtype != spec.dtype:
                raise PipelineError(
                    f"expected tensor {spec}, got {array.dtype}{list(array.shape)}",
                    "Outputs whose size depends on values cannot leave a process: leave processes out.",
                )
        _fill(self._frame(ITEM), tensors)
        self._publish()

    def put_error(self, error: StageError) -> None:
        """Put the failure of an item in its place. :class:`ChannelClosed` after an abort."""
        self._frame(ERROR)
        self._signals.errors_in.send((error.segment, error.device, SentError.of(error.__cause__ or error)))
        self._publish()

    def finish(self) -> None:
        """Nothing more will be written."""
        with contextlib.suppress(ChannelClosed):
            self._frame(END)
            self._signals.items.release()

    def _frame(self, kind: int) -> list[tuple[TensorSpec, Array]]:
        self._signals.room.acquire()
        if self._left or self._header[ABORTED]:
            self._signals.room.release()
            raise ChannelClosed
        frame = self._next % self.memory.frames
        self._header[KINDS + frame] = kind
        return self._views[frame]

    def _publish(self) -> None:
        self._next += 1
        self._header[WRITTEN] = self._next
        self._signals.items.release()

    def get(self, allocator: Allocator) -> Item:
        """The next item, numbered from 0, its tensors copied to new arrays; or its error, with that number.

        :class:`ChannelClosed` at the end, and after an abort when nothing is left.
        """
        self._signals.items.acquire()  # outside of the lock: each item wakes one thread
        with self._lock:
            aborted = self._header[ABORTED] and self._next >= self._header[WRITTEN]  # what was written may be read
            if self._left or aborted:
                self._signals.items.release()
                raise ChannelClosed
            frame = self._next % self.memory.frames
            kind = self._header[KINDS + frame]
            if kind == END:
                self._signals.items.release()  # for the next thread
                raise ChannelClosed
            item = Item(self._next, {})
            if kind == ERROR:
                segment, device, sent = self._signals.errors_out.recv()
                item.error = StageError(segment, self._next, sent.error, device)
            else:
                item.tensors = {spec.name: allocator.allocate(spec) for spec in self.memory.specs}
                _copy(self._views[frame], item.tensors)
            self._next += 1
            self._header[TAKEN] = self._next
        self._signals.room.release()
        return item

    def stop_reading(self) -> None:
        """Wake the readers on this side for good; never blocks nor locks."""
        self._left = True
        self._signals.items.release()

    def stop_writing(self) -> None:
        """Wake the writer on this side for good; never blocks nor locks."""
        self._left = True
        self._signals.room.release()

    def abort(self) -> None:
        """Let nobody wait on either side again; never blocks nor locks. Nothing in a forked copy of the process."""
        if os.getpid() == self._pid:
            self._header[ABORTED] = 1
            self._signals.items.release()
            self._signals.room.release()

    def close(self) -> None:
        """Let go of the memory, after an abort. May be repeated."""
        self.forget()
        self.stop_reading()
        with self._lock:
            self._header = self._header.copy()  # the counts stay
            self._views.clear()
            with contextlib.suppress(BufferError):  # an exception's traceback still sees it
                self._shared.close()

    def forget(self) -> None:
        """Free the name: once both sides are open, nothing is left behind, whatever happens to them."""
        if self._named:
            self._named = False
            self._shared.unlink()


def _fill(views: list[tuple[TensorSpec, Array]], tensors: dict[str, Array]) -> None:
    for spec, view in views:
        view[...] = tensors[spec.name]


def _copy(views: list[tuple[TensorSpec, Array]], tensors: dict[str, Array]) -> None:
    for spec, view in views:
        tensors[spec.name][...] = view


class RingSource(Channel[Item]):
    """The reading side as a channel."""

    __slots__ = ("_allocator", "_ring")

    def __init__(self, ring: Ring, allocator: Allocator) -> None:
        super().__init__(ring.memory.frames)
        self._ring = ring
        self._allocator = allocator

    def __len__(self) -> int:
        return max(self._ring.written - self._ring.taken, 0)

    def get(self, timeout: float | None = None) -> Item:  # noqa: ARG002 - workers wait as long as it takes
        """The next item, its tensors in new arrays."""
        return self._ring.get(self._allocator)

    def abort(self) -> None:
        """Wake the readers for good."""
        self._ring.stop_reading()


class RingSink(Channel[Item]):
    """The writing side as a channel behind ``segment``: bounded for good, because its reader always reads."""

    __slots__ = ("_ring", "_segment")

    def __init__(self, ring: Ring, segment: int) -> None:
        super().__init__(ring.memory.frames)
        self._ring = ring
        self._segment = segment

    def put(self, item: Item) -> None:
        """Copy its tensors into a frame; its failure, if it has failed."""
        if item.error is None:
            try:
                self._ring.put(item.tensors)
                return
            except PipelineError as error:
                item.error = StageError(self._segment, item.number, error)
        self._ring.put_error(item.error)

    def finish(self) -> None:
        """Nothing more will be written."""
        self._ring.finish()

    def remove_bound(self) -> None:
        """Nothing: a ring has the frames that it has."""

    def abort(self) -> None:
        """Wake the writer for good."""
        self._ring.stop_writing()


def _up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
