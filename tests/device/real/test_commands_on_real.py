"""Commands on real devices (the stand-in library) with files of the vendor's compiler (the stand-in for that)."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from atoll.cli import cli, invoke
from atoll.compiler.external.installed import VARIABLE as COMPILER
from atoll.compiler.external.installed import _examine
from atoll.device import lease
from atoll.device.leasing import directory as leasedir
from atoll.device.leasing import waiting
from atoll.device.plain import plain_interpreter
from atoll.errors import CompilerMissingError, DeviceBusyError, DeviceError, UsageError
from atoll.learning.workers import lease_named, open_workers
from atoll.model.tflite import write_model
from atoll.vendor_tools import model_pipelining
from builders import chain
from small_models import branched, compiled, package
from standin_compiler import install
from standins import PCI, USB, Standin

Atoll = Callable[..., tuple[int, str, str]]
SECOND = "/dev/apex_1"
REAL_FILE = compiled(branched(), [0, 1, 2], payload=package(chip="beagle"))


@pytest.fixture
def atoll(capsys: pytest.CaptureFixture[str]) -> Atoll:
    """A command's exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = invoke(cli, [str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def machine(standin: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Standin:
    """Two PCIe devices, the vendor's compiler, and a model ``net.tflite``."""
    standin.system.pcie(1)
    standin.set(devices=f"pci={PCI},pci={SECOND}")
    _examine.cache_clear()
    monkeypatch.setenv(COMPILER, str(install(tmp_path / "bin")))
    monkeypatch.setenv(leasedir.VARIABLE, str(tmp_path / "leases"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_model(chain(4), tmp_path / "net.tflite")
    return standin


def test_from_a_model_to_a_pipeline_on_two_devices(
    atoll: Atoll, machine: Standin, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = atoll("compile", "net.tflite", "-n", 2, "-o", "out")
    assert (code, "the vendor's compiler 16" in err) == (0, True)
    files = [f"out/net_segment_{i}_of_2_edgetpu.tflite" for i in range(2)]
    machine.set(model=f"{PCI}={files[0]},{SECOND}={files[1]}")
    arguments = ["out", "net", "2", "3"]
    assert invoke(model_pipelining.command, arguments) == 0
    out = capsys.readouterr().out
    assert [PCI in out, SECOND in out, "3 inferences" in out] == [True] * 3
    machine.monkeypatch.setenv(waiting.VARIABLE, "0")
    with lease(1, devices=[SECOND]):  # taken by somebody else of this process: no pipeline gets one device only
        assert invoke(model_pipelining.command, arguments) == DeviceBusyError.exit_code
        assert str(os.getpid()) in capsys.readouterr().err
        with lease(1, devices=[PCI], wait=0):
            pass
    assert invoke(model_pipelining.command, arguments) == 0
    assert machine.opened_here() == 0


def test_workers_compile_for_the_devices_that_they_lease(machine: Standin, tmp_path: Path) -> None:
    model = chain(4)
    machine.set(model=str(tmp_path / "atoll-*" / "model_edgetpu.tflite"))
    values = np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 4)).astype(np.int8)
    whole = plain_interpreter(model)
    whole.allocate_tensors()
    whole.set_tensor(whole.get_input_details()[0]["index"], values)
    whole.invoke()
    detail = whole.get_output_details()[0]
    expected = np.float32(detail["quantization"][0]) * whole.get_tensor(detail["index"]).astype(np.float32)
    with open_workers(model, ()) as workers:
        assert len(workers) == 2
        for worker in workers:
            np.testing.assert_array_equal(worker({"input": values}), expected)
        with pytest.raises(DeviceBusyError):
            lease(1, wait=0).acquire()
    with lease(2, wait=0):
        pass
    machine.monkeypatch.setenv(COMPILER, "none")
    with pytest.raises(CompilerMissingError), open_workers(model, ()):
        pass


def test_which_devices_workers_lease(machine: Standin) -> None:
    machine.monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "pci:2")

    def paths(names: tuple[str, ...], segments: int = 1) -> list[str]:
        with lease_named(names, segments) as leased:
            return [device.path for device in leased]

    assert paths(()) == [PCI, SECOND]  # real ones, where there are any
    assert paths(("pci:1", "pci:3")) == [SECOND, "virtual:pci:1"]
    assert paths(("pci", "pci")) == [PCI, SECOND]
    assert paths((), 2) == [PCI, SECOND]
    assert paths(("pci", "pci", "pci"), 2) == [PCI, SECOND]
    with lease(1, devices=[PCI]):
        assert paths(("pci",)) == [SECOND]
    with pytest.raises(DeviceError, match="more often"):
        lease_named(("pci:1", "pci:1"))
    with pytest.raises(UsageError, match="3 segments need 3 devices"):
        lease_named((), 3)
    with pytest.raises(UsageError, match="real and virtual"), open_workers(chain(2), ("pci:0", "pci:2")):
        pass


