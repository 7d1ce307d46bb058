"""Compiled files, devices and a number of requests → the time they take on so many devices, measured or modelled."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll import networks as zoo
from atoll import toolchain
from atoll.compiler.emit import segment_name
from atoll.device import EdgeTpu, lease, make_interpreter
from atoll.device.inventory import HINT, edge_tpus
from atoll.errors import DeviceError, FileMissingError
from atoll.estimate import pipeline_timing, simulate, timing_of
from atoll.estimate.workload import workload
from atoll.hardware.host import Target
from atoll.model.graph import Model
from atoll.pipeline import Pipeline

Array = npt.NDArray[Any]
DEVICE_TYPES = {"any": ("pci", "usb"), "pcionly": ("pci",), "usbonly": ("usb",)}
"""The vendor's names of what to use."""
_COMPILED = "_edgetpu.tflite"


@dataclass(frozen=True, slots=True)
class Timed:
    """``requests`` inferences of one model on ``devices`` devices."""

    devices: int
    requests: int
    seconds: float
    segment_ms: tuple[float, ...]
    """Per segment the mean time of one inference; of a model in one piece, that of one device."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class Models:
    """The compiled files of models by name: those in a directory, or made of what is not compiled yet.

    ``directory`` is looked in; ``scratch`` takes what has to be compiled.
    """

    def __init__(self, directory: str | Path, scratch: str | Path) -> None:
        self._directory, self._scratch = Path(directory), Path(scratch)
        self._sources: dict[str, Model] = {}

    def files(self, name: str, segments: int = 1) -> list[Path]:
        """One compiled file per segment: ``NAME_edgetpu.tflite``, ``NAME_segment_0_of_2_edgetpu.tflite``, ...

        Where they are not all there, ``NAME.tflite`` is compiled, or the network of the zoo that is called so.

        Raises:
            FileMissingError: there is nothing of that name.
            AtollError: as :func:`atoll.toolchain.compile_model`.
        """
        stem = name.removesuffix(_COMPILED).removesuffix(".tflite")
        found = [self._directory / f"{stem}{_piece(i, segments)}{_COMPILED}" for i in range(segments)]
        if all(path.exists() for path in found):
            return found
        label = stem.replace("/", "_")
        made = [self._scratch / segment_name(label, i, segments) for i in range(segments)]
        if not all(path.exists() for path in made):
            _, compiled = toolchain.compile_model(self._source(stem, found[0]), segments, name=label)
            toolchain.write_compiled(compiled, self._scratch)
        return made

    def _source(self, stem: str, wanted: Path) -> Model:
        path = self._directory / f"{stem}.tflite"
        if stem not in self._sources:
            if path.exists():
                self._sources[stem] = toolchain.load(path)
            elif stem in {entry.name for entry in zoo.entries()}:
                self._sources[stem] = zoo.build(stem)
            else:
                raise FileMissingError(
                    f"there is neither {wanted} nor {path}",
                    "Name a model of that directory, or a network of the zoo (atoll zoo list).",
                )
        return self._sources[stem]


def _piece(index: int, segments: int) -> str:
    return "" if segments == 1 else f"_segment_{index}_of_{segments}"


@contextmanager
def devices_for(
    count: int | None, device_type: str = "any", on_wait: Callable[[str], object] | None = None
) -> Iterator[tuple[EdgeTpu, ...]]:
    """``count`` devices (None: all) of a type, a key of :data:`DEVICE_TYPES`, for this process until the block ends.

    Raises:
        DeviceError: there are not so many; all are needed before the first measurement.
    """
    devices = [device for device in edge_tpus() if device.type in DEVICE_TYPES[device_type]]
    wanted = count or len(devices)
    if not devices or len(devices) < wanted:
        what = "Edge TPUs" if device_type == "any" else f"Edge TPUs ({device_type})"
        raise DeviceError(f"{wanted or 'some'} {what} are needed, there are {len(devices) or 'none'}", HINT)
    with lease(wanted, devices=devices, on_wait=on_wait) as leased:
        yield leased
    gc.collect()  # interpreters hold their device until they are gone


def pipelined(
    files: Sequence[Path],
    devices: Sequence[EdgeTpu],
    requests: int,
    on_result: Callable[[int], object] = int,
) -> Timed:
    """Random inputs through the segments as a pipeline, one device each, parameters cached before the time begins."""
    interpreters = [_warm(path, device) for path, device in zip(files, devices)]
    with Pipeline(interpreters) as pipeline:
        inputs = {spec.name: _random(spec.shape, spec.dtype) for spec in pipeline.inputs}
        begin = time.perf_counter()
        for done, _ in enumerate(pipeline.map(itertools.repeat(inputs, requests)), start=1):
            on_result(done)
        seconds = time.perf_counter() - begin
        return Timed(len(files), requests, seconds, tuple(stage.mean_s * 1e3 for stage in pipeline.stats()))


def side_by_side(
    file: Path,
    devices: Sequence[EdgeTpu],
    requests: int,
    on_result: Callable[[int], object] = int,
) -> Timed:
    """The same model on every device, each with its share of the requests and a thread of its own."""
    interpreters = [_warm(file, device) for device in devices]
    shares = [requests // len(devices) + (i < requests % len(devices)) for i in range(len(devices))]
    counter, stop = itertools.count(1), threading.Event()

    def work(interpreter: Any, share: int) -> float:
        begin = time.perf_counter()
        for _ in range(share):
            if stop.is_set():
                break
            interpreter.invoke()
            on_result(next(counter))
        return time.perf_counter() - begin

    with ThreadPoolExecutor(len(devices), thread_name_prefix="atoll-bench") as pool:
        begin = time.perf_counter()
        try:
            busy = [future.result() for future in [pool.submit(work, *pair) for pair in zip(interpreters, shares)]]
        finally:
            stop.set()  # an interrupt must not wait for the rest of the requests
        seconds = time.perf_counter() - begin
    return Timed(len(devices), requests, seconds, (sum(busy) / requests * 1e3,))


def modelled(files: Sequence[Path], requests: int, target: Target, replicas: int = 1) -> Timed:
    """What :func:`pipelined`, or with ``replicas`` devices :func:`side_by_side`, would take on a modelled host.

    Every device has a bus of its own. Nothing is run: a discrete-event simulation of the stages.

    Raises:
        DeviceError: a file of the vendor's compiler, which does not hold its original operators.
    """
    works = [workload(path) for path in files]
    timings = [timing_of(work.demand, target, instruction_bytes=work.instruction_bytes) for work in works]
    stages = pipeline_timing(timings, target, [replicas] * len(files)).stages
    run = simulate(stages, requests, queue_size=max(2, replicas))
    means = tuple(stage.device_ms + stage.host_ms for stage in stages)
    return Timed(len(files) * replicas, requests, run.total_ms / 1e3, means)


def times_of(devices: Sequence[EdgeTpu]) -> str:
    """What times measured on these devices are times of."""
    if not all(device.virtual for device in devices):
        return "wall-clock times of Edge TPUs on this host" + (
            " and, for virtual ones, of its CPU" if any(device.virtual for device in devices) else ""
        )
    return (
        f"virtual devices: wall-clock times of CPU kernels on this machine's {os.cpu_count()} cores, "
        "not those of an Edge TPU"
    )


def _warm(path: Path, device: EdgeTpu) -> Any:
    """An interpreter that has run once on random inputs: parameters are on the device, memory is there."""
    interpreter = make_interpreter(path, device)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], _random(detail["shape"], np.dtype(detail["dtype"])))
    interpreter.invoke()
    return interpreter


def _random(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    random = np.random.default_rng(0)
    if dtype.kind == "f":
        return random.uniform(-1, 1, tuple(shape)).astype(dtype)
    return random.integers(0, 2 if dtype.kind == "b" else 128, tuple(shape)).astype(dtype)
