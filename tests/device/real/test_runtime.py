"""Real devices through the runtime library's C interface, and what it says when they do not work."""

from __future__ import annotations

import gc
import os
import platform
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from atoll.device import RealEdgeTpu, list_edge_tpus, make_interpreter
from atoll.device.inventory import VARIABLE, edge_tpus
from atoll.device.real import runtime, sysfs
from atoll.device.real.library import VARIABLE as LIBRARY
from atoll.device.real.library import find_library
from atoll.device.real.runtime import runtime_library
from atoll.errors import (
    BootStateError,
    CorruptPackageError,
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DevicePermissionError,
    LibraryArchitectureError,
    LibraryInvalidError,
    LibraryMissingError,
    RuntimeMisfitError,
    RuntimeTooOldError,
    UsageError,
)
from atoll.model import Model
from devices import device_named
from small_models import assert_equal, branched, compiled, package, plain_interpreter, random_input, run
from standins import PCI, USB, Standin, System, standin_library

Save = Callable[[Model], Path]


@pytest.fixture
def real_file(save: Save, standin: Standin) -> Path:
    """A file compiled for real devices (the stand-in runs it from its original operators)."""
    path = save(compiled(branched(), [0, 1, 2], payload=package(chip="beagle")))
    standin.set(model=str(path))
    return path


def test_version_and_list(standin: Standin) -> None:
    standin.set(devices=f"pci={PCI},usb={USB}")
    library = runtime_library()
    assert library is not None
    assert library.runtime_version == 14
    assert library.devices == (("pci", PCI), ("usb", USB)) == tuple(library.list_devices())
    assert list_edge_tpus() == [{"type": "pci", "path": PCI}, {"type": "usb", "path": USB}]
    assert device_named("usb:0").path == USB
    assert not any(device.virtual for device in edge_tpus())


def test_virtual_devices_only_when_asked_for_or_alone(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "usb:2")
    assert [device.virtual for device in edge_tpus()] == [False, True, True]
    monkeypatch.delenv(VARIABLE)
    runtime.forget()
    standin.set(fail="no_device")
    assert [device.virtual for device in edge_tpus()] == [True] * 8


@pytest.mark.usefixtures("standin")
def test_virtual_devices_are_announced(save: Save, standin: Standin, caplog: pytest.LogCaptureFixture) -> None:
    from atoll.device import inventory

    standin.set(fail="no_device")
    standin.monkeypatch.setattr(inventory, "_said", False)
    path = save(compiled(branched(), [0]))
    for _ in range(2):
        make_interpreter(path)
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "Edge TPUs: 1 attached, but there is no runtime library for them"
    ]


def test_a_model_runs_on_it(real_file: Path, standin: Standin) -> None:
    oracle = plain_interpreter(branched())
    interpreter = make_interpreter(real_file, options={"Performance": "High", "Usb.MaxBulkInQueueLength": "16"})
    interpreter.allocate_tensors()
    assert device_named().interpreters == 1
    random = np.random.default_rng(3)
    for _ in range(3):
        values = random_input(oracle, random)
        assert_equal(run(interpreter, values), run(oracle, values))
    child, own = standin.events()[0], standin.events()[-1]
    assert child["pid"] != os.getpid() == own["pid"]  # the first contact was in a child
    for event in (child, own):
        assert (event["type"], event["path"]) == ("pci", PCI)
        assert event["options"] == "Performance=High;Usb.MaxBulkInQueueLength=16;"
    second = make_interpreter(real_file, PCI)
    assert len({event["pid"] for event in standin.events()}) == 2  # and no further one
    del interpreter, second
    gc.collect()
    assert standin.opened_here() == 0
    assert device_named().interpreters == 0


def test_verbosity(standin: Standin) -> None:
    library = runtime_library()
    assert library is not None
    library.set_verbosity(7)
    with pytest.raises(UsageError):
        library.set_verbosity(11)


