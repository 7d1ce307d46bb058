"""The buses of Edge TPUs: their names, what they carry, and which host was measured for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from atoll.errors import UsageError

BusName = Literal["pcie", "usb3", "usb2"]
DeviceType = Literal["pci", "usb"]
"""The vendor's word for a device: by its driver, not by its bus."""


@dataclass(frozen=True, slots=True)
class BusKind:
    """One kind of bus."""

    name: BusName
    title: str
    """For people."""
    type: DeviceType
    line_rate_mb_s: float
    """What the wires carry (MB/s)."""
    load_mb_s: float
    """How fast parameters are loaded into a virtual device in real time (MB/s; ../shared/facts/timing.md)."""
    speed_mbps: int | None
    """Speed of the link of a virtual device (Mbit/s); None: not shown."""
    host: str
    """The measured host that is modelled for the bus where no other is named."""


BUSES = MappingProxyType(
    {
        # Line rates: one lane of PCIe 2.0, 5 Gbit/s less 8b/10b coding (both), 480 Mbit/s.
        "pcie": BusKind("pcie", "PCIe", "pci", 500.0, 387.0, None, "x86-pcie"),
        "usb3": BusKind("usb3", "USB 3", "usb", 500.0, 366.0, 5000, "desktop-usb3"),
        "usb2": BusKind("usb2", "USB 2", "usb", 60.0, 32.0, 480, "pi3-usb2"),
    }
)
ALIASES = MappingProxyType({"pci": "pcie", "usb": "usb3"})
"""Other names for a bus where one is meant."""
CHOICES = MappingProxyType(
    {"pcie": ("pcie",), "pci": ("pcie",), "usb": ("usb3", "usb2"), "usb3": ("usb3",), "usb2": ("usb2",)}
)
"""What a user may ask for where any that fits will do → the buses that fit."""
DEFAULT_BUS = "pcie"
MOST_MIXED = 16
"""The search for devices of several kinds takes seconds from about here on."""


def mixed_buses(mixed: str | Mapping[str, int] | None) -> tuple[str, ...]:
    """The bus of each of some devices of different kinds; nothing for None.

    Args:
        mixed: ``"pcie:2,usb3:2"``, or the same as a mapping.

    Raises:
        UsageError: a bus is not known, a number is not positive, or they are more than :data:`MOST_MIXED`.

    >>> mixed_buses("pcie:2,usb3:1")
    ('pcie', 'pcie', 'usb3')
    """
    if mixed is None:
        return ()
    counts = _counts(mixed) if isinstance(mixed, str) else mixed.items()
    buses: list[str] = []
    for name, count in counts:
        bus = ALIASES.get(name, name)
        if bus not in BUSES or count < 1:
            raise UsageError(f"--mixed is '{mixed}'", f"Write for example pcie:2,usb3:2; known are {', '.join(BUSES)}.")
        if len(buses) + count > MOST_MIXED:
            raise UsageError(f"--mixed '{mixed}' has more than {MOST_MIXED} Edge TPUs", "Name fewer.")
        buses += [bus] * count
    return tuple(buses)


def _counts(text: str) -> Iterable[tuple[str, int]]:
    """The items of ``"pcie:2,usb3:2"``; what is no such item counts as none of a bus that does not exist."""
    for item in text.split(","):
        match = re.fullmatch(r"\s*(\w+):(\d{1,4})\s*", item, re.ASCII)
        yield (match[1], int(match[2])) if match else ("", 0)
