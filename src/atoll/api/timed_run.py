"""A compiled file and a device → the time of every inference on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from atoll.device import EdgeTpu, Invocation, RealEdgeTpu, VirtualEdgeTpu, make_interpreter
from atoll.device.real.runtime import PERFORMANCE
from atoll.device.watch import watched
from atoll.errors import AtollError, DeviceError, UnsupportedModelError
from atoll.model.subgraph import with_unique_names
from atoll.model.tflite import read_model
from atoll.pipeline import Trace
from atoll.products.inputs import random_inputs
from atoll.reporting.measure_report import Measured, Modelled, summarized

_VIRTUAL = (
    "{} is a virtual device in real time: an inference takes the modelled time, or what this machine's CPU needs for "
    "it if that is longer{}. Whether the model is right, only a real Edge TPU tells."
)
_SLOWER = 1.1
"""From this ratio of measured to modelled on, the times of a virtual device are rather those of the CPU."""


def measure(
    file: Path,
    device: EdgeTpu,
    inferences: int,
    *,
    original: str | None = None,
    clock: str | None = None,
    latency: Callable[[Invocation], float] | None = None,
    on_result: Callable[[int], object] = int,
) -> Trace:
    """Run the compiled ``file`` once and then ``inferences`` times on random inputs; what each run took.

    Args:
        original: the uncompiled model of a vendor-compiled file, for a virtual device.
        clock: a key of :data:`atoll.device.real.runtime.PERFORMANCE`; None: as the device is set.
        latency: how long an inference takes on a virtual device, which has no speed of its own.

    Raises:
        UnsupportedModelError: an input has a type for which there are no random values.
        DeviceError: the device cannot run the file, or fails; and as :func:`atoll.make_interpreter`.
    """
    graph = with_unique_names(read_model(file).main)
    for tensor in (graph.tensors[i] for i in graph.inputs):
        if tensor.dtype.numpy_name is None:
            raise UnsupportedModelError(
                f"{file.name}: input '{tensor.name}' is {tensor.dtype.name}, for which there are no random values",
                "Leave --device out: everything is modelled then.",
            )
    trace = Trace(limit=inferences + 1)

    def work(options: dict[str, str], tick: Callable[[], None]) -> None:
        interpreter = make_interpreter(file, device, original=original, options=options)
        interpreter.allocate_tensors()
        inputs = [
            (detail["index"], array)
            for detail, array in zip(interpreter.get_input_details(), next(random_inputs(graph)).values())
        ]
        for item in range(inferences + 1):
            for index, array in inputs:
                interpreter.set_tensor(index, array)
            begin = time.perf_counter_ns()
            interpreter.invoke()
            trace.record(0, 0, item, begin, time.perf_counter_ns())
            tick()
            on_result(item)

    with _set_up(device, clock, latency) as options, _explained(device):
        watched(device, lambda tick: work(options, tick))
    return trace


def compare(trace: Trace, device: EdgeTpu, modelled: Modelled | None, why: str = "") -> Measured:
    """The measured times beside the modelled ones; ``why``: why nothing is modelled."""
    latencies = [(event.end - event.begin) / 1e6 for event in trace.events]
    result = summarized(latencies, device.path, device.bus, device.virtual, modelled)
    how = f"Measured on the Edge TPU {device.path}."
    if device.virtual:
        cpu = modelled is not None and result.median_ms > _SLOWER * modelled.latency_ms
        how = _VIRTUAL.format(device.path, ", and here it is" if cpu else "")
    return replace(result, how=f"{how} {why}".strip())


@contextlib.contextmanager
def _set_up(
    device: EdgeTpu, clock: str | None, latency: Callable[[Invocation], float] | None
) -> Iterator[dict[str, str]]:
    """The options of a real device; a virtual one gets clock and latency until the block ends."""
    if isinstance(device, RealEdgeTpu):
        yield {"Performance": PERFORMANCE[clock]} if clock else {}
        return
    if not isinstance(device, VirtualEdgeTpu):
        yield {}
        return
    before: dict[str, Any] = {name: getattr(device, name) for name in ("clock", "latency", "real_time")}
    wanted = {"clock": clock or device.clock, "latency": latency or device.latency, "real_time": True}
    try:
        for name, value in wanted.items():
            setattr(device, name, value)
        yield {}
    finally:
        for name, value in before.items():
            setattr(device, name, value)


@contextlib.contextmanager
def _explained(device: EdgeTpu) -> Iterator[None]:
    """LiteRT's RuntimeError as what the device said, or at least as a failure of the device."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, AtollError):
            raise error.__cause__ from None
        raise DeviceError(f"{device.path} failed: {' '.join(str(error).split())}", "Run it again.") from error
