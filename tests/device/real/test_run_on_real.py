"""``atoll run`` on real devices (the stand-in library), compiled by the vendor's compiler (the stand-in for that)."""

from __future__ import annotations

import json

import pytest
from test_commands_on_real import SECOND, Atoll, atoll, machine

from atoll.device import lease
from atoll.errors import DeviceBusyError, DeviceError
from atoll.model.tflite import write_model
from builders import chain
from standins import PCI, Standin

__all__ = ["atoll", "machine"]
FILES = [f"out/net_segment_{i}_of_2_edgetpu.tflite" for i in range(2)]


def test_one_command_from_a_model_to_a_pipeline(atoll: Atoll, machine: Standin) -> None:
    machine.set(model=f"{PCI}={FILES[0]},{SECOND}={FILES[1]}")
    code, out, err = atoll("run", "net.tflite", "--segments-dir", "out", "--inferences", 5, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert [segment["device"] for segment in report["segments"]] == [PCI, SECOND]
    assert report["compiler"].startswith("the vendor's compiler 16.")
    assert report["verified"] == 3 and report["deviations"] == []
    assert [item["differences"] for item in report["agreements"]] == [[], []]
    code, out, _ = atoll("run", "net.tflite", "--segments-dir", "out", "--inferences", 5)
    assert code == 0 and "measured on real Edge TPUs" in " ".join(out.split())
    assert "Our prediction and the vendor's compiler agree on every figure." in " ".join(out.split())
    assert machine.opened_here() == 0


def test_compiled_files_run_as_they_are(atoll: Atoll, machine: Standin) -> None:
    assert atoll("compile", "net.tflite", "-n", 2, "-o", "out")[0] == 0
    machine.set(model=f"{PCI}={FILES[0]},{SECOND}={FILES[1]}")
    code, out, _ = atoll("run", *FILES, "--inferences", 4, "--original", "net.tflite", "--json")
    report = json.loads(out)
    assert (code, report["verified"], report["deviations"]) == (0, 3, [])
    code, out, _ = atoll("run", *FILES, "--inferences", 4)
    assert code == 0 and "Outputs were not compared" in " ".join(out.split())


def test_a_chip_that_computes_something_else_is_reported(atoll: Atoll, machine: Standin) -> None:
    """What real devices compute is not ours to refuse."""
    write_model(chain(4, seed=1), "other.tflite")
    assert atoll("compile", "other.tflite")[0] == 0
    machine.set(model="other_edgetpu.tflite")
    code, out, _ = atoll("run", "other_edgetpu.tflite", "--inferences", 4, "--original", "net.tflite")
    assert code == 0 and "differ from those of the uncut model on this CPU by at most" in " ".join(out.split())


def test_all_devices_or_none(atoll: Atoll, machine: Standin) -> None:
    machine.set(model=f"{PCI}={FILES[0]},{SECOND}={FILES[1]}")
    with lease(1, devices=[SECOND]):
        code, _, err = atoll("run", "net.tflite", "--segments-dir", "out", "--wait", 0)
        assert code == DeviceBusyError.exit_code and SECOND in err
        with lease(1, devices=[PCI], wait=0):
            pass
    code, _, err = atoll("run", "net.tflite", "--tpus", 3)
    assert code == DeviceError.exit_code and "3 Edge TPUs are asked for, there are 2" in err


def test_virtual_code_is_not_for_real_devices(atoll: Atoll, machine: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATOLL_VIRTUAL_TPUS", raising=False)
    code, _, err = atoll("run", "net.tflite", "--codegen", "virtual")
    assert code == DeviceError.exit_code and "ATOLL_VIRTUAL_TPUS=pci:2 makes them" in err
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "pci:2")
    code, out, _ = atoll("run", "net.tflite", "--codegen", "virtual", "--inferences", 3)
    assert code == 0 and "bit for bit" in " ".join(out.split())
    # What the vendor's compiler made runs on virtual devices too: the uncompiled segments are at hand.
    code, out, _ = atoll("run", "net.tflite", "--codegen", "vendor", "--device", "virtual:pci:0", "--tpus", 1)
    assert code == 0 and "bit for bit" in " ".join(out.split())
