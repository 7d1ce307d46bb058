"""Names of devices wanted → locks on them, first come first served, among all processes of a machine.

One directory holds everything: a lock file per device, which only its holder has locked; a ticket per waiter, locked
while it waits; and a mutex, taken for well under a millisecond whenever anybody looks or takes. No process is needed
to keep it, and what a killed process leaves is unlocked files, which mean nothing. Devices are taken all at once or
not at all, so nobody holds some while waiting for others: there is no deadlock.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from atoll.device.leasing.directory import prepare
from atoll.device.leasing.locks import Lock, read, try_lock
from atoll.errors import DeviceBusyError, LeaseDirectoryError, UsageError
from atoll.products.progress import OnMessage, ignore

FASTEST_POLL, SLOWEST_POLL = 0.004, 0.1
"""Seconds between two looks of a waiter: 4 ms cost 2 % of a core; 0.1 s bound how long a free device lies idle."""

_MUTEX_SECONDS = 5.0
"""Seconds after which whoever is inside the mutex must be a stopped process."""

MOST_URGENT = 100
"""Priorities go from -100 to 100."""

PRIORITY_SECONDS = 60.0
"""What one step of priority is worth: it goes before whoever has waited for up to a minute longer.

So a stream of urgent leases cannot starve the others: priorities that grow by one a minute order any two waiters as
their times of arrival do, moved by their priorities, and that rank never changes."""

_TICKET = re.compile(r"wait-([0-9]{15})-([0-9]{12})-[0-9]+-[0-9]+\.json")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a device; ``since`` in seconds since 1970."""

    pid: int
    command: str
    since: float

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})" if self.pid else "a process that did not say its name"


@dataclass(frozen=True, slots=True)
class _Ticket:
    order: tuple[int, int]
    """Rank and, of equals, number."""
    path: Path
    keys: frozenset[str] | None
    """What it waits for; None (everything) when it was killed before it had said so."""


