"""The virtual device behaves as the chip: caching, runtime versions, clock and heat, faults, vendor-compiled files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.device import Cooling, Invocation, VirtualEdgeTpu, make_interpreter
from atoll.device.inventory import RUNTIME_VARIABLE, VARIABLE
from atoll.device.virtual.clock import wait_until
from atoll.device.virtual.sram import Sram
from atoll.device.virtual.thermal import Thermometer
from atoll.errors import DeviceError, RuntimeTooOldError, UsageError
from atoll.hardware.buses import BUSES
from atoll.model import Model
from devices import device_named
from small_models import (
    branched,
    compiled,
    opened,
    package,
    program,
)

Save = Callable[[Model], Path]


# -- Caching (Figure 1 of ../shared/seeds/001: same token: keep and add; another: wipe and load) ----------------------


def test_caching_token_rule(save: Save) -> None:
    loads: list[int] = []
    device = VirtualEdgeTpu(latency=lambda invocation: loads.append(invocation.loaded_bytes) or 0.0)
    a, b, other = (opened(program(save, token, size), device) for token, size in ((7, 1000), (7, 200), (9, 30)))
    for interpreter in (a, a, b, a, b):
        interpreter.invoke()
    assert loads == [1000, 0, 200, 0, 0]
    assert (device.sram.token, device.sram.used_bytes) == (7, 1200)
    other.invoke()
    assert (device.sram.token, device.sram.used_bytes) == (9, 30)
    for interpreter in (b, a, a):
        interpreter.invoke()
    assert loads[5:] == [30, 200, 1000, 0]
    device.reset()
    assert device.sram.used_bytes == 0
    a.invoke()
    assert loads[-1] == 1000


def test_token_0_never_stays(save: Save) -> None:
    device = VirtualEdgeTpu(latency=0.001, real_time=False)
    interpreter = opened(program(save, 0, 387), device)
    for _ in range(3):
        interpreter.invoke()
        assert device.modelled_s == pytest.approx(0.001 + 1e-6)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=30))
def test_sram_against_the_flowchart(steps: list[tuple[int, int]]) -> None:
    """The rule spelled out again: what is cached are the executables since the last change of token."""
    executables = [type("Executable", (), {})() for _ in range(5)]
    sram, token, cached = Sram(), 0, set()
    for wanted, number in steps:
        if wanted == 0 or wanted != token:
            token, cached = wanted, set()
        expected = 0 if number in cached else 10 + number
        cached.add(number)
        assert sram.load(executables[number], wanted, 10 + number) == expected
        assert (sram.token, sram.used_bytes) == (token, sum(10 + n for n in cached))


def test_what_is_gone_is_not_cached(save: Save) -> None:
    device = VirtualEdgeTpu()
    interpreter = opened(program(save, 5, 64), device)
    interpreter.invoke()
    assert device.sram.used_bytes == 64
    del interpreter
    assert device.sram.used_bytes == 0


@pytest.mark.parametrize(("kind", "usb", "bus"), [("pci", 3, "pcie"), ("usb", 3, "usb3"), ("usb", 2, "usb2")])
def test_the_first_inference_is_slower_by_the_load(save: Save, kind: str, usb: int, bus: str) -> None:
    device = VirtualEdgeTpu(type=kind, usb=usb, latency=0.002, real_time=False)  # type: ignore[arg-type]
    assert device.bus == bus
    interpreter = opened(program(save, 1, 100_000), device)
    interpreter.invoke()
    assert device.modelled_s == pytest.approx(0.002 + 100_000 / (BUSES[bus].load_mb_s * 1e6))
    interpreter.invoke()
    assert device.modelled_s == pytest.approx(0.002)


# -- Runtime versions --------------------------------------------------------------------------------------------------


def test_newer_packages_are_refused_in_the_vendors_words(save: Save) -> None:
    path = save(compiled(branched(), [0], payload=package(runtime=13)))
    make_interpreter(path, VirtualEdgeTpu(runtime_version=13))
    message = (
        r"^Failed precondition: Package requires runtime version \(13\), "
        r"which is newer than this runtime version \(12\)"
    )
    with pytest.raises(RuntimeTooOldError, match=message):
        make_interpreter(path, VirtualEdgeTpu(runtime_version=12))


def test_runtime_version_from_the_environment(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setenv(RUNTIME_VARIABLE, "10")
    with pytest.raises(RuntimeTooOldError, match=r"\(13\).*\(10\)"):
        make_interpreter(save(compiled(branched(), [0])))
    monkeypatch.setenv(RUNTIME_VARIABLE, "new")
    with pytest.raises(UsageError, match=RUNTIME_VARIABLE):
        device_named()


# -- Clock and heat ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clock", "mhz"), [("max", 500), ("standard", 250), ("reduced", 125)])
def test_clock_setting(save: Save, clock: str, mhz: float) -> None:
    seen: list[Invocation] = []
    device = VirtualEdgeTpu(clock=clock, latency=lambda item: seen.append(item) or 0.0)  # type: ignore[arg-type]
    path = save(compiled(branched(), [0]))
    opened(path, device).invoke()
    assert device.clock_mhz == mhz
    assert seen == [Invocation(str(path), "pcie", 0, mhz)]


def test_unknown_clock() -> None:
    with pytest.raises(DeviceError, match="clock"):
        VirtualEdgeTpu(clock="turbo")  # type: ignore[arg-type]


def test_a_chip_that_works_gets_hot_and_slow_and_recovers() -> None:
    heat = Thermometer(Cooling(ambient_c=50, busy_rise_c=60, idle_rise_c=5, time_constant_s=10, poll_interval_s=1))
    assert heat.temperature_c == 55
    clocks = []
    for _ in range(60):
        heat.advance(1, busy=True)
        clocks.append(heat.halvings)
    assert clocks[0] == 0
    assert max(clocks) == 1  # half the clock, half the heat: it never comes to the second trip point
    assert sorted(set(clocks)) == [0, 1]
    for _ in range(100):
        heat.advance(1, busy=False)
    assert heat.halvings == 0
    assert heat.temperature_c == pytest.approx(55, abs=0.1)


def test_without_polling_nothing_is_throttled() -> None:
    heat = Thermometer(Cooling(busy_rise_c=200, poll_interval_s=0))
    heat.advance(1e6, busy=True)
    assert heat.temperature_c == pytest.approx(225)
    assert heat.halvings == 0


@given(st.lists(st.tuples(st.floats(0, 1e4), st.booleans()), max_size=40))
def test_temperature_stays_within_its_bounds(steps: list[tuple[float, bool]]) -> None:
    heat = Thermometer(Cooling(ambient_c=20, idle_rise_c=5, busy_rise_c=90))
    for seconds, busy in steps:
        heat.advance(seconds, busy)
        assert 20 - 1e-6 <= heat.temperature_c <= 110 + 1e-6
        assert 0 <= heat.halvings <= 3


def test_heat_slows_a_device_down(save: Save) -> None:
    cooling = Cooling(ambient_c=80, idle_rise_c=0, busy_rise_c=1000, time_constant_s=1, poll_interval_s=0.001)
    device = VirtualEdgeTpu(latency=0.01, real_time=False, cooling=cooling)
    interpreter = opened(save(compiled(branched(), [0])), device)
    seconds = []
    for _ in range(5):
        interpreter.invoke()
        seconds.append(device.modelled_s)
    assert seconds[0] == pytest.approx(0.01)
    assert max(seconds) >= 0.02
    assert device.temperature_c is not None
    assert device.temperature_c > 84.8


# -- Real time ---------------------------------------------------------------------------------------------------------


def test_real_time_waits_for_the_modelled_latency(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    from atoll.device.virtual import virtual_device as virtual

    waits: list[float] = []
    monkeypatch.setattr(virtual, "wait_until", lambda deadline: (waits.append(deadline), wait_until(deadline)))
    for real_time in (False, True):
        device = VirtualEdgeTpu(latency=lambda _: 0.002, real_time=real_time)
        opened(save(compiled(branched(), [0])), device).invoke()
        assert device.modelled_s == 0.002
        assert len(waits) == real_time


def test_what_a_device_had_to_do_is_gone_with_a_reset(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    from atoll.device.virtual import virtual_device as virtual

    deadlines: list[float] = []
    monkeypatch.setattr(virtual, "wait_until", deadlines.append)
    device = VirtualEdgeTpu(latency=1e6)
    interpreter = opened(save(compiled(branched(), [0])), device)
    begin = time.perf_counter()
    interpreter.invoke()
    interpreter.invoke()
    device.reset()
    interpreter.invoke()
    assert [round((deadline - begin) / 1e6) for deadline in deadlines] == [1, 2, 1]


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_timing_model_that_lost_its_mind(save: Save, seconds: float) -> None:
    interpreter = opened(save(compiled(branched(), [0])), VirtualEdgeTpu(latency=lambda _: seconds))
    with pytest.raises(RuntimeError, match="not possible"):
        interpreter.invoke()
