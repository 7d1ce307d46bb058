"""A text like ``usb:0=disconnect@10;slow@4`` → the faults that virtual devices are to show."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from atoll.errors import UsageError

VARIABLE = "ATOLL_FAULTS"
"""Environment variable: ``[DEVICE=]FAULT[,FAULT...][;...]``, read when the devices are listed first."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong on a virtual device. Inferences are counted from 1 over the life of the device."""

    error_at: int | None = None
    """This inference fails, the others work."""
    stall_at: int | None = None
    """This inference hangs for ``stall_s`` seconds, or until the device is reset."""
    stall_s: float = math.inf
    disconnect_at: int | None = None
    """From this inference on the device is gone, until it is plugged in again."""
    link_slowdown: float = 1.0
    """Transfers take this many times as long."""
    temperature_c: float | None = None
    """The chip is this hot, whatever it does."""


NO_FAULTS = Faults()

_SYNTAX = "Examples: error@5; stall@5; stall@5:2.5 (seconds); disconnect@100; slow@4 (times); hot@95 (°C); "
_EXAMPLE = "several: usb:0=error@5,slow@4;pci:1=disconnect@10."


def parse_faults(text: str) -> dict[str, Faults]:
    """Device (as selected, "" for all) -> its faults.

    Raises:
        UsageError: the text is not of that form.
    """
    faults: dict[str, Faults] = {}
    for part in filter(None, (item.strip() for item in text.split(";"))):
        device, _, listed = part.rpartition("=")
        device = device.strip()
        for item in listed.split(","):
            faults[device] = _with(faults.get(device, NO_FAULTS), item.strip())
    return faults


def _with(faults: Faults, item: str) -> Faults:
    match = re.fullmatch(r"(error|stall|disconnect|slow|hot)@([0-9]{1,9}(?:\.[0-9]{1,6})?)(?::([0-9.]{1,12}))?", item)
    if match is not None:
        kind, value, extra = match[1], match[2], match[3]
        try:
            number, seconds = float(value), math.inf if extra is None else float(extra)
        except ValueError:
            number = seconds = -1.0
        whole = number.is_integer() and number >= 1
        if extra is not None and kind != "stall":
            pass
        elif kind == "error" and whole:
            return replace(faults, error_at=int(number))
        elif kind == "stall" and whole and seconds >= 0:
            return replace(faults, stall_at=int(number), stall_s=seconds)
        elif kind == "disconnect" and whole:
            return replace(faults, disconnect_at=int(number))
        elif kind == "slow" and number >= 1:
            return replace(faults, link_slowdown=number)
        elif kind == "hot":
            return replace(faults, temperature_c=number)
    raise UsageError(f"'{item}' is no fault of a device", _SYNTAX + _EXAMPLE)
