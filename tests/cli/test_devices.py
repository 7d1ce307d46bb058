"""`atoll devices`, `atoll doctor` and `atoll lease` as their users meet them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Atoll = Callable[..., Any]


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root/sys").mkdir(parents=True)
    monkeypatch.setenv("ATOLL_SYSROOT", str(tmp_path / "root"))
    monkeypatch.setenv("ATOLL_LEASE_DIR", str(tmp_path / "leases"))
    monkeypatch.setenv("ATOLL_LIBEDGETPU", "none")
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "pci:2,usb2:1")


def test_devices(atoll: Atoll) -> None:
    result = atoll("devices")
    assert result.code == 0
    rows = [line.split() for line in result.out.splitlines() if "virtual:" in line]
    assert [row[0] for row in rows] == ["pci:0", "pci:1", "usb:0"]
    assert "480 Mbit/s" in result.out


def test_devices_as_json(atoll: Atoll) -> None:
    from atoll.device import lease

    with lease(devices=["pci:1"]):
        content = json.loads(atoll("devices", "--json").out)
    assert content["schema"] == "atoll.devices/1"
    assert content["problem"] is None
    assert [bool(device["holder"]) for device in content["devices"]] == [False, True, False]
    assert str(os.getpid()) in content["devices"][1]["holder"]


def test_no_device_at_all(atoll: Atoll, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "0")
    result = atoll("devices")
    assert result.code == 0
    assert "No Edge TPU" in result.out


def test_a_broken_library_does_not_hide_the_devices(
    atoll: Atoll, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "text.so").write_text("no library")
    monkeypatch.setenv("ATOLL_LIBEDGETPU", str(tmp_path / "text.so"))
    monkeypatch.delenv("ATOLL_VIRTUAL_TPUS")
    result = atoll("devices")
    assert result.code == 0
    assert "is a text file" in " ".join(result.out.split())
    assert json.loads(atoll("devices", "--json").out)["problem"]["exit_code"] == 76


def test_watch_ends_with_ctrl_c(atoll_process: Callable[..., subprocess.Popen[str]]) -> None:
    with atoll_process("devices", "--watch", "--json", "--interval", "0.1") as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert looks[0]["devices"] == looks[1]["devices"]
    assert looks[0]["time"] < looks[1]["time"]


def test_doctor(atoll: Atoll, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = atoll("doctor")
    assert result.code == 0
    assert "nothing to repair" in result.out
    (tmp_path / "leases").rename(tmp_path / "old")
    (tmp_path / "leases").write_text("in the way")
    result = atoll("doctor")
    assert result.code == 1
    assert "1. the lease directory" in result.out
    content = json.loads(atoll("doctor", "--json").out)
    assert content["healthy"] is False
    assert {"atoll", "python", "ai-edge-litert", "libedgetpu"} <= content["versions"].keys()
    assert [check["name"] for check in content["checks"] if check["state"] == "problem"] == ["leases"]


def lease(*arguments: str, code: str = "", **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "atoll", "lease", *arguments, "--", sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_lease_runs_the_command_on_its_devices_only() -> None:
    code = (
        "import atoll.device as d, os, sys\n"
        "print([x['path'] for x in d.list_edge_tpus()])\n"
        "with d.lease(devices=['usb:0']): print('leased')\n"  # its own processes share them among themselves
        "sys.exit(7)"
    )
    with lease("-n", "2", "--device", "usb:0", "--device", "pci:1", code=code) as process:
        out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["['virtual:usb:0', 'virtual:pci:1']", "leased"], err
    assert process.returncode == 7


def test_lease_lasts_as_long_as_what_the_command_started() -> None:
    """The command dies at once; its child keeps the descriptors, and with them the devices."""
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'print(1, flush=True); input()'], close_fds=False)\n"
        "import os; os._exit(0)"
    )
    from atoll.device.leasing.lease import lease as take
    from atoll.errors import DeviceBusyError

    with lease("-n", "3", code=code, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "1\n"
        assert process.wait(60) == 0
        with pytest.raises(DeviceBusyError, match=f"process {process.pid}"):
            take(1, wait=0).acquire()
        process.stdin.close()
        process.stdout.read()
        with take(3, wait=30):
            pass


def test_lease_fails_or_gives_up(atoll: Atoll) -> None:
    from atoll.device.leasing.lease import lease as take

    with take(3):
        result = atoll("lease", "--wait", "0", "--", sys.executable)
        assert result.code == 71
        assert str(os.getpid()) in result.err
        result = atoll("lease", "--wait", "0.1", "-n", "2", "--", sys.executable)
        assert result.code == 71
        assert "Waiting: 2 of 3 Edge TPUs" in result.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--", "no-such-command-anywhere"], 127),
        (["-n", "9", "--", "true"], 70),
        (["-n", "0", "--", "true"], 2),
        (["--bus", "isa", "--", "true"], 2),
        (["--device", "usb:5", "--", "true"], 70),
        (["--priority", "1000", "--", "true"], 2),
        ([], 2),
    ],
)
def test_lease_with_nonsense(atoll: Atoll, arguments: list[str], code: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "execvpe", lambda *_: pytest.fail("it was started"))
        assert atoll("lease", *arguments).code == code


def test_doctor_looks_for_the_compiler_too(atoll: Atoll, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def compiler() -> dict[str, Any]:
        checks = json.loads(atoll("doctor", "--json").out)["checks"]
        return next(check for check in checks if check["name"] == "compiler")

    monkeypatch.setenv("ATOLL_EDGETPU_COMPILER", "none")
    assert (compiler()["state"], compiler()["remedy"]) == ("note", "")
    (tmp_path / "root/dev").mkdir()
    (tmp_path / "root/sys/class/apex/apex_0").mkdir(parents=True)
    assert "apt install edgetpu-compiler" in compiler()["remedy"]  # now there is a device that needs it
    (tmp_path / "text").write_text("no compiler")
    monkeypatch.setenv("ATOLL_EDGETPU_COMPILER", str(tmp_path / "text"))
    assert compiler()["state"] == "problem"
    assert "is not executable" in compiler()["finding"]


def test_doctor_tells_of_settings_that_make_no_sense(atoll: Atoll, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "seven")
    result = atoll("doctor")
    text = " ".join(result.out.split())
    assert result.code == 1
    assert re.search(r"settings (state )?PROBLEM (what was found )?ATOLL_VIRTUAL_TPUS='seven'", text)
