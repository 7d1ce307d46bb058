"""A deployment, and what there is → devices for it, leased together, that take as long as modelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from atoll.compiler.deployment import Deployment
from atoll.device import EdgeTpu, lease
from atoll.device.choice import choose_devices, on_buses, real_if_any
from atoll.errors import DeviceError, UsageError
from atoll.pipeline.run_deployment import RunSettings
from atoll.products.progress import OnMessage, ignore


def usable_devices(deployment: Deployment, chosen: Sequence[str] = ()) -> list[EdgeTpu]:
    """The devices that can run the files, of those that the user chose (default: all).

    Files for real devices run on virtual ones too, when the uncompiled segments are at hand.

    Raises:
        DeviceError: there are not so many as segments and replicas, and what to do.
    """
    usable = choose_devices(chosen, virtual=True) if deployment.virtual else real_if_any(choose_devices(chosen))
    count = deployment.devices
    if len(usable) >= count:
        choosy = any(segment.kind != "any" for segment in deployment.segments)
        return on_buses(usable, [(s.kind, s.replicas) for s in deployment.segments]) if choosy else usable
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
    with lease(deployment.devices, devices=usable, wait=settings.wait, on_message=on_message) as devices:
        yield devices
