"""Which devices exist, and which one a selection means."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from pathlib import Path

import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from atoll.device import VirtualEdgeTpu, list_edge_tpus, make_interpreter
from atoll.device.choice import choose_devices, on_buses, one_each
from atoll.device.inventory import VARIABLE
from atoll.errors import AtollError, DeviceError, UsageError
from atoll.model import Model
from devices import device_named
from small_models import branched, compiled

Save = Callable[[Model], Path]


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "pci:2,usb:3")


def test_eight_devices_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    devices = list_edge_tpus()
    assert [device["type"] for device in devices] == ["pci"] * 8
    assert len({device["path"] for device in devices}) == 8


@pytest.mark.parametrize(
    ("setting", "types"),
    [
        ("0", []),
        ("4", ["pci"] * 4),
        ("usb:1", ["usb"]),
        ("pci:2,usb:2", ["pci", "pci", "usb", "usb"]),
        (" usb:1 , pci:1 ", ["usb", "pci"]),
    ],
)
def test_environment_says_which_exist(monkeypatch: pytest.MonkeyPatch, setting: str, types: list[str]) -> None:
    monkeypatch.setenv(VARIABLE, setting)
    assert [device["type"] for device in list_edge_tpus()] == types


@pytest.mark.parametrize("setting", ["", "many", "-1", "pci", "pci:", "pci:1;usb:1", "999999", "1e3", "tpu:1", "٣"])
def test_environment_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv(VARIABLE, setting)
    with pytest.raises(UsageError, match=VARIABLE):
        list_edge_tpus()


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize(
    ("selection", "index"),
    [("pci:0", 0), ("pci:1", 1), ("usb:0", 2), ("usb:2", 4), (":0", 0), (":3", 3), ("pci", 0), ("usb", 2), (None, 0)],
)
def test_selection(selection: str | None, index: int) -> None:
    assert device_named(selection).path == list_edge_tpus()[index]["path"]


@pytest.mark.usefixtures("mixed")
def test_path_selects_and_the_device_is_always_the_same() -> None:
    for device in list_edge_tpus():
        assert device_named(device["path"]).path == device["path"]
        assert device_named(device["path"]) is device_named(device["path"])


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("selection", ["pci:2", "usb:3", ":5", "gpu", "pci:x", "pci:-1", "pci:999999", "/dev/apex_0"])
def test_unknown_device_names_those_that_exist(selection: str) -> None:
    with pytest.raises(DeviceError) as caught:
        device_named(selection)
    assert selection in caught.value.message
    assert "pci:0 to pci:1 and usb:0 to usb:2" in caught.value.message


@given(st.text())
def test_no_text_breaks_the_selection(text: str) -> None:
    with contextlib.suppress(AtollError):
        assert isinstance(device_named(text), VirtualEdgeTpu)


def test_no_device_at_all(monkeypatch: pytest.MonkeyPatch, save: Save) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    with pytest.raises(DeviceError, match="there is none"):
        make_interpreter(save(compiled(branched(), [0])))
    make_interpreter(save(branched())).allocate_tensors()  # needs no device


@pytest.mark.usefixtures("mixed")
def test_interpreters_spread_over_the_devices(save: Save) -> None:
    path = save(compiled(branched(), [0]))
    interpreters = [make_interpreter(path) for _ in range(5)]
    assert [interpreter.device for interpreter in interpreters] == choose_devices()
    assert make_interpreter(path).device is device_named(":0")  # all are used once
    gone = interpreters.pop(3).device
    gc.collect()
    assert make_interpreter(path).device is gone is device_named(":3")
    assert make_interpreter(path, "pci").device is device_named("pci:0")


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize(
    ("selections", "paths"),
    [
        (["usb", "usb:0"], ["usb:1", "usb:0"]),
        (["pci", "pci"], ["pci:0", "pci:1"]),
        ([":4", "usb", "pci:1"], ["usb:2", "usb:0", "pci:1"]),
    ],
)
def test_each_selection_gets_a_device_of_its_own(selections: list[str], paths: list[str]) -> None:
    assert [device.path for device in one_each(selections)] == [f"virtual:{path}" for path in paths]


@pytest.mark.usefixtures("mixed")
def test_a_selection_that_is_given_too_often() -> None:
    with pytest.raises(DeviceError, match="'usb:1' is named more often than there are such devices"):
        one_each(["usb:1", "pci", "usb:1"])


@pytest.mark.usefixtures("mixed")
def test_several_selections_buses_and_kinds() -> None:
    assert choose_devices(["usb", "usb:0"]) == choose_devices("usb")
    assert choose_devices(bus="pcie") == choose_devices("pci")
    assert choose_devices(["usb", "pci:1"], bus="pci") == choose_devices("pci:1")
    assert choose_devices(virtual=True) == choose_devices() and choose_devices(virtual=False) == []
    wanted = on_buses(choose_devices(), [("any", 2), ("usb", 2), ("pcie", 1)])
    assert [device.path.removeprefix("virtual:") for device in wanted] == ["pci:1", "usb:2", "usb:0", "usb:1", "pci:0"]
    with pytest.raises(DeviceError, match="segment 1 is for 3 pci Edge TPUs, 2 are left"):
        on_buses(choose_devices(), [("usb", 1), ("pci", 3)])
    with pytest.raises(UsageError, match="'isa' is not a bus"):
        choose_devices(bus="isa")


def test_plain_file_gets_a_plain_interpreter(save: Save) -> None:
    path = save(branched())
    assert type(make_interpreter(path)) is Interpreter
    with pytest.raises(DeviceError):
        make_interpreter(path, "usb:77")


def test_file_errors_are_those_of_the_reader(tmp_path: Path) -> None:
    with pytest.raises(AtollError, match="nowhere"):
        make_interpreter(tmp_path / "nowhere.tflite")
