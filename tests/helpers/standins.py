"""Stand-ins for hardware: a runtime library built with the system's C compiler, and a system that has devices."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "standin"

PCI, USB = "/dev/apex_0", "/sys/bus/usb/devices/2-1"


Layout = tuple[int, int, int]
TODAY, OF_2021, OF_2019, UNKNOWN = (88, 112, 1), (64, 112, 0), (64, 104, 0), (64, 96, 0)
"""Bytes of a registration, bytes of a tensor, whether a delegate has its last field."""


Install = Callable[[Layout], Path]
"""Makes a library of some age this machine's."""


@functools.cache
def standin_library() -> Path:
    """The stand-in for libedgetpu.so.1; the test is skipped where it cannot be built."""
    return _build("edgetpu.c", "-ldl")


@functools.cache
def library_of(layout: Layout) -> Path:
    """A runtime library of another age, whose delegate computes by itself."""
    registration, tensor, builder = layout
    return _build("layouts.c", f"-DREGISTRATION={registration}", f"-DTENSOR={tensor}", f"-DBUILDER={builder}")


def _build(source: str, *options: str) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("the stand-in for libedgetpu needs Linux and a C compiler")
    folder = Path(tempfile.mkdtemp(prefix="atoll-standin-"))
    path = folder / "libedgetpu.so.1"
    command = [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(path), str(SOURCE / source), *options]
    subprocess.run(command, check=True)
    return path


@dataclass
class System:
    """A folder that looks like the root of a Linux system, with Edge TPUs."""

    root: Path

    def pcie(self, index: int = 0, temp: int = 51250, unique_id: str = "", poll: int = 5000) -> None:
        self._write(f"dev/apex_{index}", "")
        for name, value in {
            "temp": temp,
            "trip_point0_temp": 84800,
            "trip_point1_temp": 89800,
            "trip_point2_temp": 94800,
            "temp_poll_interval": poll,
        }.items():
            self._write(f"sys/class/apex/apex_{index}/{name}", f"{value}\n")
        if unique_id:
            self._write(f"sys/class/apex/apex_{index}/unique_id", f"{unique_id}\n")
        position = self.root / f"sys/devices/pci0000:00/0000:0{index + 1}:00.0"
        position.mkdir(parents=True, exist_ok=True)
        (self.root / f"sys/class/apex/apex_{index}/device").symlink_to(position)

    def usb(self, port: str = "2-1", speed: int = 5000, boot: bool = False, number: int = 7) -> None:
        vendor, product = ("1a6e", "089a") if boot else ("18d1", "9302")
        for name, value in {
            "idVendor": vendor,
            "idProduct": product,
            "speed": speed,
            "busnum": 2,
            "devnum": number,
        }.items():
            self._write(f"sys/bus/usb/devices/{port}/{name}", f"{value}\n")
        self._write(f"dev/bus/usb/002/{number:03}", "")

    def process(self, pid: int, command: str, opens: str) -> None:
        self._write(f"proc/{pid}/cmdline", command.replace(" ", "\0") + "\0")
        folder = self.root / f"proc/{pid}/fd"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "3").symlink_to(opens)
        (folder / "4").symlink_to("socket:[123]")

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@dataclass
class Standin:
    """The stand-in library, installed for this process and its children."""

    system: System
    log: Path
    monkeypatch: pytest.MonkeyPatch

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self.monkeypatch.setenv(f"STANDIN_{name.upper()}", value)

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def opened_here(self) -> int:
        """Delegates that this process has from the library now."""
        own = [event["event"] for event in self.events() if event["pid"] == os.getpid()]
        return own.count("create") - own.count("free")
