"""Every test of the engine leaves no thread behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings
from pipeline_fakes import PATIENCE_S

settings.register_profile("no clock", deadline=None)  # no test depends on speed
settings.load_profile("no clock")


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), f"{thread.name} is still alive"
