"""This machine → what works, what does not, and what to do about it, in the order in which to do it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar, Literal

from atoll.compiler.external.installed import INSTALL, find_compiler
from atoll.device import inventory
from atoll.device.edge_tpu import EdgeTpu
from atoll.device.leasing import directory as leasedir
from atoll.device.leasing import waiting
from atoll.device.leasing.lease import holders
from atoll.device.leasing.queue import LeaseQueue
from atoll.device.real import layouts, library, runtime, sysfs
from atoll.device.real.fit import try_fit
from atoll.device.real.real_device import PCIE_RULES, USB_RULES, RealEdgeTpu
from atoll.device.real.sysfs import Attached
from atoll.device.virtual import faults
from atoll.errors import AtollError, DeviceError, UsageError
from atoll.products.result import Result
from atoll.products.table import Column, Table
from atoll.support.operators import DEFAULT_RUNTIME
from atoll.version import __version__

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``remedy`` is what to do, "" when there is nothing to do."""

    name: str
    state: State
    finding: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class DoctorReport(Result):
    """What works on this machine, what does not, and what to do about it."""

    schema: ClassVar[str] = "doctor/1"

    healthy: bool
    """There is nothing to repair."""
    checks: tuple[Check, ...]
    """In the order in which their remedies have to be taken."""
    versions: Mapping[str, str]
    """For a bug report."""

    def answer(self) -> tuple[str, ...]:
        """What to do, in order."""
        remedies = [check for check in self.checks if check.remedy]
        steps = [f"{number}. {check.finding}\n   {check.remedy}" for number, check in enumerate(remedies, 1)]
        return (
            *(["What to do, in this order:"] if steps else []),
            *steps,
            "There is nothing to repair." if self.healthy else "Then run atoll doctor again.",
        )

    def tables(self) -> tuple[Table, ...]:
        """Everything that was looked at."""
        columns = Column("check"), Column("state"), Column("what was found")
        states = {"problem": "PROBLEM"}
        return (Table.of(columns, [(c.name, states.get(c.state, c.state), c.finding) for c in self.checks], "Checks"),)


def diagnose() -> DoctorReport:
    """Check the whole installation; a free device is opened once, to see whether library and LiteRT fit."""
    attached = sysfs.attached_devices()
    checks = [_python(), _interpreter(), *_settings()]
    checks += [_attached(attached), *_drivers(attached), *(check for item in attached for check in _device(item))]
    found, said = _library(bool(attached))
    checks += [*said, _seen(found, attached), *_leases(), *_fit(found), _compiler()]
    return DoctorReport(all(check.state != "problem" for check in checks), tuple(checks), _versions(found))


def _python() -> Check:
    name = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("python", "ok", name)


def _interpreter() -> Check:
    try:
        number = version("ai-edge-litert")
        from ai_edge_litert import interpreter  # noqa: F401 - whether it loads is the question
    except (PackageNotFoundError, ImportError, OSError) as error:
        return Check("interpreter", "problem", f"LiteRT does not load: {error}", "pip install --upgrade ai-edge-litert")
    return Check("interpreter", "ok", f"LiteRT {number}")


def _settings() -> list[Check]:
    names = [
        leasedir.VARIABLE,
        library.VARIABLE,
        layouts.VARIABLE,
        sysfs.VARIABLE,
        inventory.VARIABLE,
        inventory.VISIBLE_VARIABLE,
    ]
    names += [inventory.RUNTIME_VARIABLE, faults.VARIABLE, waiting.VARIABLE]
    found = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    return [Check("settings", "note", ", ".join(found))] if found else []


def _attached(attached: list[Attached]) -> Check:
    if sys.platform != "linux":
        return Check("devices", "note", "this system does not show its Edge TPUs: only the runtime library knows them")
    if not attached:
        return Check("devices", "note", "no Edge TPU is attached: virtual ones are used")
    names = ", ".join(f"{item.type} at {item.path}" for item in attached)
    return Check("devices", "ok", f"{len(attached)} attached: {names}")


def _drivers(attached: list[Attached]) -> list[Check]:
    """A PCIe device (1ac1:089a) that is there without a driver's class folder."""
    base = sysfs.root()
    if any(item.type == "pci" for item in attached):
        return []
    for entry in (base / "sys/bus/pci/devices").glob("*"):
        if sysfs.text(entry / "vendor") == "0x1ac1" and sysfs.text(entry / "device") == "0x089a":
            return [
                Check(
                    "driver",
                    "problem",
                    f"the PCIe Edge TPU at {entry.name} has no driver",
                    "Install gasket and apex: sudo apt install gasket-dkms (Coral's source, or "
                    "github.com/google/gasket-driver for new kernels); then: sudo modprobe apex",
                )
            ]
    return []


