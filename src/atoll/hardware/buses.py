"""The buses that an Edge TPU may hang on: what they are called, what they carry, and what is measured of them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

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
    """Of the link of a virtual device (Mbit/s); None: not told."""
    host: str
    """The measured host profile that stands for the bus where no other is named."""


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
