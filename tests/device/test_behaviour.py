"""The virtual device behaves as the chip: caching, runtime versions, clock and heat, faults, vendor-compiled files."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from devices import device_named
from hypothesis import given
from hypothesis import strategies as st
from small_models import (
    assert_equal,
    branched,
    compiled,
    package,
    plain_interpreter,
    random_input,
    rename,
    run,
    vendor_compiled,
)

from atoll.device import Cooling, Faults, Invocation, VirtualEdgeTpu, list_edge_tpus, make_interpreter
from atoll.device.inventory import RUNTIME_VARIABLE, VARIABLE, edge_tpus
from atoll.device.virtual.clock import wait_until
from atoll.device.virtual.faults import NO_FAULTS, parse_faults
from atoll.device.virtual.faults import VARIABLE as FAULTS
from atoll.device.virtual.sram import Sram
from atoll.device.virtual.thermal import Thermometer
from atoll.errors import AtollError, DeviceError, DeviceLostError, RuntimeTooOldError, UsageError
from atoll.hardware.buses import BUSES
from atoll.model import Model
from atoll.model.tflite import read_model

Save = Callable[[Model], Path]


def opened(path: Path, device: VirtualEdgeTpu) -> Interpreter:
    interpreter = make_interpreter(path, device)
    interpreter.allocate_tensors()
    return interpreter


def program(save: Save, token: int, size: int) -> Path:
    return save(compiled(branched(), [0, 1, 2, 3, 4], payload=package(token=token, cached=bytes(size))))


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


# -- Faults ------------------------------------------------------------------------------------------------------------


def test_error_at_the_kth_inference(save: Save) -> None:
    model = branched()
    oracle, device = plain_interpreter(model), VirtualEdgeTpu(faults=Faults(error_at=2))
    interpreter = opened(save(compiled(model, [0, 1])), device)
    values = random_input(oracle, np.random.default_rng(3))
    run(interpreter, values)
    with pytest.raises(RuntimeError, match="inference 2") as caught:
        run(interpreter, values)
    assert isinstance(caught.value.__cause__, DeviceError)
    assert_equal(run(interpreter, values), run(oracle, values))


def test_disconnect_lasts_until_it_is_plugged_in_again(save: Save) -> None:
    path = save(compiled(branched(), [0]))
    device = VirtualEdgeTpu(faults=Faults(disconnect_at=2))
    interpreter = opened(path, device)
    interpreter.invoke()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="disconnected") as caught:
            interpreter.invoke()
        assert isinstance(caught.value.__cause__, DeviceLostError)
    with pytest.raises(DeviceLostError):
        make_interpreter(path, device)
    device.reset()
    interpreter.invoke()


def test_stall_ends_after_its_time_or_with_a_reset(save: Save) -> None:
    path = save(compiled(branched(), [0]))
    opened(path, VirtualEdgeTpu(faults=Faults(stall_at=1, stall_s=0.01))).invoke()
    device = VirtualEdgeTpu(faults=Faults(stall_at=1))
    interpreter, errors = opened(path, device), []

    def invoke() -> None:
        try:
            interpreter.invoke()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=invoke)
    thread.start()
    while not device.inferences:
        thread.join(0.001)
    assert thread.is_alive()
    device.reset()
    thread.join(60)
    assert "was reset" in str(errors[0])
    interpreter.invoke()


def test_slow_link_and_heat(save: Save) -> None:
    device = VirtualEdgeTpu(latency=0.001, real_time=False, faults=Faults(link_slowdown=4, temperature_c=95))
    opened(save(compiled(branched(), [0])), device).invoke()
    assert device.clock_mhz == 62.5
    assert device.modelled_s == pytest.approx(0.001 * 8 * 4)


def test_faults_from_the_environment(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "pci:2,usb:2")
    monkeypatch.setenv(FAULTS, "usb:1=hot@90; pci=slow@2,stall@3:0.5;virtual:pci:1=error@7")
    assert [getattr(device, "faults") for device in edge_tpus()] == [  # noqa: B009 - real devices have none
        Faults(link_slowdown=2, stall_at=3, stall_s=0.5),
        Faults(error_at=7),
        NO_FAULTS,
        Faults(temperature_c=90),
    ]
    monkeypatch.setenv(FAULTS, "pci:0=disconnect@1")
    device_named("pci:0").inferences = 0  # type: ignore[misc]
    interpreter = make_interpreter(save(compiled(branched(), [0])), "pci:0")
    interpreter.allocate_tensors()
    with pytest.raises(RuntimeError, match="disconnected"):
        interpreter.invoke()
    assert [device["path"] for device in list_edge_tpus()] == ["virtual:pci:1", "virtual:usb:0", "virtual:usb:1"]
    monkeypatch.delenv(FAULTS)
    edge_tpus()
    for device in edge_tpus():
        assert isinstance(device, VirtualEdgeTpu)
    from atoll.device.inventory import virtual_edge_tpus

    for each in virtual_edge_tpus("pci:2,usb:2"):
        each.reset()
        assert each.faults is NO_FAULTS


@pytest.mark.parametrize(
    "text",
    ["explode", "error", "error@", "error@0", "error@1.5", "slow@0.5", "stall@1:x", "error@1:2", "hot@", "usb:9=hot@9"],
)
def test_faults_that_make_no_sense(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, "pci:2,usb:2")
    monkeypatch.setenv(FAULTS, text)
    with pytest.raises(UsageError):
        edge_tpus()


@given(st.text())
def test_no_text_breaks_the_fault_parser(text: str) -> None:
    with contextlib.suppress(AtollError):
        assert all(isinstance(faults, Faults) for faults in parse_faults(text).values())


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


# -- Vendor-compiled files with their original -------------------------------------------------------------------------


def test_original_of_a_vendor_compiled_file(save: Save) -> None:
    model = branched()
    path, original = save(vendor_compiled(model, [0, 1, 2])), save(model)
    with pytest.raises(DeviceError, match="no 'cpu' signature") as caught:
        make_interpreter(path, VirtualEdgeTpu())
    assert "--original" in caught.value.hint
    oracle = plain_interpreter(model)
    interpreter = make_interpreter(path, VirtualEdgeTpu(), original=original)
    interpreter.allocate_tensors()
    values = random_input(oracle, np.random.default_rng(3))
    assert_equal(run(interpreter, values), run(oracle, values))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (1, 4, 4, 8)}, r"'sum' differs in its shape: \[1, 8, 8, 4\], there \[1, 4, 4, 8\]"),
        ({"quantization": None}, r"'sum' differs in its quantisation: scale .* zero point \[3\], there none"),
        ({"name": "other"}, "'sum'"),
    ],
)
def test_original_that_is_another_model(save: Save, changes: dict[str, object], message: str) -> None:
    model = branched()
    path, other = save(vendor_compiled(model, [0, 1, 2])), save(rename(model, 0, "sum", **changes))
    with pytest.raises(DeviceError, match=message):
        make_interpreter(path, VirtualEdgeTpu(), original=other)


def test_original_with_other_weights_on_the_cpu(save: Save) -> None:
    model = branched()
    other = branched()
    weights = next(t for t in other.main.tensors if t.name == "conv_3/weights")
    buffer = replace(weights.buffer, data=(weights.buffer.data ^ 1)) if weights.buffer else None
    path = save(vendor_compiled(model, [0, 1, 2]))
    with pytest.raises(DeviceError, match="'conv_3/weights' has other values"):
        make_interpreter(path, VirtualEdgeTpu(), original=save(rename(other, 0, "conv_3/weights", buffer=buffer)))


def test_original_that_is_compiled_itself(save: Save) -> None:
    path = save(vendor_compiled(branched(), [0]))
    with pytest.raises(DeviceError, match="is compiled itself"):
        make_interpreter(path, VirtualEdgeTpu(), original=path)


def vendor_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Files of the vendor's compilers 16 and 2.x with what they were made from."""
    compiled_files = [*(folder / "v16").glob("*_edgetpu.tflite"), *(folder / "v2").glob("*_edgetpu.tflite")]
    pairs = []
    for path in sorted(compiled_files):
        home = folder / ("uncompiled" if path.parent.name == "v16" else "v2")
        pairs.append((path, home / path.name.replace("_edgetpu", "")))
    return pairs


def test_real_vendor_files_run_from_their_originals(shared: Path) -> None:
    """Every pair of ../shared, bit for bit."""
    pairs = vendor_pairs(shared / "data/models")
    assert len(pairs) >= 10
    for path, original in pairs:
        interpreter = make_interpreter(path, VirtualEdgeTpu(), original=original)
        interpreter.allocate_tensors()
        oracle = plain_interpreter(read_model(original))
        values = random_input(oracle, np.random.default_rng(1))
        assert_equal(run(interpreter, values), run(oracle, values))


def test_real_vendor_files_with_the_original_of_another(shared: Path) -> None:
    pairs = [pair for pair in vendor_pairs(shared / "data/models") if pair[0].parent.name == "v2"]
    for (path, own), (_, other) in ((a, b) for a in pairs for b in pairs):
        if own != other:
            with pytest.raises(DeviceError, match=r"'.*'"):  # a tensor is named
                make_interpreter(path, VirtualEdgeTpu(), original=other)