def _device(item: Attached) -> list[Check]:
    checks = []
    name = f"{item.type} {item.path}"
    base = sysfs.root()
    if not (base / item.node[1:]).exists():
        remedy = f"In a container or virtual machine, pass it in: --device {item.node}"
        if item.type == "usb":
            remedy += (
                ", better all of /dev/bus/usb: its address and id change on first use (1a6e:089a, then 18d1:9302)."
            )
        checks.append(Check("device file", "problem", f"{name}: {item.node} is not there", remedy))
    elif not item.accessible:
        rules = PCIE_RULES if item.type == "pci" else USB_RULES
        checks.append(Check("permission", "problem", f"{name}: this user may not open {item.node}", rules))
    if item.speed_mbps is not None and item.speed_mbps < 5000:
        remedy = "Plug it into a USB 3 port with a USB 3 cable; parameters stream 11 times as fast there."
        checks.append(Check("speed", "note", f"{name}: runs at {item.speed_mbps} Mbit/s (USB 2)", remedy))
    if item.boot_state:
        checks.append(Check("firmware", "note", f"{name}: in its boot state, as always before its first use"))
    if item.clock_mhz is not None and item.clock_mhz < sysfs.FULL_CLOCK_MHZ:
        finding = f"{name}: {item.temperature_c:.1f} °C, so its clock is down to {item.clock_mhz:g} MHz"
        checks.append(Check("temperature", "problem", finding, "Cool it: a heat sink, a fan, or a pause."))
    if item.holders:
        who = ", ".join(sysfs.process_name(pid) for pid in item.holders)
        checks.append(Check("use", "note", f"{name}: in use by {who}"))
    return checks


def _library(needed: bool) -> tuple[runtime.RuntimeLibrary | None, list[Check]]:
    try:
        found = runtime.runtime_library()
    except AtollError as error:
        return None, [Check("runtime", "problem", error.message, error.hint)]
    if found is not None:
        checks = [Check("runtime", "ok", f"{found.path}: {found.version}")]
        number = found.runtime_version
        if number is not None and number < DEFAULT_RUNTIME:
            finding = f"the runtime has version {number}; what compiler 16 makes by default may need {DEFAULT_RUNTIME}"
            checks.append(Check("runtime", "note", finding, f"Update it, or compile with -m {number}."))
        return found, checks
    if needed:
        return None, [Check("runtime", "problem", f"there is no {library.library_name()}", library.install_hint())]
    return None, [Check("runtime", "note", f"there is no {library.library_name()}; virtual devices need none")]


def _fit(found: runtime.RuntimeLibrary | None) -> list[Check]:
    """What happens with this library and this LiteRT, because it was tried."""
    if found is None:
        return []
    litert = f"LiteRT {runtime.litert_version()}"
    try:
        devices = [device for device in inventory.edge_tpus() if isinstance(device, RealEdgeTpu)]
        fit = try_fit(devices)
    except AtollError as error:
        return [Check("fit", "problem", error.message, error.hint)]
    if fit.error is not None:
        return [Check("fit", "problem", fit.error.message, fit.error.hint)]
    if fit.tensor_bytes is None:
        return [Check("fit", "note", f"not tried how the library and {litert} get on: {fit.untried}")]
    if fit.plain == "works":
        return [Check("fit", "ok", f"the library and {litert} fit each other as they are")]
    finding = f"the library works in {litert} through atoll's adapter (tensors of {fit.tensor_bytes} bytes)"
    if fit.untried:
        finding += f"; without it was not tried: {fit.untried}"
    elif fit.plain == "luck":
        finding += f"; without it by luck only, its structs are older than those of {litert}"
    elif fit.plain:
        finding += f"; without it, it {fit.plain}"
    return [Check("fit", "ok", finding)]


def _seen(found: runtime.RuntimeLibrary | None, attached: list[Attached]) -> Check:
    if found is None:
        return Check("devices in use", "note", "virtual ones only")
    missing = {item.path for item in attached} - {path for _, path in found.devices}
    if missing:
        finding = f"the runtime does not see {', '.join(sorted(missing))}"
        return Check("devices in use", "problem", finding, "Solve what stands above, then replug or restart.")
    return Check("devices in use", "ok", f"the runtime sees {len(found.devices)}")


def _leases() -> list[Check]:
    """Whether devices can be leased, and whether the environment names devices that make sense."""
    directory, devices = leasedir.lease_directory(), list[EdgeTpu]()
    try:
        devices = list(inventory.edge_tpus())
    except UsageError as error:
        return [Check("settings", "problem", error.message, error.hint)]
    except DeviceError:
        pass  # what is wrong with the library is told already
    try:
        LeaseQueue(directory).acquire(["doctor"], 1, wait=1)["doctor"].release()
        holders(devices)
        waiting.seconds_to_wait(None)
    except AtollError as error:
        return [Check("leases", "problem", error.message, error.hint)]
    return [Check("leases", "ok", f"in {directory}")]


def _compiler() -> Check:
    """The vendor's compiler, without which real devices run only files that were compiled elsewhere."""
    try:
        found = find_compiler()
    except AtollError as error:
        return Check("compiler", "problem", error.message, error.hint)
    if found is None:
        finding = "there is no vendor's compiler; virtual devices need none, real ones run only files that it made"
        return Check("compiler", "note", finding, INSTALL if sysfs.attached_devices() else "")
    return Check("compiler", "ok", f"{found.path}: {found.version}")


def _versions(found: runtime.RuntimeLibrary | None) -> dict[str, str]:
    versions = {"atoll": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in ("ai-edge-litert", "numpy", "flatbuffers", "click", "rich"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    versions["libedgetpu"] = found.version if found else "none"
    return versions
