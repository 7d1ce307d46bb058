"""``atoll profile --device`` on real devices, as far as a stand-in for the runtime library can tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.cli import cli, invoke
from atoll.device import lease
from atoll.errors import DeviceError, DeviceLostError, RuntimeTooOldError
from atoll.model import Model
from small_models import branched, compiled, package
from standins import PCI, Standin

Save = Callable[[Model], Path]


def profile(capsys: pytest.CaptureFixture[str], *arguments: object, command: str = "profile") -> tuple[int, str, str]:
    capsys.readouterr()
    code = invoke(cli, [command, *map(str, arguments)])
    said = capsys.readouterr()
    with lease(devices=[PCI], wait=0) as devices:  # it is free again
        assert [device.path for device in devices] == [PCI]
    return code, said.out, said.err


def test_a_file_that_keeps_no_original_operators_is_measured_and_not_modelled(
    save: Save, standin: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    both = compiled(branched(), [0, 1, 2], payload=package(chip="beagle"))
    standin.set(model=str(save(both)))  # where the stand-in finds what to compute
    file = save(Model(both.graphs[:1]))
    options = ("--device", "pci", "--inferences", 7, "--clock", "standard", "--json")
    code, out, err = profile(capsys, file, *options)
    assert code == DeviceError.exit_code and "atoll measure" in err
    code, out, err = profile(capsys, file, *options, command="measure")
    assert code == 0, err
    measured = json.loads(out)
    assert (measured["device"], measured["virtual"], measured["inferences"]) == (PCI, False, 7)
    assert measured["modelled"] is None and measured["difference"] == {"first": None, "median": None}
    assert "Nothing is modelled: " in measured["how"] and "was compiled for real Edge TPUs" in measured["how"]
    assert 0 < measured["median_ms"] <= measured["p95_ms"]
    assert "Performance=High" in standin.log.read_text()


def test_what_is_not_compiled_for_it(save: Save, standin: Standin, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = profile(capsys, save(branched()), "--device", "pci")
    assert code == DeviceError.exit_code and out == ""
    assert "no machine code for a real one" in err


def test_a_package_for_a_newer_runtime(save: Save, standin: Standin, capsys: pytest.CaptureFixture[str]) -> None:
    both = compiled(branched(), [0, 1, 2], payload=package(chip="beagle", runtime=99))
    code, out, err = profile(capsys, save(Model(both.graphs[:1])), "--device", "pci", command="measure")
    assert code == RuntimeTooOldError.exit_code and out == "" and "99" in err


def test_a_device_that_does_not_open(save: Save, standin: Standin, capsys: pytest.CaptureFixture[str]) -> None:
    both = compiled(branched(), [0, 1, 2], payload=package(chip="beagle"))
    file = save(Model(both.graphs[:1]))
    standin.set(model=str(file), fail="refuse")
    (standin.system.root / "dev/apex_0").unlink()
    code, out, err = profile(capsys, file, "--device", "pci", command="measure")
    assert code == DeviceLostError.exit_code and out == ""
    assert PCI in err and "Traceback" not in err