class LeaseQueue:
    """The devices of one directory and who waits for them; objects of one directory are interchangeable."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: dict[str, _Ticket] = {}

    def acquire(
        self,
        keys: Sequence[str],
        count: int,
        priority: int = 0,
        wait: float = math.inf,
        on_message: OnMessage = ignore,
    ) -> dict[str, Lock]:
        """Take ``count`` of the devices ``keys``, the first ones that are free.

        Whoever came earlier, or with a higher priority, and wants one of the same devices goes first.

        Args:
            wait: Seconds to wait; 0 fails at once, inf waits as long as it takes.
            on_message: Called with once what it has to wait for.

        Raises:
            DeviceBusyError: the time is over.
            LeaseDirectoryError: the directory cannot be used.
            UsageError: a priority that is none.
        """
        if abs(priority) > MOST_URGENT:
            raise UsageError(f"priority {priority} is not between -{MOST_URGENT} and {MOST_URGENT}")
        prepare(self.directory)
        begin, pacing = time.monotonic(), _Pacing()
        ticket: tuple[_Ticket, Lock] | None = None
        try:
            while True:
                position, free = self._unclaimed(keys, count, priority, ticket and ticket[0])
                waited = time.monotonic() - begin
                late = waited >= wait
                # Who has to wait for others anyway leaves the mutex to them.
                if len(free) >= count or ticket is None or late:
                    with self._mutex():
                        position, free = self._unclaimed(keys, count, priority, ticket and ticket[0], remove=True)
                        taken = self._take(free, count)
                        if taken:
                            return taken
                        if late:
                            raise self._busy(keys, count, wait)
                        if ticket is None:
                            ticket = self._enqueue(keys, priority)
                            on_message(f"Waiting: {self._busy(keys, count, 0).message}.")
                pause = pacing.next(position)
                time.sleep(min(pause, max(wait - waited, 0)))
        finally:
            if ticket is not None:
                _discard(*ticket)

    def holders(self, keys: Iterable[str]) -> dict[str, Holder]:
        """Those of the devices that somebody holds now, and who."""
        if not self.directory.exists():  # nobody has leased anything yet, and looking makes nothing
            return {}
        prepare(self.directory)
        with self._mutex():
            return self._holders(keys)

    def _holders(self, keys: Iterable[str]) -> dict[str, Holder]:
        held = {}
        for key in keys:
            path = self._path(key)
            if not path.exists():
                continue
            lock = try_lock(path)
            if lock is None:
                held[key] = _parse_holder(read(path))
            else:
                lock.release()
        return held

    @contextlib.contextmanager
    def _mutex(self) -> Iterator[None]:
        path, begin, owner = self.directory / "mutex.lock", time.monotonic(), b""
        while (lock := try_lock(path)) is None:
            if owner != (owner := read(path)):
                begin = time.monotonic()
            elif time.monotonic() - begin > _MUTEX_SECONDS:
                raise LeaseDirectoryError(
                    f"{_parse_holder(read(path))} has kept {path} locked for {_MUTEX_SECONDS:.0f} s",
                    "It was probably stopped (Ctrl-Z) while it took a device: continue or end it.",
                )
            time.sleep(0.0005)
        try:
            lock.write(_introduction())
            yield
        finally:
            lock.release()

    def _unclaimed(
        self, keys: Sequence[str], count: int, priority: int, own: _Ticket | None, remove: bool = False
    ) -> tuple[int, Sequence[str]]:
        """How many waiters are ahead, and the ``keys`` that none of them wants; may ``remove`` tickets of the dead."""
        tickets = self._tickets()
        last = own.order if own else (_rank(priority), sys.maxsize)
        ahead = [ticket for ticket in tickets if ticket.order < last]
        left = list(keys)
        for ticket in ahead:
            wanted = ticket.keys
            if wanted is not None and wanted.isdisjoint(left):
                continue
            lock = try_lock(ticket.path)
            if lock is not None:
                if remove:
                    _discard(ticket, lock)
                lock.release()
                continue
            left = [] if wanted is None else [key for key in left if key not in wanted]
            if len(left) < count:
                break
        return len(ahead), left

    def _tickets(self) -> list[_Ticket]:
        known = {}
        for name in os.listdir(self.directory):  # noqa: PTH208 - a Path per file costs more than the whole poll
            match = _TICKET.fullmatch(name)
            if match is not None:
                known[name] = self._known.get(name) or _read_ticket(self.directory / name, match)
        self._known = known
        return sorted(known.values(), key=lambda ticket: (ticket.order, ticket.path.name))

    def _take(self, keys: Sequence[str], count: int) -> dict[str, Lock]:
        """Lock ``count`` of ``keys``, or none."""
        taken: dict[str, Lock] = {}
        if len(keys) < count:
            return taken
        try:
            for key in keys:
                lock = try_lock(self._path(key))
                if lock is not None:
                    taken[key] = lock
                    if len(taken) == count:
                        for each in taken.values():
                            each.write(_introduction())
                        complete, taken = taken, {}
                        return complete
        finally:
            for lock in taken.values():
                lock.release()
        return {}

    def _enqueue(self, keys: Sequence[str], priority: int) -> tuple[_Ticket, Lock]:
        number = 1 + max((ticket.order[1] for ticket in self._known.values()), default=0)
        rank = _rank(priority)
        name = f"wait-{rank:015}-{number:012}-{os.getpid()}-{threading.get_native_id()}.json"
        ticket = _Ticket((rank, number), self.directory / name, frozenset(keys))
        # Locked and filled in before anybody can see it; the mutex makes the draft's name ours.
        draft = ticket.path if sys.platform == "win32" else self.directory / "draft"
        lock = try_lock(draft)
        if lock is None:
            raise LeaseDirectoryError(f"another program has locked {draft}", "End it, or remove the file.")
        lock.write(json.dumps({"keys": sorted(keys)}).encode())
        draft.rename(ticket.path)
        return ticket, lock

    def _busy(self, keys: Sequence[str], count: int, seconds: float) -> DeviceBusyError:
        held = self._holders(keys)
        asked = (
            f"Edge TPU {keys[0]} is asked for" if len(keys) == 1 else f"{count} of {len(keys)} Edge TPUs are asked for"
        )
        free = "" if len(keys) == 1 else f" and {len(keys) - len(held)} free"
        by: dict[str, list[str]] = {}
        for key, holder in held.items():
            by.setdefault(str(holder), []).append(key)
        who = "; ".join(f"{holder} holds {', '.join(names)}" for holder, names in by.items())
        waited = f" after {seconds:g} s" if seconds else ""
        return DeviceBusyError(
            f"{asked}{free}{waited}: {who or 'others were there earlier'}",
            "Wait for them (--wait SECONDS; by default for ever), or end them.",
        )

    def _path(self, key: str) -> Path:
        return self.directory / f"device-{quote(key, safe='')}.lock"


class _Pacing:
    """How long to sleep: the less the nearer the turn is, the more the longer nothing has happened."""

    def __init__(self) -> None:
        self._position = -1
        self._since = 0.0

    def next(self, position: int) -> float:
        now = time.monotonic()
        if position != self._position:
            self._position, self._since = position, now
        return min(max(FASTEST_POLL * (1 + position), (now - self._since) / 20), SLOWEST_POLL)


def _read_ticket(path: Path, match: re.Match[str]) -> _Ticket:
    try:
        keys = frozenset(map(str, json.loads(read(path))["keys"]))
    except (ValueError, TypeError, KeyError):
        keys = None
    return _Ticket((int(match[1]), int(match[2])), path, keys)


def _rank(priority: int) -> int:
    """Who comes now with that priority stands behind all lower ranks; milliseconds of the clock that processes share.

    Never negative. That clock begins with the system, as the tickets do: a restart unlocks, and so voids, the old ones.
    """
    return round((time.monotonic() + (MOST_URGENT - priority) * PRIORITY_SECONDS) * 1e3)


def _discard(ticket: _Ticket, lock: Lock) -> None:
    """Remove a ticket that this process has locked; one in another user's name may have to stay, which is harmless."""
    if sys.platform == "win32":  # an open file cannot be removed there
        lock.release()
    with contextlib.suppress(OSError):
        ticket.path.unlink()
    lock.release()


def _introduction() -> bytes:
    name = Path(sys.argv[0] or sys.executable).name if sys.argv else "python"
    command = " ".join([name, *sys.argv[1:]])
    return json.dumps({"pid": os.getpid(), "command": command[:120], "since": time.time()}).encode()


def _parse_holder(content: bytes) -> Holder:
    try:
        fields = json.loads(content)
        return Holder(int(fields["pid"]), str(fields["command"])[:120], float(fields["since"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        return Holder(0, "", 0.0)
