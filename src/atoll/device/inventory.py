"""The environment, the runtime library → the devices of this machine."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Sequence

from atoll.device.edge_tpu import EdgeTpu
from atoll.device.real import runtime, sysfs
from atoll.device.real.real_device import RealEdgeTpu
from atoll.device.virtual import faults
from atoll.device.virtual.virtual_device import RUNTIME_VERSION, VirtualEdgeTpu
from atoll.errors import DeviceError, UsageError
from atoll.hardware.buses import ALIASES, BUSES, CHOICES, DEFAULT_BUS, BusKind

VARIABLE = "ATOLL_VIRTUAL_TPUS"
"""Environment variable that says which virtual devices exist: ``4`` (of type pci), or ``pci:2,usb:2,usb2:1``."""

VISIBLE_VARIABLE = "ATOLL_DEVICES"
"""Environment variable: the paths, with commas, of the only devices that this process may see (set by a lease)."""

RUNTIME_VARIABLE = "ATOLL_VIRTUAL_RUNTIME"
"""Environment variable: the runtime version of the virtual devices."""

DEFAULT = "pci:8"
"""Enough for a pipeline of eight segments."""

HINT = f"Virtual devices come from the environment, as {VARIABLE}=pci:2,usb:2."

_MOST = 1000

_log = logging.getLogger("atoll")
_lock = threading.RLock()
_virtual: dict[tuple[str, str], VirtualEdgeTpu] = {}
_real: dict[tuple[str, str], RealEdgeTpu] = {}
_faults = ""
_said = False


def list_edge_tpus() -> list[dict[str, str]]:
    """The devices in the vendor's form: ``{'type': 'pci' | 'usb', 'path': ...}`` each, real ones first.

    Raises:
        UsageError: ``ATOLL_VIRTUAL_TPUS`` or another variable cannot be understood.
        DeviceError: the runtime library is broken.
    """
    return [{"type": device.type, "path": device.path} for device in edge_tpus()]


def edge_tpus() -> Sequence[EdgeTpu]:
    """The devices themselves; always the same objects within one process.

    Real ones first; virtual ones when ``ATOLL_VIRTUAL_TPUS`` asks for them, or when there is no real one.
    """
    asked = os.environ.get(VARIABLE)
    found: list[EdgeTpu] = [*_real_devices(tolerant=asked is not None)]
    if asked is not None or not found:
        found += [device for device in virtual_edge_tpus(DEFAULT if asked is None else asked) if device.connected]
    visible = os.environ.get(VISIBLE_VARIABLE)
    if visible is None:
        return found
    by_path = {device.path: device for device in found}
    return [by_path[path] for path in visible.split(",") if path in by_path]


def virtual_edge_tpus(setting: str) -> list[VirtualEdgeTpu]:
    """The devices that a value of ``ATOLL_VIRTUAL_TPUS`` stands for. Raises UsageError if it makes no sense."""
    buses: list[BusKind] = []
    for item in setting.strip().split(","):
        match = re.fullmatch(rf"\s*(?:({'|'.join(CHOICES)}):)?([0-9]{{1,6}})\s*", item)
        if match is None:
            raise UsageError(f"{VARIABLE}={setting!r} is not a list of devices", "Examples: 4, pci:2,usb:2,usb2:1.")
        if len(buses) + int(match[2]) > _MOST:
            raise UsageError(f"{VARIABLE}={setting!r} asks for more than {_MOST} devices")
        bus = BUSES[ALIASES.get(match[1], match[1]) if match[1] else DEFAULT_BUS]
        buses += [bus] * int(match[2])
    counts = {"pci": 0, "usb": 0}
    devices = []
    with _lock:
        types = [bus.type for bus in buses]
        for bus in sorted(buses, key=lambda bus: types.index(bus.type)):
            devices.append(_device(bus, counts[bus.type]))
            counts[bus.type] += 1
        _apply_faults(devices)
    return devices


def say_if_virtual(device: EdgeTpu) -> None:
    """Tell, once per process, that a virtual device stands in for a real one that nobody declined."""
    global _said
    if _said or not device.virtual or not device.listed or os.environ.get(VARIABLE) is not None:
        return
    _said = True
    attached = len(sysfs.attached_devices())
    why = f"{attached} attached, but there is no runtime library for them" if attached else "none found"
    _log.warning("Edge TPUs: %s; virtual ones are used (setting %s=pci:8, say, silences this).", why, VARIABLE)


def _real_devices(tolerant: bool) -> list[RealEdgeTpu]:
    try:
        library = runtime.runtime_library()
    except DeviceError as error:
        if not tolerant:
            raise
        _log.warning("No real Edge TPUs: %s", error.message)
        return []
    if library is None or not library.devices:
        return []
    attached = {device.path: device.bus for device in sysfs.attached_devices()}
    with _lock:
        for kind, path in library.devices:
            if (library.path, path) not in _real:
                bus = attached.get(path, "pcie" if kind == "pci" else "usb3")
                _real[library.path, path] = RealEdgeTpu(library, "pci" if kind == "pci" else "usb", path, bus)
            _real[library.path, path].library = library
        return [_real[library.path, path] for _, path in library.devices]


def _device(bus: BusKind, index: int) -> VirtualEdgeTpu:
    path = f"virtual:{bus.type}:{index}"
    version = os.environ.get(RUNTIME_VARIABLE, str(RUNTIME_VERSION))
    if not re.fullmatch(r"[0-9]{1,6}", version):
        raise UsageError(f"{RUNTIME_VARIABLE}={version!r} is not a runtime version", "Examples: 10, 13, 14.")
    if (path, bus.name) not in _virtual:
        _virtual[path, bus.name] = VirtualEdgeTpu(path, bus.type, usb=2 if bus.name == "usb2" else 3, listed=True)
    device = _virtual[path, bus.name]
    device.runtime_version = int(version)
    return device


def _apply_faults(devices: Sequence[VirtualEdgeTpu]) -> None:
    global _faults
    text = os.environ.get(faults.VARIABLE, "")
    if text == _faults:
        return
    chosen = faults.parse_faults(text)
    for device in _virtual.values():
        device.faults = faults.NO_FAULTS
    for name, wanted in chosen.items():
        match = re.fullmatch(r"(pci|usb)?(?::([0-9]{1,6}))?", name)
        kind, index = (match[1], match[2]) if match else (None, None)
        meant = (
            [d for d in devices if d.path == name] if match is None else [d for d in devices if kind in (None, d.type)]
        )
        if index is not None:
            meant = meant[int(index) :][:1]
        if not meant:
            raise UsageError(f"{faults.VARIABLE}={text!r}: there is no virtual device '{name}'")
        for device in meant:
            device.faults = wanted
    _faults = text