@pytest.mark.parametrize(
    "options", [{"Speed": "Max"}, {"Performance": "max"}, {"Usb.AlwaysDfu": "yes"}, {"Usb.MaxBulkInQueueLength": "0"}]
)
def test_options_that_the_library_would_refuse(real_file: Path, options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        make_interpreter(real_file, options=options)


def test_files_for_virtual_devices_are_refused(save: Save, standin: Standin) -> None:
    with pytest.raises(DeviceError, match="compiled for virtual Edge TPUs"):
        make_interpreter(save(compiled(branched(), [0])))
    with pytest.raises(CorruptPackageError):
        make_interpreter(save(compiled(branched(), [0], payload=b"nonsense")))
    assert standin.events() == []


def test_old_runtime(save: Save, standin: Standin) -> None:
    standin.set(version="BuildLabel(COMPILER=6,CL_NUMBER=1), RuntimeVersion(10)")
    path = save(compiled(branched(), [0], payload=package(chip="beagle", runtime=12)))
    message = r"Package requires runtime version \(12\), which is newer than this runtime version \(10\)"
    with pytest.raises(RuntimeTooOldError, match=message):
        make_interpreter(path)


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("crash_load", r"crashed \(SIGSEGV\) while it is loaded"),
        ("crash_list", r"crashed \(SIGSEGV\) listing devices"),
        ("hang_list", r"did not answer within 1 s"),
    ],
)
def test_a_library_that_dies_does_not_take_us_along(standin: Standin, fail: str, message: str) -> None:
    standin.set(fail=fail)
    standin.monkeypatch.setattr(runtime, "LIST_SECONDS", 1.0)
    with pytest.raises(RuntimeMisfitError, match=message):
        list_edge_tpus()
    standin.monkeypatch.setenv(VARIABLE, "1")  # who asks for virtual devices gets them
    assert [device.virtual for device in edge_tpus()] == [True]


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("crash_open", r"crashed \(SIGSEGV\) opening the device"),
        ("crash_attach", r"crashed \(SIGSEGV\) attaching its delegate in LiteRT \d"),
        ("fail_attach", "failed .* attaching its delegate"),
        ("fail_invoke", "the stand-in was told to fail.* running the model"),
    ],
)
def test_interpreter_and_runtime_that_do_not_fit(real_file: Path, standin: Standin, fail: str, message: str) -> None:
    standin.set(fail=fail)
    for _ in range(2):
        with pytest.raises(RuntimeMisfitError, match=message) as caught:
            make_interpreter(real_file)
        assert "fit each other" in caught.value.hint
    standin.set(fail="")
    make_interpreter(real_file)  # the device was released


def test_device_that_vanishes_after_it_was_listed(real_file: Path, standin: Standin) -> None:
    assert device_named().path == PCI
    for path in sorted((standin.system.root / "sys/class/apex").rglob("*"), reverse=True):
        path.unlink() if not path.is_dir() or path.is_symlink() else path.rmdir()
    standin.set(fail="refuse")
    with pytest.raises(DeviceLostError, match=f"{PCI} is gone"):
        make_interpreter(real_file)


def test_device_file_that_is_not_there(real_file: Path, standin: Standin) -> None:
    (standin.system.root / "dev/apex_0").unlink()
    standin.set(fail="refuse")
    with pytest.raises(DeviceLostError, match="device file /dev/apex_0") as caught:
        make_interpreter(real_file)
    assert "container" in caught.value.hint


def test_device_of_another_process(real_file: Path, standin: Standin) -> None:
    standin.system.process(4321, "python detect.py", PCI)
    standin.set(fail="refuse")
    with pytest.raises(DeviceBusyError, match=r"in use by process 4321 \(python detect\.py\)"):
        make_interpreter(real_file)


@pytest.mark.parametrize(("device", "group"), [("pci", "apex"), ("usb", "plugdev")])
def test_device_without_permission(real_file: Path, standin: Standin, device: str, group: str) -> None:
    standin.system.usb()
    standin.set(fail="refuse", devices=f"pci={PCI},usb={USB}")
    standin.monkeypatch.setattr(sysfs.os, "access", lambda *_: False)
    with pytest.raises(DevicePermissionError) as caught:
        make_interpreter(real_file, device)
    assert f"adduser $USER {group}" in caught.value.hint


