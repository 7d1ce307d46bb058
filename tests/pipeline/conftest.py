"""Every test of the engine leaves no thread behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from atoll.pipeline import Pipeline
from atoll.pipeline.processes import ring
from pipeline_fakes import PATIENCE_S, step

SHARED_MEMORY = Path("/dev/shm")

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


@pytest.fixture
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, no shared memory, no file descriptor more than before."""
    names: list[str] = []

    class Noted(ring.SharedMemory):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            names.append(self.name)

    monkeypatch.setattr(ring, "SharedMemory", Noted)

    def left() -> tuple[int, list[str], int]:
        files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
        return (
            len(multiprocessing.active_children()),
            [name for name in names if (SHARED_MEMORY / name).exists()],
            files,
        )

    with Pipeline([partial(step, 0)], processes=1):
        pass  # the resource tracker that it starts stays
    gc.collect()
    before = left()
    yield
    gc.collect()
    assert left() == before
    assert names and not before[1]
