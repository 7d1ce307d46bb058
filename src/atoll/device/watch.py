"""Work on a device, in a thread of its own → its result, or an error once the device has gone quiet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from atoll.device.edge_tpu import EdgeTpu
from atoll.errors import DeviceError

_T = TypeVar("_T")

SILENCE_S = 120.0
"""A device of which no inference ends for so long is given up."""


def watched(device: EdgeTpu, work: Callable[[Callable[[], None]], _T], silence_s: float = SILENCE_S) -> _T:
    """What ``work`` returns or raises; it calls what it is given after each inference.

    A device that hangs hangs its thread for good, and there not even Ctrl-C would end it; so the thread is left behind.

    Raises:
        DeviceError: no inference ended for ``silence_s`` (up to twice that, if some had).
    """
    results: list[_T] = []
    failures: list[BaseException] = []
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1

    def run() -> None:
        try:
            results.append(work(tick))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="atoll-watched", daemon=True)
    thread.start()
    seen = -1
    while thread.is_alive():
        if done == seen:
            raise DeviceError(
                f"{device.path} has not answered for {silence_s:g} s, after {done} inferences",
                "Replug it, or reset the machine.",
            )
        seen = done
        thread.join(silence_s)
    if failures:
        raise failures[0]
    return results[0]
