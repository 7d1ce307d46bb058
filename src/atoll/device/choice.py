"""What a user names, and what the devices are for → the devices that come into question."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from atoll.device import inventory
from atoll.device.edge_tpu import EdgeTpu
from atoll.errors import DeviceError, UsageError
from atoll.hardware.buses import CHOICES

Selection: TypeAlias = str | EdgeTpu
"""``usb`` or ``pci``: any of them; ``usb:0``, ``pci:1``: that one; ``:2``: the third of all; a path; a device."""


def choose_devices(
    selections: Selection | Sequence[Selection] | None = None, *, bus: str | None = None, virtual: bool | None = None
) -> list[EdgeTpu]:
    """The devices that any of the selections may mean, each once; without selections all that there are.

    Args:
        selections: What was named; None or nothing: everything.
        bus: Only those on this bus: a key of :data:`atoll.hardware.buses.CHOICES`.
        virtual: Only virtual ones (True), only real ones (False), or both (None).

    Raises:
        DeviceError: A selection means no device. (That none is left by ``bus`` or ``virtual`` is no error.)
        UsageError: There is no such bus.
    """
    named = listed(selections)
    found = [device for each in named for device in _meant(each)] if named else inventory.edge_tpus()
    return [
        device
        for device in {device.path: device for device in found}.values()
        if fits_bus(device, bus) and virtual in (None, device.virtual)
    ]


def listed(selections: Selection | Sequence[Selection] | None) -> list[Selection]:
    """What was named, one or several."""
    if selections is None:
        return []
    return [selections] if isinstance(selections, str | EdgeTpu) else list(selections)


def one_each(selections: Sequence[Selection]) -> list[EdgeTpu]:
    """A device of its own for each selection: ``usb`` and ``usb:0`` are two.

    Raises:
        DeviceError: A selection means no device, or is given more often than there are such devices.
    """
    meant = [_meant(each) for each in selections]
    chosen: dict[int, EdgeTpu] = {}
    for number in sorted(range(len(meant)), key=lambda n: len(meant[n])):  # those that mean one device only go first
        free = [device for device in meant[number] if device not in chosen.values()]
        if not free:
            raise DeviceError(
                f"Edge TPU '{_name(selections[number])}' is named more often than there are such devices",
                "See what is there: atoll devices.",
            )
        chosen[number] = free[0]
    return [chosen[number] for number in range(len(meant))]


def real_if_any(devices: Sequence[EdgeTpu]) -> list[EdgeTpu]:
    """The real ones; all of them where there are none."""
    return [device for device in devices if not device.virtual] or list(devices)


def on_buses(devices: Iterable[EdgeTpu], wanted: Sequence[tuple[str, int]]) -> list[EdgeTpu]:
    """Devices for each of several wishes ("any" or a bus, and how many), in the order of the wishes.

    Raises:
        DeviceError: There are not so many on a bus.
    """
    left = list(devices)
    found: dict[int, list[EdgeTpu]] = {}
    for number, (bus, count) in sorted(enumerate(wanted), key=lambda item: item[1][0] == "any"):
        fitting = [device for device in left if fits_bus(device, None if bus == "any" else bus)]
        if len(fitting) < count:
            raise DeviceError(
                f"segment {number} is for {count} {bus} Edge TPUs, {len(fitting) or 'none'} are left",
                "Change its device in the partition file (any: whatever there is), or see atoll devices. Virtual ones: "
                "ATOLL_VIRTUAL_TPUS=pci:2,usb:2.",
            )
        found[number] = fitting[:count]
        left = [device for device in left if device not in found[number]]
    return [device for number in range(len(wanted)) for device in found[number]]


def fits_bus(device: EdgeTpu, bus: str | None) -> bool:
    """Whether the device is on a bus that was asked for; None: any bus.

    Raises:
        UsageError: There is no such bus.
    """
    if bus is not None and bus not in CHOICES:
        raise UsageError(f"'{bus}' is not a bus of an Edge TPU", f"Known are {', '.join(CHOICES)}.")
    return bus is None or device.bus in CHOICES[bus]


def _meant(selection: Selection) -> Sequence[EdgeTpu]:
    """All devices that a selection may mean, at least one."""
    if not isinstance(selection, str):
        return [selection]
    devices = inventory.edge_tpus()
    match = re.fullmatch(r"(pci|usb)?(?::([0-9]{1,6}))?", selection)
    if match is None:
        found = [device for device in devices if device.path == selection]
    else:
        found = [device for device in devices if match[1] in (None, device.type)]
        if match[2] is not None:
            found = found[int(match[2]) :][:1]
    if not found:
        raise DeviceError(*_no_device(selection, devices))
    return found


def _no_device(selection: str, devices: Sequence[EdgeTpu]) -> tuple[str, str]:
    counts = {kind: sum(device.type == kind for device in devices) for kind in ("pci", "usb")}
    ranges = [f"{kind}:0" + f" to {kind}:{n - 1}" * (n > 1) for kind, n in counts.items() if n]
    virtual = " (virtual)" if devices and all(device.virtual for device in devices) else ""
    found = f"there are {' and '.join(ranges)}{virtual}" if ranges else "there is none"
    return f"no Edge TPU '{selection}': {found}", inventory.HINT


def _name(selection: Selection) -> str:
    return selection if isinstance(selection, str) else selection.path
