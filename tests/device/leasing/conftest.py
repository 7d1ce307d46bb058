"""A lease directory and devices of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.device.inventory import VARIABLE
from atoll.device.leasing import directory as leasedir


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(leasedir.VARIABLE, str(tmp_path / "leases"))
    monkeypatch.setenv(VARIABLE, "pci:4,usb:2,usb2:1")
    return tmp_path / "leases"
