"""The devices of this machine: the environment and a selection in -> a list, or the one device meant."""

from __future__ import annotations

import os
import re
import threading
from typing import Literal, cast

from atoll.device.virtual import VirtualEdgeTpu
from atoll.errors import DeviceError, UsageError

VARIABLE = "ATOLL_VIRTUAL_TPUS"
"""Environment variable that says which virtual devices exist: ``4`` (of type pci), or ``pci:2,usb:2``."""

DEFAULT = "pci:8"
"""Enough for a pipeline of eight segments."""

_MOST = 1000

_lock = threading.Lock()
_virtual: dict[str, VirtualEdgeTpu] = {}


def list_edge_tpus() -> list[dict[str, str]]:
    """The devices in the vendor's form: ``{'type': 'pci' | 'usb', 'path': ...}`` each.

    Raises:
        UsageError: ``ATOLL_VIRTUAL_TPUS`` cannot be understood.
    """
    return [{"type": device.type, "path": device.path} for device in edge_tpus()]


def edge_tpus() -> list[VirtualEdgeTpu]:
    """The devices themselves; always the same objects within one process."""
    setting = os.environ.get(VARIABLE, DEFAULT).strip()
    counts: dict[str, int] = {}
    for item in setting.split(","):
        match = re.fullmatch(r"\s*(?:(pci|usb):)?([0-9]{1,6})\s*", item)
        if match is None:
            raise UsageError(f"{VARIABLE}={setting!r} is not a list of devices", "Examples: 4, pci:2,usb:2.")
        kind = match[1] or "pci"
        counts[kind] = counts.get(kind, 0) + int(match[2])
    if sum(counts.values()) > _MOST:
        raise UsageError(f"{VARIABLE}={setting!r} asks for more than {_MOST} devices")
    return [_device(kind, index) for kind, count in counts.items() for index in range(count)]


def select(device: str | None = None) -> VirtualEdgeTpu:
    """The device meant by ``usb``, ``pci``, ``usb:0``, ``pci:1``, ``:2``, or by its path.

    Without an index it is, of those that fit, the one that the fewest interpreters use, the first of equals.

    Raises:
        DeviceError: there is no such device.
    """
    devices = edge_tpus()
    match = re.fullmatch(r"(pci|usb)?(?::([0-9]{1,6}))?", device or "")
    if match is None:
        fitting = [candidate for candidate in devices if candidate.path == device]
    else:
        fitting = [candidate for candidate in devices if match[1] in (None, candidate.type)]
        if match[2] is not None:
            fitting = fitting[int(match[2]) :][:1]
    if not fitting:
        raise DeviceError(*_no_device(device, devices))
    return min(fitting, key=lambda candidate: candidate.interpreters)


def _no_device(device: str | None, devices: list[VirtualEdgeTpu]) -> tuple[str, str]:
    wanted = f"no Edge TPU '{device}'" if device else "no Edge TPU"
    counts = {kind: sum(candidate.type == kind for candidate in devices) for kind in ("pci", "usb")}
    ranges = [f"{kind}:0" + f" to {kind}:{n - 1}" * (n > 1) for kind, n in counts.items() if n]
    found = f"there are {' and '.join(ranges)} (virtual)" if ranges else "there is none"
    return f"{wanted}: {found}", f"Virtual devices come from the environment, as {VARIABLE}=pci:2,usb:2."


def _device(kind: str, index: int) -> VirtualEdgeTpu:
    path = f"virtual:{kind}:{index}"
    with _lock:
        if path not in _virtual:
            _virtual[path] = VirtualEdgeTpu(path, cast(Literal["pci", "usb"], kind))
        return _virtual[path]
