"""How long to wait for devices that others have: one rule for all commands and functions.

``wait`` is a number of seconds: 0 does not wait at all. None waits as long as ``ATOLL_LEASE_TIMEOUT`` says; where that
is not set, for ever. (Only who opens an interpreter without a lease does not wait then, since programs that were
written for the vendor's runtime expect an error at once.)
"""

from __future__ import annotations

import math
import os

from atoll.errors import UsageError

VARIABLE = "ATOLL_LEASE_TIMEOUT"
"""Environment variable: seconds to wait for busy devices where the caller does not say, or ``none``: for ever."""


def seconds_to_wait(wait: float | None, default: float = math.inf) -> float:
    """The seconds that ``wait`` means, ``inf`` for ever.

    Raises:
        UsageError: it, or the environment variable, is not a number of seconds.
    """
    if wait is not None:
        if not wait >= 0:
            raise UsageError(f"cannot wait for {wait} s", "Give 0 or more seconds; None: for ever.")
        return wait
    text = os.environ.get(VARIABLE, "").strip().lower()
    if text == "none":
        return math.inf
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not seconds >= 0 or (text and seconds == math.inf):
        raise UsageError(f"{VARIABLE}={text!r} is not a number of seconds", "Examples: 0, 30, none.")
    return seconds
