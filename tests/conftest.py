"""What all tests share: where the measured data lies, and the marks that skip without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from atoll.device import inventory
from shared_data import SHARED

pytest_plugins = ["command_fixtures", "compiler_fixtures"]

settings.register_profile("atoll", deadline=None, print_blob=True)  # machines differ: no test depends on the clock
settings.load_profile("atoll")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of measured facts and real models beside the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip("../shared/data is not here: real models cannot be tested")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def own_devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Virtual devices and leases of this test process alone: other runs on this machine keep theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATOLL_LEASE_DIR", str(tmp_path_factory.mktemp("leases")))
        patch.setenv("ATOLL_VIRTUAL_TPUS", "pci:8")
        yield


@pytest.fixture(autouse=True)
def plugged_in() -> Iterator[None]:
    """What a test's faults did to the virtual devices of this process ends with it."""
    yield
    for device in inventory.virtual_edge_tpus("pci:8"):
        if not device.connected:
            device.reset()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``real_model``: every .tflite file of ../shared; ``original_model``: those that are not compiled."""
    for name, folders in (("real_model", ("",)), ("original_model", ("uncompiled", "random"))):
        if name in metafunc.fixturenames:
            found = sorted(p for f in folders for p in (SHARED / "data/models" / f).glob("**/*.tflite"))
            skip = pytest.mark.skip(reason="../shared/data is not here: real models cannot be tested")
            metafunc.parametrize(
                name, found or [pytest.param(None, marks=skip)], ids=[p.stem[:40] for p in found] or ["absent"]
            )
