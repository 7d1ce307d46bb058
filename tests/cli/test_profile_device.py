"""``atoll profile --device``: measured beside modelled, on a device that is free again whatever happened."""

from __future__ import annotations

import csv
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atoll import errors
from atoll.device import VirtualEdgeTpu, inventory, lease
from atoll.device.choice import choose_devices
from atoll.errors import DeviceBusyError, RuntimeTooOldError
from atoll.hardware.host import load_target

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def devices_are_free_afterwards() -> Any:
    before = [(device.path, state(device)) for device in inventory.edge_tpus()]
    yield
    gc.collect()  # what an exception keeps
    assert [(device.path, state(device)) for device in inventory.edge_tpus()] == before
    with lease(devices=inventory.edge_tpus(), wait=0) as all_of_them:
        assert len(all_of_them) == len(before)


def state(device: Any) -> tuple[object, ...]:
    assert isinstance(device, VirtualEdgeTpu)
    return device.latency, device.clock, device.real_time, device.interpreters


def measured(atoll: Run, *arguments: object) -> dict[str, Any]:
    result = atoll("profile", *arguments, "--inferences", 20, "--json")
    assert result.code == 0, result.err
    content: dict[str, Any] = json.loads(result.out)
    assert content["schema"] == "atoll.profile/1" and content["operators"]
    return content