def test_a_device_that_vanishes_after_it_was_listed(
    machine: Standin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.set(devices=f"pci={PCI},usb={USB}", fail="refuse", model="net.tflite")
    write_model(REAL_FILE, "net_edgetpu.tflite")
    (tmp_path / "root/dev/apex_0").unlink()  # in the list of the library, and gone
    assert invoke(model_pipelining.command, [".", "net", "1", "1"]) == 72
    assert PCI in capsys.readouterr().err


@pytest.mark.parametrize(
    ("library", "code", "message"),
    [
        ("none.so.1", 75, "there is no Edge TPU runtime library"),
        ("text.so.1", 76, "is a text file"),
        ("other.so.1", 77, "is made for"),
    ],
)
def test_a_library_that_is_none(
    atoll: Atoll, machine: Standin, tmp_path: Path, library: str, code: int, message: str
) -> None:
    write_model(REAL_FILE, "net_edgetpu.tflite")
    (tmp_path / "text.so.1").write_text("INPUT(libedgetpu.so)")
    (tmp_path / "other.so.1").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0\x08\0" + bytes(100))
    machine.monkeypatch.setenv("ATOLL_LIBEDGETPU", str(tmp_path / library))
    assert invoke(model_pipelining.command, [".", "net", "1", "1"]) == code
    ended, out, _ = atoll("doctor", "--json")
    problem = next(check for check in json.loads(out)["checks"] if check["state"] == "problem")
    assert (ended, problem["name"], message in problem["finding"], bool(problem["remedy"])) == (
        1,
        "runtime",
        True,
        True,
    )
    ended, out, _ = atoll("devices")
    assert (ended, message in " ".join(out.split()), "/dev/apex_0" in out) == (0, True, True)


def _no_directory(folder: Path) -> Path:
    (folder / "leases").write_text("a file")
    return folder / "leases"


def _on_a_network(folder: Path) -> Path:
    (folder / "mountinfo").write_text(f"36 35 0:1 / {folder}/leases rw - nfs4 server:/x rw\n")
    (folder / "leases").mkdir()
    return folder / "leases"


def _with_a_stale_file(folder: Path) -> Path:
    (folder / "leases" / "device-%2Fdev%2Fapex_0.lock").mkdir(parents=True)
    return folder / "leases"


@pytest.mark.parametrize(("prepare", "code"), [(_no_directory, 100), (_on_a_network, 101), (_with_a_stale_file, 102)])
def test_a_lease_directory_that_cannot_be_used(
    atoll: Atoll, machine: Standin, tmp_path: Path, prepare: Callable[[Path], Path], code: int
) -> None:
    machine.monkeypatch.setattr(leasedir, "MOUNTS", tmp_path / "mountinfo")
    write_model(REAL_FILE, "net_edgetpu.tflite")
    machine.monkeypatch.setenv(leasedir.VARIABLE, str(prepare(tmp_path)))
    leasedir.file_system.cache_clear()
    assert invoke(model_pipelining.command, [".", "net", "1", "1"]) == code
    ended, out, _ = atoll("devices")
    assert (ended, "/dev/apex_1" in out, "Devices cannot be leased" in out) == (0, True, True)
    ended, out, _ = atoll("doctor")
    assert ended == 1 and re.search(r"leases\s+(state\s+)?PROBLEM", out)


def test_a_lock_that_a_dead_process_left_is_no_obstacle(atoll: Atoll, machine: Standin, tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    stale = json.dumps({"pid": 1, "command": "long dead", "since": 0.0})
    (tmp_path / "leases" / "device-%2Fdev%2Fapex_0.lock").write_text(stale)
    code, out, _ = atoll("devices", "--json")
    assert (code, [device["holder"] for device in json.loads(out)["devices"]]) == (0, ["", ""])
    with lease(2, wait=0):
        pass
