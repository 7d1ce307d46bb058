"""A lease and a command → the command, alone on the leased devices until all that it started has ended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from atoll.device import inventory
from atoll.device.leasing import directory as leasedir
from atoll.device.leasing.directory import lease_directory
from atoll.device.leasing.lease import Lease
from atoll.device.leasing.locks import try_lock
from atoll.errors import LeaseDirectoryError

EXIT_NOT_FOUND = 127
"""The shells' convention for a command that does not exist."""


def run_alone(taken: Lease, command: Sequence[str]) -> int:
    """Wait for the devices, then run the command on them; its exit code, where this returns at all.

    Where the system can, the command takes this process's place: signals and exit code are its own, and so are the
    locks.
    """
    taken.acquire()
    variables, descriptors = hand_over(taken)
    environment = {**os.environ, **variables}
    if sys.platform != "win32":
        os.execvpe(command[0], list(command), environment)
    try:
        return subprocess.call(command, env=environment, close_fds=not descriptors)
    finally:
        taken.release()


def hand_over(taken: Lease) -> tuple[dict[str, str], tuple[int, ...]]:
    """What a command needs to have the devices of a lease to itself: environment variables and open descriptors.

    It sees these devices only (``ATOLL_DEVICES``), and its own processes share them in a lease directory of their
    own. As long as one of them has the descriptors, the devices stay leased, whoever dies.
    """
    outer = lease_directory()
    for old in outer.glob("within-*"):
        _remove_if_dead(old)
    inner = Path(tempfile.mkdtemp(prefix=f"within-{os.getpid()}-", dir=outer))
    alive = try_lock(inner / _ALIVE)
    assert alive is not None, f"{inner} is new"
    taken.locks = (*taken.locks, alive)
    for lock in taken.locks:
        os.set_inheritable(lock.descriptor, True)
    environment = {
        leasedir.VARIABLE: str(inner),
        inventory.VISIBLE_VARIABLE: ",".join(device.path for device in taken.devices),
    }
    return environment, tuple(lock.descriptor for lock in taken.locks)


_ALIVE = "alive.lock"


def _remove_if_dead(directory: Path) -> None:
    try:
        if not (directory / _ALIVE).exists() or (lock := try_lock(directory / _ALIVE)) is None:
            return
    except (OSError, LeaseDirectoryError):  # another user's has to stay
        return
    lock.release()
    shutil.rmtree(directory, ignore_errors=True)
