"""Segments for pipelines in processes: functions of a module, since they are opened there, that sleep, hang or die."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atoll.errors import DeviceError
from atoll.pipeline import Pipeline, StageError
from pipeline_fakes import PATIENCE_S, Fake, expected, frame, step

Before = Callable[[np.ndarray], None]


@dataclass(frozen=True)
class Dies:
    """Ends its process on the input ``at``, as long as ``marker`` does not have so many bytes as ``times``."""

    marker: Path
    at: int
    times: int = 1
    how: int = 3
    """Exit code, or less than 0 a signal."""

    def __call__(self, value: np.ndarray) -> None:
        if value[0] == self.at and (not self.marker.exists() or self.marker.stat().st_size < self.times):
            with self.marker.open("ab") as file:
                file.write(b".")
            if self.how < 0:
                os.kill(os.getpid(), -self.how)
            os._exit(self.how)


def sleeps(value: np.ndarray) -> None:
    time.sleep(0.002 if value[0] % 3 else 0)


def hangs(_value: np.ndarray) -> None:
    threading.Event().wait()


def nothing(_value: np.ndarray) -> None:
    pass


def segments(count: int, replicas: int = 1, **before: Before) -> list[list[Callable[[], Fake]]]:
    """Segments that triple and add one; ``before`` by ``s0``, ``s1``, ... ."""
    return [[partial(step, i, before.get(f"s{i}", nothing)) for _ in range(replicas)] for i in range(count)]


def outcomes(pipeline: Pipeline, count: int) -> list[Any]:
    """Push so many items and close; their results, or segment, item and cause of their failures, until the end."""
    last = pipeline.outputs[0].name

    def produce() -> None:
        try:
            for i in range(count):
                pipeline.push(frame(i))
        except StageError:
            return
        pipeline.close()

    producer = threading.Thread(target=produce)
    producer.start()
    found: list[Any] = []
    stopped = False
    while not stopped:
        try:
            result = pipeline.pop(PATIENCE_S)
        except StageError as error:
            found.append((error.segment, error.item, type(error.__cause__)))
            stopped = pipeline.failure is not None
            continue
        if result is None:
            break
        found.append(int(result[last][0]))
    producer.join(PATIENCE_S)
    assert pipeline.join(PATIENCE_S)
    return found


def right(count: int, length: int) -> list[int]:
    return [expected(i, length) for i in range(count)]


def slow(_value: np.ndarray) -> None:
    time.sleep(0.3)


GONE = DeviceError("the device is gone", "Plug it in again.")


def opens_once(marker: Path, before: Before, reason: Exception = GONE) -> Fake:
    if marker.exists():
        raise reason
    marker.touch()
    return step(1, before)
