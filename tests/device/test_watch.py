"""Work on a device: what hangs is given up, what goes on is waited for, and what comes of it is the caller's."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from atoll.device import VirtualEdgeTpu
from atoll.device.watch import watched
from atoll.errors import DeviceError

DEVICE = VirtualEdgeTpu("virtual:pci:0")


@pytest.mark.parametrize("inferences", [0, 3])
def test_a_device_that_hangs_is_given_up(inferences: int) -> None:
    released = threading.Event()

    def work(tick: Callable[[], None]) -> None:
        for _ in range(inferences):
            tick()
        released.wait()

    message = f"virtual:pci:0 has not answered for 0.2 s, after {inferences} inferences"
    with pytest.raises(DeviceError, match=message):
        watched(DEVICE, work, 0.2)
    released.set()


def test_a_device_that_goes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes in all: time passes here with each look at the thread, and an inference with it."""
    looks = 0
    ticks: list[Callable[[], None]] = []
    begun, released = threading.Event(), threading.Event()

    def work(tick: Callable[[], None]) -> str:
        ticks.append(tick)
        begun.set()
        released.wait()
        return "done"

    join = threading.Thread.join

    def look(thread: threading.Thread, timeout: float | None = None) -> None:
        nonlocal looks
        looks += 1
        begun.wait()
        ticks[0]()
        if looks == 50:
            released.set()
            join(thread)

    monkeypatch.setattr(threading.Thread, "join", look)
    assert watched(DEVICE, work) == "done" and looks == 50


def test_what_fails_in_the_thread_is_raised() -> None:
    def work(tick: Callable[[], None]) -> None:
        raise KeyError("odd")

    with pytest.raises(KeyError, match="odd"):
        watched(DEVICE, work)
