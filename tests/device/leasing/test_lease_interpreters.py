"""Interpreters take devices, too: leased ones first, and let go of them with the lease."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atoll.device.interpreter import make_interpreter
from atoll.device.leasing.lease import holders, lease
from atoll.errors import (
    DeviceBusyError,
    DeviceError,
)
from atoll.model import Model
from devices import device_named
from lease_processes import LIMIT, another_process
from small_models import branched, compiled

Save = Callable[[Model], Path]


def test_interpreters_take_part(save: Save) -> None:
    path = save(compiled(branched(), [0]))
    with another_process(f"i = make_interpreter({str(path)!r}, 'pci:0'); ready(); time.sleep(1000)") as process:
        with pytest.raises(DeviceBusyError, match=f"pci:0 is asked for: process {process.pid}"):
            make_interpreter(path, "pci:0")
        interpreter = make_interpreter(path)  # any: another one
        assert holders([device_named("pci:1")]).keys() == {"virtual:pci:1"}
        with pytest.raises(DeviceBusyError):
            lease(devices=["pci:1"], wait=0).acquire()
        second = make_interpreter(path, "pci:1")  # the same process may: the chip knows one owner, not one model
    del interpreter
    with pytest.raises(DeviceBusyError):
        lease(devices=["pci:1"], wait=0).acquire()
    del second
    gc.collect()
    with lease(7, wait=0):
        pass


def test_interpreters_use_the_leased_devices(save: Save) -> None:
    path = save(compiled(branched(), [0]))
    with lease(devices=["usb:0", "usb:1"]):
        interpreters = [make_interpreter(path) for _ in range(3)]
        assert [device_named(f"usb:{i}").interpreters for i in range(2)] == [2, 1]
        assert make_interpreter(path, "pci:3") is not None  # by name: any
    with lease(6, devices=["pci:0", "pci:1", "pci:2", "usb:0", "usb:1", "usb:2"], wait=0):
        assert [device_named(f"usb:{i}").interpreters for i in range(2)] == [0, 0]
    for use in (interpreters[0].invoke, interpreters[1].allocate_tensors, interpreters[2].get_input_details):
        with pytest.raises(DeviceError, match="the lease of its device has ended"):
            use()


def test_the_end_of_a_lease_waits_for_what_is_under_way(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device stays taken while the interpreter still runs on it."""
    from atoll.device.virtual import virtual_device as virtual

    entered, leave = threading.Event(), threading.Event()
    monkeypatch.setattr(virtual.Region, "run", lambda _: (entered.set(), leave.wait(LIMIT)))
    with lease(devices=["pci:0"]), ThreadPoolExecutor(1) as pool:
        interpreter = make_interpreter(save(compiled(branched(), [0])))
        interpreter.allocate_tensors()
        running = pool.submit(interpreter.invoke)
        assert entered.wait(LIMIT)
        interpreter.close()
        assert device_named("pci:0").interpreters == 1
        leave.set()
        running.result(LIMIT)
        assert device_named("pci:0").interpreters == 0


def test_a_failed_interpreter_leaves_its_device_free(save: Save) -> None:
    path = save(compiled(branched(), [0], payload=b"no package"))
    for _ in range(2):
        with pytest.raises(Exception, match="damaged"):
            make_interpreter(path)
    gc.collect()
    with lease(7, wait=0):
        pass


def test_private_devices_are_nobody_elses_business(save: Save) -> None:
    from atoll.device import VirtualEdgeTpu

    with lease(7):
        make_interpreter(save(compiled(branched(), [0])), VirtualEdgeTpu())
