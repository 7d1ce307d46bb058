"""A deployment, and what there is → devices for it, leased together, that take as long as modelled."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from atoll.compiler.deployment import Deployment
from atoll.device import EdgeTpu, lease
from atoll.device.base import BUSES
from atoll.device.inventory import edge_tpus, fitting
from atoll.errors import DeviceError, UsageError
from atoll.pipeline.run_deployment import RunSettings
from atoll.products.progress import OnMessage, ignore


def usable_devices(deployment: Deployment, chosen: Sequence[str] = ()) -> list[EdgeTpu]:
    """The devices that can run the files, of those that the user chose (default: all).

    Files for real devices run on virtual ones too, when the uncompiled segments are at hand.

    Raises:
        DeviceError: there are not so many as segments and replicas, and what to do.
    """
    found = {device.path: device for choice in chosen for device in fitting(choice)} if chosen else {}
    devices = list(found.values()) if chosen else list(edge_tpus())
    real = [device for device in devices if not device.virtual]
    usable = [device for device in devices if device.virtual] if deployment.virtual or not real else real
    count = deployment.devices
    if len(usable) >= count:
        choosy = any(segment.kind != "any" for segment in deployment.segments)
        return _of_kinds(usable, deployment) if choosy else usable
    if deployment.virtual:
        raise DeviceError(
            f"{count} virtual Edge TPUs are asked for, there are {len(usable) or 'none'}",
            f"ATOLL_VIRTUAL_TPUS=pci:{count} makes them. Real ones run only what the vendor's compiler made "
            "(--codegen vendor).",
        )
    raise DeviceError(
        f"{count} Edge TPUs are asked for, there are {len(usable) or 'none'}",
        "Use fewer segments (--tpus), or see what is there: atoll devices.",
    )


def _of_kinds(usable: Sequence[EdgeTpu], deployment: Deployment) -> list[EdgeTpu]:
    """One device for each replica of each segment, of the kind that it wants; those without a wish come last."""
    left = list(usable)
    found: dict[int, list[EdgeTpu]] = {}
    for number, segment in sorted(enumerate(deployment.segments), key=lambda item: item[1].kind == "any"):
        fit = [device for device in left if segment.kind == "any" or device.bus in BUSES[segment.kind]]
        if len(fit) < segment.replicas:
            raise DeviceError(
                f"segment {number} is for {segment.replicas} {segment.kind} Edge TPUs, {len(fit) or 'none'} are left",
                "Change its device in the partition file (any: whatever there is), or see atoll devices. Virtual ones: "
                "ATOLL_VIRTUAL_TPUS=pci:2,usb:2.",
            )
        found[number] = fit[: segment.replicas]
        left = [device for device in left if device not in found[number]]
    return [device for number in range(len(deployment.segments)) for device in found[number]]


@contextmanager
def leased(
    deployment: Deployment, settings: RunSettings, on_message: OnMessage = ignore
) -> Iterator[tuple[EdgeTpu, ...]]:
    """The devices of a deployment for this process alone, until the block ends; all at once, so that nobody deadlocks.

    Raises:
        DeviceError: There are not so many.
        DeviceBusyError: Others have them for longer than ``settings.wait`` seconds.
        UsageError: The clock of virtual devices is set although nothing is modelled.
    """
    usable = usable_devices(deployment, settings.devices)
    if settings.clock is not None and not settings.hosts and usable[0].virtual:
        raise UsageError(
            "the clock of virtual devices changes modelled latencies, and none are asked for",
            "Add --real-time, --bus or --target to --clock.",
        )
    with lease(deployment.devices, devices=usable, timeout=settings.wait, on_wait=on_message) as devices:
        order = {device.path: place for place, device in enumerate(usable)}
        yield tuple(sorted(devices, key=lambda device: order[device.path]))
    for _ in range(2):
        gc.collect()  # interpreters hold their device until they are gone: the pipeline goes first, then they can
