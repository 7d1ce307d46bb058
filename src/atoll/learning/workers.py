"""A model and names of devices → functions that run it, one per device or pipeline, leased all at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from atoll.compiler.choosing import choose_compiler
from atoll.device import EdgeTpu, Lease, lease, make_interpreter
from atoll.device.choice import choose_devices, real_if_any
from atoll.errors import UsageError
from atoll.files import scratch_directory
from atoll.learning.embed import Pipelined
from atoll.model import is_compiled
from atoll.model.graph import Model
from atoll.model.load import named
from atoll.model.tflite import write_model
from atoll.partitioning.equal_bytes import equal_partition
from atoll.pipeline import Pipeline
from atoll.products.progress import OnMessage, ignore
from atoll.products.tensor_spec import Inputs

Reals: TypeAlias = npt.NDArray[np.float32]
Invoke: TypeAlias = Callable[[Inputs], dict[str, npt.NDArray[Any]]]
"""Inputs by name → outputs by name."""
Embed: TypeAlias = Callable[[Inputs], Reals]
"""Inputs by name → the real values of the first output."""

_CPU_WORKERS = 4
"""Interpreters on the CPU at most: each has threads of its own where it can use them."""


@contextlib.contextmanager
def open_workers(
    model: Model, devices: Sequence[str] = (), segments: int = 1, on_message: OnMessage = ignore
) -> Iterator[list[Embed]]:
    """Functions that run a model, each giving float32 real values of the first output, in the output's shape.

    The devices belong to this process until the block ends. A model that is not compiled is compiled for them first:
    by the vendor's compiler when they are real ones.

    Args:
        model: Compiled or not.
        devices: Names of devices (``usb``, ``pci:1``, ``:2``, a path); none: every Edge TPU. ``("cpu",)``: no device.
        segments: Devices that one pipeline runs over; there are as many functions as inputs keep the pipelines full.
        on_message: Called with what the lease waits for.

    Raises:
        UsageError: There are fewer devices than segments, real and virtual ones are mixed, or a compiled model is to
            be cut or to run on the CPU.
        DeviceError: A name means no device, or is given too often.
        CompilerMissingError: The devices are real, and the vendor's compiler is not installed.
    """
    if segments < 1:
        raise UsageError(f"{segments} segments cannot be made", "Ask for one or more.")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch_directory())
        if tuple(devices) == ("cpu",):
            if segments > 1:
                raise UsageError("several segments need Edge TPUs", "Leave --segments or --device cpu out.")
            path = _plain_file(model, directory)
            count = min(_CPU_WORKERS, os.cpu_count() or 1)
            yield [_dequantising(model, _invoking(make_interpreter(path))) for _ in range(count)]
            return
        leased = stack.enter_context(lease_named(devices, segments, on_message))
        paths = _compiled_files(model, segments, leased, directory)
        groups = [leased[i : i + segments] for i in range(0, len(leased), segments)]
        opened = [[make_interpreter(path, device) for path, device in zip(paths, group)] for group in groups]
        workers: list[Invoke] = []
        for interpreters in opened:
            if segments == 1:
                workers.append(_invoking(interpreters[0]))
            else:
                # A pipeline is listed once for each input it can hold, so that it is always full.
                pipeline = stack.enter_context(Pipeline(interpreters))
                workers += [Pipelined(pipeline)] * pipeline.capacity
        yield [_dequantising(model, worker) for worker in workers]


def lease_named(names: Sequence[str], segments: int = 1, on_message: OnMessage = ignore) -> Lease:
    """A lease of all devices that the names mean, or of all there are: as many as whole pipelines of them need.

    Without names, virtual devices are taken only when there are no real ones.

    Raises:
        UsageError: Too few devices for one pipeline.
        DeviceError: A name means no device, or is given too often.
    """
    selections = names or real_if_any(choose_devices())
    count = len(selections) // segments * segments
    if not count:
        raise UsageError(f"{segments} segments need {segments} devices, there are {len(selections)}")
    return lease(count, devices=selections, on_message=on_message)


def _plain_file(model: Model, directory: Path) -> Path:
    if is_compiled(model):
        raise UsageError(
            f"{model.path or 'the model'} is compiled already and cannot be run on the CPU", "Use the original."
        )
    write_model(model, directory / "model.tflite")
    return directory / "model.tflite"


def _compiled_files(model: Model, segments: int, devices: Sequence[EdgeTpu], directory: Path) -> list[Path]:
    """One file per segment that the devices can run: the model as it is when it is compiled."""
    if is_compiled(model):
        if segments != 1:
            raise UsageError(f"{model.path or 'the model'} is compiled already and cannot be cut", "Use the original.")
        write_model(model, directory / "model.tflite")
        return [directory / "model.tflite"]
    real = [not device.virtual for device in devices]
    if any(real) and not all(real):
        raise UsageError(
            "real and virtual devices are chosen together, and a model is compiled for one kind",
            "Name devices of one kind, or compile the model first.",
        )
    compiler = choose_compiler("vendor" if any(real) else "virtual", real_devices=any(real))
    unique = named(replace(model, path="model"))
    return list(compiler.compile([unique], directory, equal_partition(unique.main, segments)).paths)


def _invoking(interpreter: Any) -> Invoke:
    interpreter.allocate_tensors()

    def invoke(inputs: Inputs) -> dict[str, npt.NDArray[Any]]:
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], inputs[detail["name"]])
        interpreter.invoke()
        return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}

    return invoke


def _dequantising(model: Model, invoke: Invoke) -> Embed:
    """The first output of ``invoke`` in real values."""
    output = model.main.tensors[model.main.outputs[0]]
    q = output.quantization if output.quantization is not None and len(output.quantization.scale) else None
    scale, zero_point = (float(q.scale[0]), int(q.zero_point[0])) if q else (1.0, 0)

    def dequantised(inputs: Inputs) -> Reals:
        stored = invoke(inputs)[output.name].astype(np.float32)
        return stored if q is None else np.float32(scale) * (stored - np.float32(zero_point))

    return dequantised
