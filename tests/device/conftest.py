"""What the device tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.device import inventory
from atoll.device.leasing import directory as leasedir
from atoll.device.real import layouts, library, runtime, sysfs
from atoll.model import Model
from atoll.model.tflite import write_model
from standins import PCI, SOURCE, Install, Layout, Standin, System, library_of, standin_library


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Model], Path]:
    """Write a model to a file of its own."""

    def write(model: Model) -> Path:
        path = tmp_path / f"model_{len(list(tmp_path.iterdir()))}.tflite"
        write_model(model, path)
        return path

    return write


@pytest.fixture(scope="session", autouse=True)
def leases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Leases of these tests alone: other runs and programs on this machine keep theirs."""
    before = os.environ.get(leasedir.VARIABLE)
    folder = tmp_path_factory.mktemp("leases")
    os.environ[leasedir.VARIABLE] = str(folder)
    yield folder
    if before is None:
        del os.environ[leasedir.VARIABLE]
    else:
        os.environ[leasedir.VARIABLE] = before


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A system of its own, without devices at first."""
    (tmp_path / "root/sys").mkdir(parents=True)
    monkeypatch.setenv(sysfs.VARIABLE, str(tmp_path / "root"))
    return System(tmp_path / "root")


@pytest.fixture
def standin(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """A system with one PCIe device and the stand-in for the runtime library."""
    monkeypatch.setenv(library.VARIABLE, str(standin_library()))
    monkeypatch.delenv(inventory.VARIABLE, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.syspath_prepend(str(SOURCE))
    monkeypatch.setenv(layouts.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(layouts, "_here", {})
    system.pcie()
    found = Standin(system, tmp_path / "log", monkeypatch)
    found.set(devices=f"pci={PCI}", log=str(found.log))
    runtime.forget()
    yield found
    runtime.forget()


@pytest.fixture
def install(standin: Standin) -> Install:
    """Makes a library of some age, which computes by itself, this machine's; with one PCIe device."""

    def set_up(layout: Layout) -> Path:
        standin.monkeypatch.setenv(library.VARIABLE, str(library_of(layout)))
        runtime.forget()
        return library_of(layout)

    return set_up