def test_measured_times_stand_beside_the_modelled_ones(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    files = "--csv", tmp_path / "p.csv", "--trace", tmp_path / "t.json"
    content = measured(atoll, chain_file, "--device", "pci:1", *files)
    found, modelled = content["measured"], content["measured"]["modelled"]
    assert (found["device"], found["virtual"], found["inferences"]) == ("virtual:pci:1", True, 20)
    assert modelled["target"] == content["target"] == "x86-pcie"
    assert modelled["latency_ms"] == content["latency_ms"]
    assert modelled["first_ms"] == pytest.approx(content["latency_ms"] + content["segments"][0]["load_ms"])
    # In real time no inference is over before its modelled time; sleeping ends 20 µs early at most.
    assert found["median_ms"] > modelled["latency_ms"] - 0.05 and found["first_ms"] > modelled["first_ms"] - 0.05
    assert found["median_ms"] <= found["p95_ms"]
    assert found["difference"]["median"] == pytest.approx(found["median_ms"] / modelled["latency_ms"] - 1)
    with (tmp_path / "p.csv").open() as file:
        rows = {row["quantity"]: row for row in csv.DictReader(file)}
    assert float(rows["median"]["measured_ms"]) == found["median_ms"]
    assert float(rows["first inference"]["modelled_ms"]) == modelled["first_ms"]
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    groups = {event["args"]["name"]: event["pid"] for event in events if event["name"] == "process_name"}
    assert set(groups) == {"host", "Edge TPUs", "buses", "measured"}
    spans = [event["dur"] for event in events if event["ph"] == "X" and event["pid"] == groups["measured"]]
    assert len(spans) == 21 and spans[0] == pytest.approx(found["first_ms"] * 1e3)


def test_the_table_says_what_a_virtual_device_measures(atoll: Run, chain_file: Path) -> None:
    result = atoll("profile", chain_file, "--device", "pci", "--inferences", 5)
    assert result.code == 0
    for words in ("measured ms", "95th percentile", "5 inferences after the first", "virtual device in real time"):
        assert words in " ".join(result.out.split())


def test_the_bus_of_the_device_and_the_clock_count(
    atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pcie = measured(atoll, chain_file, "--device", "pci")
    slow = measured(atoll, chain_file, "--device", "pci", "--clock", "reduced")
    assert slow["segments"][0]["compute_ms"] == pytest.approx(4 * pcie["segments"][0]["compute_ms"])
    own = measured(atoll, chain_file, "--device", "pci", "--target", "pi4-usb3")
    assert own["measured"]["modelled"]["target"] == "pi4-usb3"
    assert own["measured"]["median_ms"] > own["latency_ms"] - 0.05
    monkeypatch.setenv(inventory.VARIABLE, "usb2:1")
    usb2 = measured(atoll, chain_file, "--device", "usb")
    assert usb2["measured"]["bus"] == "usb2" and usb2["target"] == "pi3-usb2"


def test_a_compiled_file_is_measured_as_it_is(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    assert atoll("compile", chain_file, "-o", tmp_path / "out").code == 0
    content = measured(atoll, tmp_path / "out/chain_edgetpu.tflite", "--device", ":2")
    assert content["measured"]["device"] == "virtual:pci:2"


def test_a_vendor_file_runs_with_its_original_only(atoll: Run, shared: Path) -> None:
    models = shared / "data/models"
    file = models / "v16/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    result = atoll("profile", file, "--device", "pci")
    assert result.code == errors.DeviceError.exit_code and "--original" in result.err
    other = models / "uncompiled/mobilenet_v1_0.5_160_quant.tflite"
    result = atoll("profile", file, "--device", "pci", "--original", other)
    assert result.code == errors.DeviceError.exit_code and "tensor 'input' differs in its shape" in result.err
    content = measured(atoll, file, "--device", "pci", "--original", str(other).replace("0.5_160", "0.25_128"))
    assert content["measured"]["median_ms"] > content["latency_ms"] - 0.05


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--device", "usb:3"], errors.DeviceError, "no Edge TPU 'usb:3'"),
        (["--device", "coral"], errors.DeviceError, "no Edge TPU 'coral'"),
        (["--device", "pci", "--target", "nowhere"], errors.UsageError, "no host profile 'nowhere'"),
        (["--device", "pci", "--target", "BAD.toml"], errors.UsageError, "BAD.toml"),
        (["--device", "pci", "--tpus", "2"], errors.UsageError, "--tpus models a pipeline"),
        (["--device", "pci", "--bus", "usb3"], errors.UsageError, "a device has a bus"),
        (["--device", "pci", "--wait", "nan"], errors.UsageError, "nan is not a finite number"),
        (["--calibrate", "x", "--clock", "max", "-o", "x.toml"], errors.UsageError, "profiles no model"),
    ],
)
def test_what_cannot_be_measured(
    atoll: Run, chain_file: Path, tmp_path: Path, arguments: list[str], error: type[errors.AtollError], words: str
) -> None:
    (tmp_path / "BAD.toml").write_text('base = "x86-pcie"\n[bus]\noutput_mb_s = { value = -3, source = "me" }\n')
    given = [str(tmp_path / item) if item == "BAD.toml" else item for item in arguments]
    model = [] if "--calibrate" in arguments else [chain_file]
    result = atoll("profile", *model, *given)
    assert result.code == error.exit_code and result.out == ""
    assert words in result.err and "Traceback" not in result.err


def test_runs_are_measured_for_a_calibration(atoll: Run, chain_file: Path, branched_file: Path, tmp_path: Path) -> None:
    runs = [{"model": chain_file.name}, {"model": branched_file.name, "ms": 5.0}, {"model": branched_file.name}]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    arguments = "profile", "--calibrate", tmp_path / "runs.json", "-o", tmp_path / "my.toml", "--json"
    result = atoll(*arguments)
    assert result.code == errors.UsageError.exit_code and "run 0: 'ms' is missing" in result.err
    result = atoll(*arguments, "--device", "pci", "--inferences", 10)
    assert result.code == 0, result.err
    content = json.loads(result.out)
    assert content["start"] == "x86-pcie"
    first, given, second = content["runs"]
    assert given["ms"] == 5.0
    for run in (first, second):  # a virtual device takes at least the time of the target that it stands for
        assert run["ms"] > run["before_ms"] - 0.05
    assert load_target(tmp_path / "my.toml").name == "my"


def test_a_clock_that_no_device_has(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    (tmp_path / "runs.json").write_text(json.dumps([{"model": chain_file.name, "clock_mhz": 62.5}]))
    arguments = "--calibrate", tmp_path / "runs.json", "-o", tmp_path / "my.toml", "--device", "pci"
    result = atoll("profile", *arguments)
    assert result.code == errors.UsageError.exit_code and "no device can be set to 62.5 MHz" in result.err


def test_a_package_for_a_newer_runtime(atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(inventory.RUNTIME_VARIABLE, "9")
    result = atoll("profile", chain_file, "--device", "pci")
    assert result.code == RuntimeTooOldError.exit_code
    assert "which is newer than this runtime version (9)" in result.err


@pytest.mark.parametrize(
    ("fault", "words"), [("error_at=1", "failed on inference"), ("disconnect_at=4", "is disconnected")]
)
def test_a_device_that_fails(
    atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    device = choose_devices("pci:7")[0]
    assert isinstance(device, VirtualEdgeTpu)
    name, number = fault.split("=")
    faults = type(device.faults)(**{name: device.inferences + int(number)})
    monkeypatch.setattr(device, "faults", faults)
    result = atoll("profile", chain_file, "--device", device.path)
    device.reset()
    assert result.code >= errors.DeviceError.exit_code and result.out == ""
    assert words in result.err and "Traceback" not in result.err


def test_a_device_that_another_process_has(atoll: Run, chain_file: Path) -> None:
    hold = "import sys, atoll\nwith atoll.lease(devices=['pci:5'], wait=0):\n print('held', flush=True)\n input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        result = atoll("profile", chain_file, "--device", "pci:5", "--wait", 0)
        assert result.code == DeviceBusyError.exit_code and f"process {holder.pid}" in result.err
        holder.communicate("\n")
    assert measured(atoll, chain_file, "--device", "pci:5")["measured"]["device"] == "virtual:pci:5"
