"""One Edge TPU, whichever it is."""

from __future__ import annotations

from typing import TypeAlias

from atoll.device.real.real_device import RealEdgeTpu
from atoll.device.virtual.virtual_device import VirtualEdgeTpu

EdgeTpu: TypeAlias = VirtualEdgeTpu | RealEdgeTpu
"""``listed`` devices belong to the machine and are leased; others are private to whoever made them."""
