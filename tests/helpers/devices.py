"""Devices by name, for tests that look at one."""

from __future__ import annotations

from atoll.device import EdgeTpu
from atoll.device.choice import choose_devices


def device_named(selection: str | None = None) -> EdgeTpu:
    """The first device that a selection may mean."""
    return choose_devices(selection)[0]
