"""Faults as a user injects them: errors, lost and hung devices, slow links, heat."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.device import Faults, VirtualEdgeTpu, list_edge_tpus, make_interpreter
from atoll.device.inventory import VARIABLE, edge_tpus
from atoll.device.virtual.faults import NO_FAULTS, parse_faults
from atoll.device.virtual.faults import VARIABLE as FAULTS
from atoll.errors import AtollError, DeviceError, DeviceLostError, UsageError
from atoll.model import Model
from devices import device_named
from small_models import (
    assert_equal,
    branched,
    compiled,
    opened,
    plain_interpreter,
    random_input,
    run,
)

Save = Callable[[Model], Path]


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
