"""A real Edge TPU and a compiled file → a delegate of the vendor's runtime, or the reason why there is none."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ai_edge_litert.interpreter import OpResolverType

from atoll.compiler.packages import packages, require_real, require_runtime
from atoll.device.real import layouts, runtime, sysfs, trial
from atoll.device.real.adapter import AdaptedDelegate
from atoll.device.real.context_view import TensorBytes
from atoll.device.real.runtime import RuntimeLibrary
from atoll.errors import (
    BootStateError,
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DevicePermissionError,
)
from atoll.hardware.buses import BusName, DeviceType
from atoll.model import Model

PCIE_RULES = (
    "sudo groupadd -f apex; sudo adduser $USER apex; "
    'echo \'SUBSYSTEM=="apex", MODE="0660", GROUP="apex"\' | sudo tee /etc/udev/rules.d/65-apex.rules; then restart.'
)
"""What Coral's own installation does for PCIe devices."""

USB_RULES = (
    "sudo adduser $USER plugdev; rules for both ids of the device: "
    'SUBSYSTEM=="usb", ATTRS{idVendor}=="1a6e", ATTRS{idProduct}=="089a", GROUP="plugdev" and the same with '
    "18d1, 9302, in /etc/udev/rules.d/60-libedgetpu.rules; then replug it and log in again."
)
"""../shared/facts/hardware.md"""


_proving = threading.Lock()


@dataclass(eq=False)
class RealEdgeTpu:
    """One device of the runtime library; ``options`` are those of :data:`atoll.device.real.runtime.OPTIONS`."""

    library: RuntimeLibrary
    type: DeviceType
    path: str
    bus: BusName = "pcie"
    options: Mapping[str, str] = field(default_factory=dict)
    virtual: bool = field(default=False, init=False)
    listed: bool = field(default=True, init=False)
    _delegates: weakref.WeakSet[AdaptedDelegate] = field(default_factory=weakref.WeakSet, init=False, repr=False)

    @property
    def interpreters(self) -> int:
        """How many interpreters of this process use the device."""
        return len(self._delegates)

    @contextlib.contextmanager
    def configured(
        self,
        *,
        clock: str | None = None,
        latency: object = None,  # noqa: ARG002 - a real device has a speed of its own
        real_time: bool | None = None,  # noqa: ARG002
    ) -> Iterator[None]:
        """Another clock (a key of :data:`atoll.device.real.runtime.PERFORMANCE`) for the interpreters that are made
        until the block ends; None: as it is."""
        before = self.options
        try:
            if clock is not None:
                self.options = {**before, "Performance": runtime.PERFORMANCE[clock]}
            yield
        finally:
            self.options = before

    def delegate(
        self,
        model: Model,
        resolver: OpResolverType | None = None,  # noqa: ARG002 - the interpreter's business here
        options: Mapping[str, str] | None = None,
    ) -> AdaptedDelegate:
        """Open the device for the compiled file ``model``; the first time in a process that may crash.

        ``options`` come on top of the device's own.

        Raises:
            DeviceError: the device or the runtime cannot run it, and why; see :mod:`atoll.errors`.
            CorruptPackageError: a compiled operator is damaged.
        """
        options = {**self.options, **(options or {})}
        runtime.check_options(options)
        for package in packages(model):
            require_real(package, model.path)
            require_runtime(package, self.library.runtime_version)
        tensor_bytes = self._tensor_bytes(Path(model.path) if model.path else None, options)
        address = self.library.create_delegate(self.type, self.path, options)
        if not address:
            raise why_not(self)
        close = functools.partial(self.library.free_delegate, address)
        delegate = AdaptedDelegate(address, tensor_bytes, close)
        self._delegates.add(delegate)
        return delegate

    def _tensor_bytes(self, model: Path | None, options: Mapping[str, str]) -> TensorBytes:
        """Remembered, or found by opening the device and running the file in child processes, which may crash."""
        library, device = self.library, (self.type, self.path)
        with _proving:
            known = layouts.remembered(library.path)
            if known is not None:
                return known.tensor_bytes
            with trial.model_file(library.path, model) as (path, until):
                found, answer = trial.find_size(
                    lambda size: runtime.ask(library.path, device, options, path, runtime.OPEN_SECONDS, size, until)
                )
            if found is not None:
                layouts.remember(library.path, layouts.TrialVerdict(found))
                return found
        if answer.opened is False:
            raise why_not(self)
        trial.require_runtime(answer)
        raise runtime.misfit(library.path, answer, library.version)


def why_not(device: RealEdgeTpu, root: Path | None = None) -> DeviceError:
    """Why the runtime does not open a device that it lists; it says nothing itself."""
    attached = next((item for item in sysfs.attached_devices(root) if item.path == device.path), None)
    name = f"{device.type} Edge TPU {device.path}"
    base = root or sysfs.root()
    if attached is None and (base / "sys").is_dir():
        return DeviceLostError(
            f"the {name} is gone: it was listed and is not there any more",
            "Check its plug, cable and power; a USB device comes back under another path after its firmware upload.",
        )
    if attached is not None and attached.node and not (base / attached.node[1:]).exists():
        return DeviceLostError(
            f"the {name} is attached, but its device file {attached.node} is not there",
            "In a container or virtual machine, pass the device in (a USB device under both its ids: 1a6e:089a before "
            "its first use, 18d1:9302 after). PCIe: are the drivers gasket and apex loaded?",
        )
    if attached is not None and not attached.accessible:
        return DevicePermissionError(
            f"this user may not open the {name} ({attached.node})",
            PCIE_RULES if attached.type == "pci" else USB_RULES,
        )
    if attached is not None and (others := [pid for pid in attached.holders if pid != os.getpid()]):
        who = ", ".join(sysfs.process_name(pid, root) for pid in others)
        return DeviceBusyError(f"the {name} is in use by {who}", "End it, or use another device.")
    if attached is not None and attached.boot_state:
        return BootStateError(
            f"the {name} is still in its boot state (1a6e:089a): the runtime could not upload its firmware",
            "Replug it. Rules, containers and virtual machines need both its ids, 1a6e:089a and 18d1:9302.",
        )
    return DeviceError(
        f"the runtime {device.library.path} does not open the {name} and gives no reason",
        "The kernel log may say more (dmesg | grep -i -e apex -e usb). Is another process using it? "
        "Only root sees other users' processes: sudo atoll devices.",
    )
