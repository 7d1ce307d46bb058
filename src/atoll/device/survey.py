"""This machine → its Edge TPUs, real and virtual, with everything that can be known without opening them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from atoll.device import inventory
from atoll.device.edge_tpu import EdgeTpu
from atoll.device.leasing.lease import holders
from atoll.device.real import runtime, sysfs
from atoll.device.real.sysfs import Attached
from atoll.device.virtual.virtual_device import VirtualEdgeTpu
from atoll.errors import DeviceError, LeaseDirectoryError
from atoll.hardware.buses import BUSES
from atoll.products.result import Result
from atoll.products.table import Column, Table, Value


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
class DevicesProblem:
    """Why real devices, or any, cannot be used."""

    message: str
    hint: str
    exit_code: int
    """What a command that needs the devices exits with."""
    what: str
    """What does not work."""

    @classmethod
    def of(cls, error: DeviceError) -> DevicesProblem:
        """The problem that an exception tells of."""
        leases = isinstance(error, LeaseDirectoryError)
        what = "Devices cannot be leased" if leases else "Real devices cannot be used"
        return cls(error.message, error.hint, error.exit_code, what)


@dataclass(frozen=True, slots=True, repr=False)
class DevicesReport(Result):
    """The Edge TPUs of this machine."""

    schema: ClassVar[str] = "devices/1"

    devices: tuple[DeviceInfo, ...]
    problem: DevicesProblem | None
    time: float
    """When it was looked, in seconds since 1970."""

    def answer(self) -> tuple[str, ...]:
        """How many there are, real and virtual, and how many are free; what cannot be used, and why."""
        said = []
        if self.problem is not None:
            said += [f"{self.problem.what}: {self.problem.message}", self.problem.hint]
        if not self.devices:
            said.append("No Edge TPU. ATOLL_VIRTUAL_TPUS=4 makes four virtual ones; atoll doctor says more.")
        else:
            virtual, free = (sum(map(bool, each)) for each in zip(*((d.virtual, not d.holder) for d in self.devices)))
            said.append(f"{len(self.devices) - virtual} real and {virtual} virtual Edge TPUs; {free} are free.")
        return tuple(filter(None, said))

    def tables(self) -> tuple[Table, ...]:
        """The devices, and what is to be said of some of them."""
        if not self.devices:
            return ()
        devices = Table.of(
            (
                Column("device"),
                Column("kind"),
                Column("bus"),
                Column("speed", importance=2),
                Column("path", "name"),
                Column("identity", "name", importance=3),
                Column("temperature", "number", "°C", 1, importance=1),
                Column("clock", "number", "MHz", 1, importance=1),
                Column("held by"),
            ),
            [_row(device) for device in self.devices],
            "Edge TPUs",
        )
        notes = [(device.name or device.path, note) for device in self.devices for note in device.notes]
        if not notes:
            return (devices,)
        return devices, Table.of((Column("device", "name"), Column("note")), notes, "Notes")


def _row(device: DeviceInfo) -> tuple[Value, ...]:
    speed = device.speed_mbps
    return (
        device.name or "-",
        "virtual" if device.virtual else device.type,
        BUSES[device.bus].title,
        None if speed is None else f"{speed / 1000:g} Gbit/s" if speed >= 1000 else f"{speed} Mbit/s",
        device.path,
        device.identity,
        device.temperature_c,
        device.clock_mhz,
        device.holder,
    )


def survey() -> DevicesReport:
    """Look at all devices; the runtime library is asked again each time, since they come and go.

    Raises:
        UsageError: an environment variable that makes no sense.
    """
    runtime.forget()
    problem: DeviceError | None = None
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
    return DevicesReport(tuple(found), DevicesProblem.of(problem) if problem else None, time.time())


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
