"""``atoll.devices``: this machine → its Edge TPUs, real and virtual, and who has them."""

from __future__ import annotations

from atoll.device.survey import DevicesReport, survey


def devices() -> DevicesReport:
    """List the Edge TPUs: bus and speed, path, identity, temperature and clock, and who holds them.

    No device is opened. What is wrong with the real ones is in the report's ``problem``, not raised.

    Raises:
        UsageError: ``ATOLL_VIRTUAL_TPUS`` or another variable makes no sense.

    >>> [device.name for device in atoll.devices().devices]  # doctest: +SKIP
    ['pci:0', 'usb:0']
    """
    return survey()
