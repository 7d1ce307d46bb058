"""What the system shows of its Edge TPUs, and what the doctor makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.device.doctor import Check, diagnose
from atoll.device.inventory import VARIABLE
from atoll.device.leasing.lease import lease
from atoll.device.real import sysfs
from atoll.device.real.library import VARIABLE as LIBRARY
from atoll.device.real.sysfs import attached_devices
from atoll.device.survey import survey
from standins import PCI, TODAY, USB, Standin, System, library_of


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIBRARY, "none")
    monkeypatch.delenv(VARIABLE, raising=False)


def test_nothing_attached(system: System) -> None:
    assert attached_devices() == attached_devices(system.root) == []


def test_pcie(system: System) -> None:
    for index in (10, 2, 0):
        system.pcie(index, temp=51250 + index, unique_id="8a0f" if index == 2 else "")
    first, second, third = attached_devices()
    assert [d.path for d in (first, second, third)] == ["/dev/apex_0", "/dev/apex_2", "/dev/apex_10"]
    assert (first.temperature_c, first.trip_points_c, first.clock_mhz) == (51.25, (84.8, 89.8, 94.8), 500.0)
    assert (first.identity, second.identity) == ("PCIe 0000:01:00.0", "id 8a0f")
    assert (first.type, first.bus, first.accessible, first.holders) == ("pci", "pcie", True, ())


@pytest.mark.parametrize(
    ("temp", "poll", "clock"), [(84799, 1, 500), (84800, 1, 250), (90000, 1, 125), (99000, 1, 62.5), (99000, 0, 500)]
)
def test_trip_points_halve_the_clock(system: System, temp: int, poll: int, clock: float) -> None:
    system.pcie(temp=temp, poll=poll)
    assert attached_devices()[0].clock_mhz == clock


def test_usb(system: System) -> None:
    system.usb("2-1", speed=5000)
    system.usb("1-1.4", speed=480, boot=True, number=3)
    slow, fast = attached_devices()
    assert (fast.path, fast.bus, fast.speed_mbps, fast.boot_state, fast.identity) == (
        USB, "usb3", 5000, False, "USB port 2-1",
    )  # fmt: skip
    assert (slow.bus, slow.boot_state, slow.node) == ("usb2", True, "/dev/bus/usb/002/003")
    assert "USB 3" in slow.notes[0]
    assert fast.notes == ()


def test_holders(system: System) -> None:
    system.pcie()
    system.usb()
    system.process(12, "python a.py", PCI)
    system.process(7, "python b.py --x", PCI)
    system.process(30, "frigate", "/dev/bus/usb/002/007")
    pcie, usb = attached_devices()
    assert (pcie.holders, usb.holders) == ((7, 12), (30,))
    assert sysfs.process_name(7) == "process 7 (python b.py --x)"
    assert sysfs.process_name(8) == "process 8"


@given(st.dictionaries(st.sampled_from(["temp", "trip_point0_temp", "temp_poll_interval"]), st.binary(max_size=8)))
def test_no_content_of_the_files_breaks_it(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("root")
    folder = root / "sys/class/apex/apex_0"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert len(attached_devices(root)) == 1


def problems() -> list[Check]:
    return [check for check in diagnose().checks if check.state == "problem"]


def test_doctor_finds_a_healthy_machine_without_devices(system: System) -> None:
    del system
    diagnosis = diagnose()
    assert diagnosis.healthy
    assert all(not check.remedy for check in diagnosis.checks)
    assert diagnosis.versions["libedgetpu"] == "none"


def test_doctor_misses_the_library(system: System) -> None:
    system.pcie()
    assert [check.name for check in problems()] == ["runtime"]
    assert "libedgetpu1-std" in problems()[0].remedy


def test_doctor_misses_the_driver(system: System) -> None:
    for name, value in {"vendor": "0x1ac1", "device": "0x089a"}.items():
        path = system.root / f"sys/bus/pci/devices/0000:01:00.0/{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    assert [check.name for check in problems()] == ["driver"]


def test_doctor_puts_things_in_order(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses comes before what the library then cannot see."""
    system.pcie(temp=90000)
    system.usb(speed=480, number=9)
    (system.root / "dev/bus/usb/002/009").unlink()
    monkeypatch.setattr(sysfs.os, "access", lambda path, _: "apex" not in str(path))
    monkeypatch.setenv("ATOLL_EDGETPU_COMPILER", "none")
    names = [check.name for check in diagnose().checks if check.remedy]
    assert names == ["permission", "temperature", "device file", "speed", "runtime", "compiler"]


def test_doctor_with_everything_there(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIBRARY, str(library_of(TODAY)))
    assert diagnose().healthy
    standin.system.pcie(1)
    assert [check.finding for check in problems()] == ["the runtime does not see /dev/apex_1"]


def test_doctor_tells_of_an_old_runtime(standin: Standin) -> None:
    standin.set(version="BuildLabel(OLD), RuntimeVersion(13)")
    (check,) = [check for check in diagnose().checks if check.name == "runtime" and check.remedy]
    assert (check.state, "-m 13" in check.remedy) == ("note", True)


def test_doctor_reports_unusable_leases(monkeypatch: pytest.MonkeyPatch, system: System) -> None:
    (system.root / "file").write_text("")
    monkeypatch.setenv("ATOLL_LEASE_DIR", str(system.root / "file"))
    assert [check.name for check in problems()] == ["leases"]


def test_survey_of_virtual_devices(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    del system
    monkeypatch.setenv(VARIABLE, "pci:1,usb:1,usb2:1")
    with lease(devices=["usb:0"]):
        found = survey().devices
    assert [(d.name, d.virtual, d.bus, d.speed_mbps) for d in found] == [
        ("pci:0", True, "pcie", None),
        ("usb:0", True, "usb3", 5000),
        ("usb:1", True, "usb2", 480),
    ]
    assert [bool(device.holder) for device in found] == [False, True, False]


def test_survey_joins_library_and_system(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIBRARY, str(library_of(TODAY)))
    standin.system.usb()
    standin.system.process(5, "other", PCI)
    used, unseen = survey().devices
    assert (used.name, used.path, used.virtual, used.holder) == ("pci:0", PCI, False, "process 5 (other)")
    assert (unseen.name, unseen.path) == ("", USB)
    assert "not seen by the runtime" in unseen.notes[-1]


def test_survey_keeps_what_a_broken_library_hides(
    system: System, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    system.pcie()
    broken = system.root / "libedgetpu.so.1"
    broken.write_text("not a library")
    monkeypatch.setenv(LIBRARY, str(broken))
    seen = survey()
    assert [device.path for device in seen.devices] == [PCI]
    assert seen.problem is not None
    assert "is a text file" in seen.problem.message
