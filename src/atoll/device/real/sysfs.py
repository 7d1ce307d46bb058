"""/sys, /dev and /proc → the Edge TPUs that are attached, as the system sees them (Linux; elsewhere none are seen)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from atoll.hardware.buses import BusName, DeviceType

VARIABLE = "ATOLL_SYSROOT"
"""Environment variable: the folder that holds sys, dev and proc, for tests and for containers; default /."""

BOOT_ID, READY_ID = ("1a6e", "089a"), ("18d1", "9302")
"""USB vendor and product before and after the runtime has uploaded the firmware."""

FULL_CLOCK_MHZ = 500.0


@dataclass(frozen=True, slots=True)
class Attached:
    """One Edge TPU as the system shows it; None where it does not tell."""

    type: DeviceType
    path: str
    """As the runtime library calls it: ``/dev/apex_0``, ``/sys/bus/usb/devices/2-1``."""
    node: str
    """The file that a process must open to use it; "" when there is none."""
    bus: BusName
    identity: str
    """What stays the same over restarts: PCIe unique id or position, USB port."""
    speed_mbps: int | None = None
    boot_state: bool = False
    temperature_c: float | None = None
    trip_points_c: tuple[float, ...] = ()
    clock_mhz: float | None = None
    """Derived from temperature and trip points: the driver does not show it."""
    accessible: bool = True
    """Whether this user may open it."""
    holders: tuple[int, ...] = ()
    """Process ids that have it open, as far as this user may see."""
    notes: tuple[str, ...] = field(default=())
    """What its owner should know."""


def root() -> Path:
    """The folder that holds sys, dev and proc."""
    return Path(os.environ.get(VARIABLE) or "/")


def attached_devices(folder: Path | None = None) -> list[Attached]:
    """PCIe devices first, each kind in the order of its paths."""
    base = folder or root()
    holders = _open_files(base)
    return [*_pcie(base, holders), *_usb(base, holders)]


def _pcie(root: Path, holders: dict[str, list[int]]) -> Iterator[Attached]:
    folder = root / "sys/class/apex"
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name)):
        if not re.fullmatch(r"apex_[0-9]+", entry.name):
            continue
        node = f"/dev/{entry.name}"
        temperature = _number(entry / "temp", 1e-3)
        trips = tuple(t for i in range(3) if (t := _number(entry / f"trip_point{i}_temp", 1e-3)) is not None)
        unique = text(entry / "unique_id")
        position = (entry / "device").resolve().name if (entry / "device").exists() else ""
        clock = _clock(temperature, trips, _number(entry / "temp_poll_interval"))
        notes = []
        if clock is not None and clock < FULL_CLOCK_MHZ:
            notes.append(f"throttled to {clock:g} MHz at {temperature:.1f} °C: cool it")
        if not (root / node[1:]).exists():
            notes.append(f"{node} is missing: in a container, pass it in (--device {node})")
        yield Attached(
            type="pci",
            path=node,
            node=node,
            bus="pcie",
            identity=f"id {unique}" if unique else f"PCIe {position}" if position else entry.name,
            speed_mbps=None,
            temperature_c=temperature,
            trip_points_c=trips,
            clock_mhz=clock,
            accessible=os.access(root / node[1:], os.R_OK | os.W_OK),
            holders=tuple(holders.get(node, ())),
            notes=tuple(notes),
        )


def _usb(root: Path, holders: dict[str, list[int]]) -> Iterator[Attached]:
    folder = root / "sys/bus/usb/devices"
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        identity = (text(entry / "idVendor"), text(entry / "idProduct"))
        if identity not in (BOOT_ID, READY_ID):
            continue
        speed = int(_number(entry / "speed") or 0)
        bus, number = int(_number(entry / "busnum") or 0), int(_number(entry / "devnum") or 0)
        node = f"/dev/bus/usb/{bus:03}/{number:03}"
        notes = []
        if speed and speed < 5000:
            notes.append("in a USB 2 port or behind a USB 2 cable or hub: use USB 3 (blue, 5 Gbit/s) for full speed")
        if identity == BOOT_ID:
            notes.append("in its boot state: the runtime uploads its firmware on first use")
        yield Attached(
            type="usb",
            path=f"/sys/bus/usb/devices/{entry.name}",
            node=node,
            bus="usb3" if speed >= 5000 else "usb2",
            identity=f"USB port {entry.name}",
            speed_mbps=speed or None,
            boot_state=identity == BOOT_ID,
            accessible=os.access(root / node[1:], os.R_OK | os.W_OK),
            holders=tuple(holders.get(node, ())),
            notes=tuple(notes),
        )


def _clock(temperature: float | None, trips: tuple[float, ...], interval: float | None) -> float | None:
    """The driver halves the clock at each trip point that it finds reached when it polls (interval 0: never)."""
    if temperature is None:
        return None
    reached = sum(temperature >= trip for trip in trips) if interval != 0 else 0
    return FULL_CLOCK_MHZ / (1 << reached)


def _open_files(root: Path) -> dict[str, list[int]]:
    """Device file -> processes that have it open; those of other users only root sees."""
    holders: dict[str, list[int]] = {}
    proc = root / "proc"
    if not (root / "sys/class/apex").is_dir() and not (root / "dev/bus/usb").is_dir():
        return holders
    for process in proc.glob("[0-9]*"):
        try:
            links = [os.readlink(link) for link in (process / "fd").iterdir()]  # noqa: PTH115 - must not be resolved
        except OSError:
            continue
        for link in set(links):
            if link.startswith(("/dev/apex_", "/dev/bus/usb/")):
                holders.setdefault(link, []).append(int(process.name))
    return {node: sorted(pids) for node, pids in holders.items()}


def process_name(pid: int, folder: Path | None = None) -> str:
    """What a person calls the process: its command line, shortened."""
    base = folder or root()
    try:
        line = (base / f"proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        line = ""
    return f"process {pid}" + (f" ({line[:80]})" if line else "")


def text(path: Path) -> str:
    """What a small file of the system says, "" when it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path, scale: float = 1.0) -> float | None:
    try:
        return float(text(path)) * scale
    except ValueError:
        return None
