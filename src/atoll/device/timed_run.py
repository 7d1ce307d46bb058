"""A compiled file and a device → when each of its inferences began and ended: the one timed run of the program."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from atoll.device.edge_tpu import EdgeTpu
from atoll.device.interpreter import make_interpreter
from atoll.device.real.real_device import RealEdgeTpu, why_not
from atoll.device.watch import SILENCE_S, watched
from atoll.errors import AtollError, DeviceLostError, InvalidModelError
from atoll.model.graph import Model
from atoll.model.load import load
from atoll.products.progress import OnProgress, ignore
from atoll.products.random_inputs import random_inputs

Spans: TypeAlias = list[tuple[int, int]]
"""When each inference began and ended, in ns of ``time.perf_counter_ns``."""


@dataclass(frozen=True, slots=True)
class Inferences:
    """How many to run."""

    least: int
    """At least so many; the first one loads the parameters."""
    most: int = 0
    """Up to so many, as long as ``seconds`` are not over."""
    seconds: float = 0.0
    """When to stop, once there were ``least``."""

    def go_on(self, done: int, seconds: float) -> bool:
        """Whether one more is to be run after so many and so long."""
        return done < self.least or (done < self.most and seconds < self.seconds)


def timed_run(
    file: Path,
    device: EdgeTpu,
    inferences: Inferences,
    *,
    original: str | Path | Model | None = None,
    silence_s: float = SILENCE_S,
    on_progress: OnProgress = ignore,
) -> Spans:
    """Run a compiled file on random inputs; only what the device and the CPU compute is timed, not the copying.

    Args:
        file: The compiled file.
        device: Where it runs; whoever calls has leased it, and set its clock.
        inferences: How many.
        original: The uncompiled model of a vendor-compiled file, for a virtual device.
        silence_s: A device of which no inference ends for so many seconds is given up.
        on_progress: Told how many inferences are done.

    Raises:
        UnsupportedModelError: an input has a type for which there are no random values.
        DeviceError: the device cannot run the file, is gone, or does not answer.
        InvalidModelError: the device is there, and the file does not run on it.
    """
    spans: Spans = []

    def work(tick: Callable[[], None]) -> None:
        begin = time.perf_counter()
        with contextlib.closing(TimedInterpreter(file, device, original=original)) as interpreter:
            while inferences.go_on(len(spans), time.perf_counter() - begin):
                spans.append(interpreter.invoke())
                tick()
                on_progress(f"{file.name} on {device.path}", len(spans), inferences.least)

    try:
        watched(device, work, silence_s)
    except RuntimeError as error:
        raise _explained(file, device, error) from error
    return spans


class TimedInterpreter:
    """An interpreter on a device with random inputs, which says when each inference began and ended."""

    def __init__(self, file: Path, device: EdgeTpu, *, original: str | Path | Model | None = None) -> None:
        """Raises as :func:`atoll.make_interpreter`, and as :func:`random_inputs`."""
        values = next(random_inputs(load(file).main)).values()
        self.interpreter = make_interpreter(file, device, original=original)
        self.interpreter.allocate_tensors()
        # By position: LiteRT may give tensors other names than the graph.
        indices = [detail["index"] for detail in self.interpreter.get_input_details()]
        self._inputs = list(zip(indices, values))

    def invoke(self) -> tuple[int, int]:
        """Run one inference; when it began and ended, in ns. Copying its inputs is not in it."""
        for index, array in self._inputs:
            self.interpreter.set_tensor(index, array)
        begin = time.perf_counter_ns()
        self.interpreter.invoke()
        return begin, time.perf_counter_ns()

    def close(self) -> None:
        """Give the device back."""
        if hasattr(self.interpreter, "close"):  # LiteRT's own, for a file without compiled operators, has none
            self.interpreter.close()


def _explained(file: Path, device: EdgeTpu, error: RuntimeError) -> AtollError:
    """Whether the device is the reason why LiteRT failed, or the file."""
    if isinstance(error.__cause__, AtollError):
        return error.__cause__
    if isinstance(device, RealEdgeTpu):
        found = why_not(device)
        if isinstance(found, DeviceLostError):
            return found
    return InvalidModelError(f"{file.name} does not run on {device.path}: {' '.join(str(error).split())}")
