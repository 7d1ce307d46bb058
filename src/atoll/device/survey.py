"""This machine -> its Edge TPUs, real and virtual, with everything that can be known without opening them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.device import inventory
from atoll.device.edge_tpu import EdgeTpu
from atoll.device.leasing.lease import holders
from atoll.device.real import runtime, sysfs
from atoll.device.real.sysfs import Attached
from atoll.device.virtual.virtual_device import VirtualEdgeTpu
from atoll.errors import DeviceError, LeaseDirectoryError
from atoll.hardware.buses import BUSES


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device; None or "" where nothing is known."""

    name: str
    """How commands select it: ``pci:0``; "" when it cannot be used."""
    virtual: bool
    type: str
    bus: str
    path: str
    identity: str
    """What stays the same over restarts."""
    speed_mbps: int | None
    temperature_c: float | None
    clock_mhz: float | None
    holder: str
    """Who has it now, of those this user may see."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """All devices; ``problem`` is why real ones, or any, cannot be used."""

    devices: tuple[DeviceInfo, ...]
    problem: DeviceError | None = None


def survey(refresh: bool = False) -> Survey:
    """Look at all devices; with ``refresh`` the runtime library is asked again.

    Raises:
        UsageError: an environment variable that makes no sense.
    """
    if refresh:
        runtime.forget()
    problem = None
    try:
        usable = inventory.edge_tpus()
    except DeviceError as error:
        problem, usable = error, []
    attached = {item.path: item for item in sysfs.attached_devices()}
    try:
        held = holders(usable)
    except LeaseDirectoryError as error:
        problem, held = problem or error, {}
    counts: dict[str, int] = {}
    found = []
    for device in usable:
        index = counts.get(device.type, 0)
        counts[device.type] = index + 1
        holder = str(held[device.path]) if device.path in held else ""
        found.append(_describe(f"{device.type}:{index}", device, attached.pop(device.path, None), holder))
    found += [_unusable(item) for item in attached.values()]
    return Survey(tuple(found), problem)


def _describe(name: str, device: EdgeTpu, attached: Attached | None, holder: str) -> DeviceInfo:
    if isinstance(device, VirtualEdgeTpu):
        speed = BUSES[device.bus].speed_mbps
        return DeviceInfo(
            name,
            True,
            device.type,
            device.bus,
            device.path,
            "",
            speed,
            device.temperature_c,
            device.clock_mhz,
            holder,
            (),
        )
    if attached is None:
        return DeviceInfo(name, False, device.type, device.bus, device.path, "", None, None, None, holder, ())
    return _real(name, attached, holder, attached.notes)


def _unusable(attached: Attached) -> DeviceInfo:
    return _real("", attached, "", (*attached.notes, "not seen by the runtime library: run atoll doctor"))


def _real(name: str, attached: Attached, holder: str, notes: Sequence[str]) -> DeviceInfo:
    if not holder:
        holder = ", ".join(sysfs.process_name(pid) for pid in attached.holders)
    if not attached.accessible:
        notes = (*notes, f"this user may not open {attached.node}: run atoll doctor")
    return DeviceInfo(
        name=name,
        virtual=False,
        type=attached.type,
        bus=attached.bus,
        path=attached.path,
        identity=attached.identity,
        speed_mbps=attached.speed_mbps,
        temperature_c=attached.temperature_c,
        clock_mhz=attached.clock_mhz,
        holder=holder,
        notes=tuple(notes),
    )
