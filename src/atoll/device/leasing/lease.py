"""A number of Edge TPUs wanted → devices that no other process has until they are given back."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

from atoll.device import inventory
from atoll.device.choice import Selection, choose_devices, listed, one_each
from atoll.device.edge_tpu import EdgeTpu
from atoll.device.leasing.directory import lease_directory
from atoll.device.leasing.locks import Lock
from atoll.device.leasing.queue import MOST_URGENT, Holder, LeaseQueue
from atoll.device.leasing.waiting import seconds_to_wait
from atoll.errors import DeviceBusyError, DeviceError, UsageError
from atoll.products.arguments import require_types, require_within
from atoll.products.progress import OnMessage, ignore


class Closeable(Protocol):
    """An interpreter that can be made to let its device go."""

    def close(self) -> None:
        """Give the device back."""


class _Hold:
    """A device that this process has: freed when the last of its users is gone."""

    def __init__(self, lock: Lock, leased: bool) -> None:
        self.lock = lock
        self.leased = leased
        """By a lease; else by an interpreter only."""
        self.users = 1
        self.pid = os.getpid()
        self.opened: weakref.WeakSet[Closeable] = weakref.WeakSet()
        """Interpreters that use it, to be closed when the lease ends."""


_guard = threading.RLock()
"""Reentrant because a finalizer may run, and free a device, wherever the garbage collector likes."""

_holds: dict[tuple[str, str], _Hold] = {}
"""By lease directory and device path."""


def lease(
    count: int | None = None,
    *,
    devices: Selection | Sequence[Selection] | None = None,
    bus: str | None = None,
    virtual: bool | None = None,
    priority: int = 0,
    wait: float | None = None,
    on_message: OnMessage = ignore,
) -> Lease:
    """Edge TPUs for this process alone: ``with atoll.lease(4, bus="pcie") as devices: ...``.

    All of them at once or none, first come first served; they are free again when the block ends, which closes the
    interpreters made on them, or within a second of the death of the process. No other lease, not even of another
    thread, gets one of them meanwhile; :func:`atoll.make_interpreter` in this process may use them.

    Args:
        count: How many; None: one, or one for each of ``devices``.
        devices: Choose among these only: ``usb`` and ``pci`` (any of them), ``usb:0``, ``:2``, a path, a device, or
            several of these.
        bus: ``pcie``, ``usb``, ``usb3`` or ``usb2``; None: any.
        virtual: Only virtual devices (True), only real ones (False), or both (None).
        priority: -100 to 100; the higher goes first, but a step is worth one minute of waiting, so that a stream of
            urgent leases cannot keep the others waiting for ever.
        wait: Seconds to wait for devices that others have; 0: not at all; None: as long as ``ATOLL_LEASE_TIMEOUT``
            says, for ever if it is not set.
        on_message: Called once, with a sentence that says what the lease waits for.

    Raises:
        UsageError: a count, bus, priority or time that makes no sense.
        DeviceError: there are not so many devices of that kind at all.

    Entering the block raises DeviceBusyError when the time is over and LeaseDirectoryError when
    the directory of the locks cannot be used.
    """
    require_types(lease, locals())
    require_within(-MOST_URGENT, MOST_URGENT, priority=priority)
    named = listed(devices)
    wanted = count if count is not None else len(named) if devices is not None else 1
    if wanted < 1:
        raise UsageError(f"{wanted} Edge TPUs cannot be leased", "Ask for one or more.")
    if wanted == len(named):
        each = one_each(named)
        if named.count(named[0]) < wanted:  # of what a single name means, whichever are free
            named = [*each]
    candidates = choose_devices(named, bus=bus, virtual=virtual)
    if len(candidates) < wanted:
        kind = f" on {bus}" if bus else ""
        there = f"there {'is' if len(candidates) == 1 else 'are'} {len(candidates) or 'none'}"
        raise DeviceError(f"{wanted} Edge TPUs{kind} are asked for: {there}", inventory.HINT)
    return Lease(candidates, wanted, priority, seconds_to_wait(wait), on_message)


class Lease:
    """A lease to be taken, and given back, once or several times; see :func:`lease`."""

    def __init__(
        self, candidates: Sequence[EdgeTpu], count: int, priority: int, wait: float, on_message: OnMessage
    ) -> None:
        self._candidates = {device.path: device for device in candidates}
        self._count = count
        self._priority = priority
        self._wait = wait
        self._on_message = on_message
        self._holds: list[tuple[_Hold, Callable[[], None]]] = []
        self.devices: tuple[EdgeTpu, ...] = ()
        """What is leased now, in the order in which the devices were named or are listed."""
        self.locks: tuple[Lock, ...] = ()

    def acquire(self) -> tuple[EdgeTpu, ...]:
        """Wait for the devices and take them."""
        if self.devices:
            raise UsageError("this lease is taken already", "Make a second one for further devices.")
        queue = LeaseQueue(lease_directory())
        _collect([_holds.get((str(queue.directory), path)) for path in self._candidates])
        locks = queue.acquire(list(self._candidates), self._count, self._priority, self._wait, self._on_message)
        with _guard:
            for path, lock in locks.items():
                hold = _holds[str(queue.directory), path] = _Hold(lock, leased=True)
                self._holds.append((hold, _release_once((str(queue.directory), path), hold)))
        self.locks = tuple(locks.values())
        self.devices = tuple(device for path, device in self._candidates.items() if path in locks)
        return self.devices

    def release(self) -> None:
        """Give the devices back; what was not taken stays so."""
        holds, self._holds, self.devices, self.locks = self._holds, [], (), ()
        for hold, release in holds:
            for interpreter in list(hold.opened):
                interpreter.close()
            hold.leased = False  # what keeps it from here on is an interpreter, or a view of a tensor
            release()
        _collect([hold for hold, _ in holds])

    def __enter__(self) -> tuple[EdgeTpu, ...]:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Reservation:
    """A device for one more interpreter of this process, until ``release``."""

    def __init__(self, device: EdgeTpu, hold: _Hold | None = None, release: Callable[[], None] = lambda: None) -> None:
        self.device = device
        self.release = release
        self._hold = hold

    def close_with_lease(self, interpreter: Closeable) -> None:
        """Let the end of the lease, if there is one, close the interpreter."""
        if self._hold is not None and self._hold.leased:
            self._hold.opened.add(interpreter)


def reserve(candidates: Sequence[EdgeTpu], wait: float | None = None) -> Reservation:
    """The best of the devices, for one more interpreter.

    Devices that this process leased come first, then the one that the fewest of its interpreters use; of equals
    the first. Devices of other processes do not count unless there is nothing else: then it waits.

    Raises:
        DeviceError: there is none.
        DeviceBusyError: other processes have all of them for longer than ``wait`` seconds (None: as long as
            ``ATOLL_LEASE_TIMEOUT`` says, else none at all).
        LeaseDirectoryError: the directory of the locks cannot be used.
    """
    if not candidates:
        raise DeviceError("no Edge TPU: there is none", inventory.HINT)
    ordered = sorted(candidates, key=lambda device: device.interpreters)
    seconds = seconds_to_wait(wait, default=0.0)
    if not ordered[0].listed:
        return Reservation(ordered[0])
    directory = lease_directory()
    with _guard:
        own = [(device, hold) for device in ordered if (hold := _holds.get((str(directory), device.path)))]
        leased = [(device, hold) for device, hold in own if hold.leased]
        if leased:
            return _join(directory, *leased[0])
    mine = {device.path for device, _ in own}
    idle = [device for device in ordered if device.path not in mine]
    queue = LeaseQueue(directory)
    while True:
        try:
            locks = queue.acquire([device.path for device in idle], 1, wait=0 if own else seconds) if idle else {}
        except DeviceBusyError:
            if not own:
                raise
            locks = {}
        with _guard:
            for path, lock in locks.items():
                _holds[str(directory), path] = hold = _Hold(lock, leased=False)
                device = next(device for device in idle if device.path == path)
                return Reservation(device, hold, _release_once((str(directory), path), hold))
            for device, hold in own:
                if hold.users:
                    return _join(directory, device, hold)
        own = []  # all were freed meanwhile by another thread
        idle = ordered


def holders(devices: Sequence[EdgeTpu]) -> dict[str, Holder]:
    """Who holds which of the devices now, by path; devices nobody holds are left out."""
    return LeaseQueue(lease_directory()).holders([device.path for device in devices if device.listed])


def _collect(holds: Sequence[_Hold | None]) -> None:
    """Let go of the devices of interpreters that nothing but a cycle of references keeps."""
    for _ in range(2):  # first the pipeline or the traceback goes, then what it had can
        if any(hold is not None and hold.users and not hold.leased for hold in holds):
            gc.collect()


def _join(directory: object, device: EdgeTpu, hold: _Hold) -> Reservation:
    hold.users += 1
    return Reservation(device, hold, _release_once((str(directory), device.path), hold))


def _release_once(key: tuple[str, str], hold: _Hold) -> Callable[[], None]:
    pending = [hold]

    def release() -> None:
        with _guard:
            if pending and hold.pid == os.getpid():
                pending.clear()
                hold.users -= 1
                if not hold.users:
                    hold.lock.release()
                    if _holds.get(key) is hold:
                        del _holds[key]

    return release


def _after_fork() -> None:
    """A forked child has none of its parent's devices."""
    global _guard
    _guard = threading.RLock()
    _holds.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
