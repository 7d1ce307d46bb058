"""One process at a time per device, whatever happens to the holders."""

from __future__ import annotations

import math
import os
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atoll.device.interpreter import make_interpreter
from atoll.device.leasing import waiting
from atoll.device.leasing.lease import holders, lease
from atoll.errors import (
    DeviceBusyError,
    DeviceError,
    UsageError,
)
from atoll.model import Model
from devices import device_named
from lease_processes import LIMIT, another_process
from small_models import branched, compiled

Save = Callable[[Model], Path]


def test_a_lease_gives_what_it_says() -> None:
    with lease(3) as devices:
        assert [device.path for device in devices] == ["virtual:pci:0", "virtual:pci:1", "virtual:pci:2"]
        assert holders(devices).keys() == {device.path for device in devices}
        assert {holder.pid for holder in holders(devices).values()} == {os.getpid()}
    assert holders(devices) == {}


@pytest.mark.parametrize(
    ("bus", "paths"),
    [
        ("pcie", [f"virtual:pci:{i}" for i in range(4)]),
        ("usb", [f"virtual:usb:{i}" for i in range(3)]),
        ("usb3", ["virtual:usb:0", "virtual:usb:1"]),
        ("usb2", ["virtual:usb:2"]),
    ],
)
def test_bus(bus: str, paths: list[str]) -> None:
    with lease(len(paths), bus=bus) as devices:
        assert [device.path for device in devices] == paths
    with pytest.raises(DeviceError, match=f"{len(paths) + 1} Edge TPUs on {bus}"):
        lease(len(paths) + 1, bus=bus)


def test_named_devices() -> None:
    with lease(devices=["usb:1", "pci:2"]) as devices:
        assert [device.path for device in devices] == ["virtual:usb:1", "virtual:pci:2"]
        with pytest.raises(DeviceBusyError, match=r"virtual:pci:2 is asked for: process \d+ .* holds virtual:pci:2"):
            lease(devices=["pci:2"], wait=0).acquire()
        with lease(1, devices=["pci:2", "pci:3"], wait=0) as (other,):
            assert other is device_named("pci:3")


def test_leases_within_a_process_are_disjoint() -> None:
    with lease(4, wait=0) as first, lease(3, wait=0) as second:
        assert not {device.path for device in first} & {device.path for device in second}
        with pytest.raises(DeviceBusyError):
            lease(1, wait=0).acquire()


@pytest.mark.parametrize("arguments", [{"count": 0}, {"count": -1}, {"bus": "isa"}, {"devices": [], "count": 0}])
def test_nonsense_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        lease(**arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        lease(1, priority=101).acquire()


def test_a_lease_can_be_taken_again_but_not_twice_at_once() -> None:
    taken = lease(2)
    with taken, pytest.raises(UsageError):
        taken.acquire()
    with taken as devices:
        assert len(devices) == 2
    taken.release()
    taken.release()


def test_an_exception_in_the_block_frees_the_devices() -> None:
    with pytest.raises(ZeroDivisionError), lease(7):
        _ = 1 / 0
    with lease(7, wait=0):
        pass


def test_another_process_is_named_and_waited_for() -> None:
    code = "with lease(6) as devices:\n    ready(); sys.stdin.readline()\nready(); sys.stdin.readline()"
    with another_process(code) as process:
        with lease(1, wait=0), pytest.raises(DeviceBusyError, match=f"1 of 7 .* process {process.pid}"):
            lease(1, wait=0).acquire()
        waiting: queue.Queue[str] = queue.Queue()
        with ThreadPoolExecutor(1) as pool:
            taken = pool.submit(lease(7, wait=LIMIT, on_message=waiting.put).acquire)
            assert str(process.pid) in waiting.get(timeout=LIMIT)
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert len(taken.result(LIMIT)) == 7
        assert waiting.empty()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_keep_the_lease() -> None:
    taken = lease(7)
    taken.acquire()
    read, write = os.pipe()
    child = os.fork()
    if not child:  # lives on after the parent gave the devices back
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        taken.release()
        with lease(7, wait=0):
            pass
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)


def test_the_environment_says_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(waiting.VARIABLE, raising=False)
    assert waiting.seconds_to_wait(None) == math.inf
    assert waiting.seconds_to_wait(None, default=0.0) == 0.0
    for text, seconds in [("", math.inf), ("2.5", 2.5), ("none", math.inf), ("0", 0.0)]:
        monkeypatch.setenv(waiting.VARIABLE, text)
        assert waiting.seconds_to_wait(None) == seconds
        assert waiting.seconds_to_wait(3.0) == 3.0
    for text in ["soon", "-1", "nan", "inf"]:
        monkeypatch.setenv(waiting.VARIABLE, text)
        with pytest.raises(UsageError, match=waiting.VARIABLE):
            waiting.seconds_to_wait(None)
    for wait in (-1.0, math.nan):
        with pytest.raises(UsageError, match="cannot wait"):
            lease(1, wait=wait)


def test_as_many_are_leased_as_are_named() -> None:
    with lease(devices=["usb", "usb:0"]) as both:
        assert [device.path for device in both] == ["virtual:usb:1", "virtual:usb:0"]
        with lease(devices="usb", wait=0) as (last,):  # whichever is free
            assert last.path == "virtual:usb:2"
            with pytest.raises(DeviceBusyError):
                lease(1, devices=["usb:0", "usb:2"], wait=0).acquire()


def test_a_lease_collects_what_still_uses_its_devices(save: Save) -> None:
    """A view of a tensor in a cycle, as a pipeline is one, keeps the device until it is collected."""
    path = save(compiled(branched(), [0]))
    with lease(devices=["pci:0"]):
        interpreter = make_interpreter(path)
        interpreter.allocate_tensors()
        cycle: list[object] = [interpreter.tensor(interpreter.get_input_details()[0]["index"])()]
        cycle.append(cycle)
        del cycle, interpreter
    with lease(devices=["pci:0"], wait=0):
        pass


def test_timeout_is_kept() -> None:
    with lease(7):
        begin = time.monotonic()
        with pytest.raises(DeviceBusyError, match=r"after 0\.05 s"):
            lease(1, wait=0.05).acquire()
        assert time.monotonic() - begin >= 0.05