def test_device_in_its_boot_state(real_file: Path, standin: Standin) -> None:
    standin.system.usb(boot=True)
    standin.set(fail="refuse", devices=f"usb={USB}")
    with pytest.raises(BootStateError, match="1a6e:089a"):
        make_interpreter(real_file)


def test_no_reason_at_all(real_file: Path, standin: Standin) -> None:
    standin.set(fail="refuse")
    with pytest.raises(DeviceError, match="gives no reason") as caught:
        make_interpreter(real_file)
    assert type(caught.value) is DeviceError


def test_a_failure_after_the_first_success_is_explained_too(real_file: Path, standin: Standin) -> None:
    make_interpreter(real_file)
    standin.set(fail="refuse")
    standin.system.process(77, "other", PCI)
    with pytest.raises(DeviceBusyError, match="process 77"):
        make_interpreter(real_file)
    standin.set(fail="fail_attach")
    with pytest.raises(RuntimeMisfitError, match="do not get on"):
        make_interpreter(real_file)


def header(machine: int, bits: int = 2) -> bytes:
    return b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + struct.pack("<HH", 3, machine) + bytes(40)


OWN = 62 if platform.machine() == "x86_64" else 183


@pytest.mark.skipif(sys.platform != "linux", reason="ELF files")
@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"INPUT(libedgetpu.so.1.0)\n", LibraryInvalidError, "is a text file"),
        (b"<html>404", LibraryInvalidError, "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", LibraryInvalidError, "Git LFS pointer"),
        (b"", LibraryInvalidError, "is empty"),
        (b"MZ\x90\0", LibraryInvalidError, "of another system"),
        (b"\0\1\2", LibraryInvalidError, "something else"),
        (b"\x7fELF", LibraryInvalidError, "of another system"),
        (header(243), LibraryArchitectureError, "made for RISC-V, this Python for"),
        (header(40, bits=1), LibraryArchitectureError, r"made for ARM \(32 bit\)"),
        (header(OWN), LibraryInvalidError, "is cut off"),
        (header(OWN) + bytes(200), LibraryInvalidError, "cannot be loaded"),
    ],
)
def test_files_that_are_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, error: type[DeviceError], message: str
) -> None:
    path = tmp_path / "libedgetpu.so.1"
    path.write_bytes(content)
    monkeypatch.setenv(LIBRARY, str(path))
    with pytest.raises(error, match=message) as caught:
        runtime_library()
    assert type(caught.value) is error
    assert "libedgetpu1-std" in caught.value.hint or error is LibraryInvalidError


def test_a_library_that_was_not_copied_to_its_end(tmp_path: Path) -> None:
    whole = standin_library().read_bytes()
    for size in (len(whole) // 2, len(whole) - 1):  # the loader would die of SIGBUS
        (tmp_path / "libedgetpu.so.1").write_bytes(whole[:size])
        with pytest.raises(LibraryInvalidError, match="is cut off"):
            runtime_library(str(tmp_path / "libedgetpu.so.1"))


def test_library_that_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import _ctypes

    monkeypatch.setenv(LIBRARY, _ctypes.__file__)
    with pytest.raises(LibraryInvalidError, match="not an Edge TPU runtime"):
        runtime_library()


def test_library_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LibraryMissingError, match="there is no Edge TPU runtime library"):
        runtime_library(str(tmp_path / "libedgetpu.so.1"))
    monkeypatch.setenv(LIBRARY, "none")
    assert runtime_library() is None


def test_library_in_a_usual_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIBRARY, raising=False)
    standin = standin_library()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}:{standin.parent}")
    assert find_library() == str(standin)
    assert find_library(str(standin.parent)) == str(standin)  # a folder stands for the library in it


def test_devices_need_no_file_system_to_be_described(system: System) -> None:
    """Elsewhere than on Linux only the library knows the devices."""
    library = runtime.RuntimeLibrary("lib", "RuntimeVersion(13)", ())
    (system.root / "sys").rmdir()
    from atoll.device.real.real_device import why_not

    assert type(why_not(RealEdgeTpu(library, "usb", "x"))) is DeviceError
