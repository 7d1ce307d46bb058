"""A model and ``--device`` options → functions that run it, one per device or pipeline, leased all at once."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from atoll.device import EdgeTpu, Lease
    from atoll.model.graph import Model

    Array = npt.NDArray[Any]
    Reals = npt.NDArray[np.float32]
    Runner = Callable[[dict[str, Array]], dict[str, Array]]
    Worker = Callable[[dict[str, Array]], Reals]

_F = TypeVar("_F", bound=Callable[..., Any])


def device_options(function: _F) -> _F:
    """``--device``, as often as there are devices to use, and ``--segments``."""
    options = [
        click.option(
            "--device",
            "devices",
            multiple=True,
            metavar="NAME",
            help="usb, pci:1, :2, a path, or cpu; may be given several times.  [default: every Edge TPU]",
        ),
        click.option(
            "--segments",
            default=1,
            show_default=True,
            type=click.IntRange(1),
            help="Cut the extractor into a pipeline over so many devices.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@contextlib.contextmanager
def open_workers(model: Model, devices: Sequence[str], segments: int = 1) -> Iterator[list[Worker]]:
    """Functions that run ``model``, one per device or per pipeline, each giving the real values of the output.

    The devices belong to this process until the block ends. A model that is not compiled is compiled for them first:
    by the vendor's compiler when they are real ones.
    """
    from atoll.device import make_interpreter
    from atoll.learning import Pipelined
    from atoll.pipeline import Pipeline

    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atoll-")))
        if tuple(devices) == ("cpu",):
            (path,) = _plain_file(model, directory)
            count = min(4, os.cpu_count() or 1)
            yield [_dequantising(model, _runner(make_interpreter(path))) for _ in range(count)]
            return
        leased = stack.enter_context(lease_named(devices, segments))
        paths = _compiled_files(model, segments, leased, directory)
        groups = [leased[i : i + segments] for i in range(0, len(leased), segments)]
        opened = [[make_interpreter(path, device) for path, device in zip(paths, group)] for group in groups]
        runners: list[Runner] = []
        for interpreters in opened:
            if segments == 1:
                runners.append(_runner(interpreters[0]))
            else:
                # A pipeline is listed once for each input it can hold, so that it is always full.
                pipeline = stack.enter_context(Pipeline(interpreters))
                runners += [Pipelined(pipeline)] * pipeline.capacity
        yield [_dequantising(model, runner) for runner in runners]


def lease_named(names: Sequence[str], segments: int = 1) -> Lease:
    """A lease of all devices that the names mean, or of all there are: as many as whole pipelines of them need.

    Without names, virtual devices are taken only when there are no real ones.

    Raises:
        UsageError: too few devices for one pipeline; DeviceError: a name means no device, or is given too often.
    """
    from atoll.device import lease
    from atoll.device.inventory import edge_tpus, fitting
    from atoll.device.leasing.lease import patience
    from atoll.errors import DeviceError, UsageError

    chosen: list[EdgeTpu] = []
    if not names:
        found = edge_tpus()
        chosen = [device for device in found if not device.virtual] or list(found)
    for name in names:
        free = [device for device in fitting(name) if device not in chosen]
        if not free:
            raise DeviceError(f"--device {name} is given more often than there are such devices", "atoll devices")
        chosen.append(free[0])
    count = len(chosen) // segments * segments
    if not count:
        raise UsageError(f"{segments} segments need {segments} devices, there are {len(chosen)}")
    # Of devices that one name means, whichever are free.
    candidates = fitting(names[0]) if len(set(names)) == 1 else chosen
    return lease(count, devices=candidates, timeout=patience(), on_wait=lambda text: click.echo(text, err=True))


def _plain_file(model: Model, directory: Path) -> list[Path]:
    from atoll.errors import UsageError
    from atoll.model import is_compiled
    from atoll.model.tflite import write_model

    if is_compiled(model):
        raise UsageError(
            f"{model.path or 'the model'} is compiled already and cannot be run on the CPU", "Use the original."
        )
    write_model(model, directory / "model.tflite")
    return [directory / "model.tflite"]


def _compiled_files(model: Model, segments: int, devices: Sequence[EdgeTpu], directory: Path) -> list[Path]:
    """One file per segment that the devices can run: the model as it is when it is compiled."""
    from atoll import toolchain
    from atoll.api.codegen import choose_codegen, vendor_compile
    from atoll.errors import UsageError
    from atoll.model import is_compiled
    from atoll.model.subgraph import with_unique_names
    from atoll.model.tflite import write_model

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
    compiler = choose_codegen("vendor" if any(real) else "virtual", None, any(real))
    if compiler is None:
        return toolchain.write_compiled(toolchain.compile_model(model, segments, name="model")[1], directory)
    unique = replace(model, path="model", graphs=(with_unique_names(model.main), *model.graphs[1:]))
    return vendor_compile(unique, toolchain.equal_partition(unique.main, segments), compiler, directory).paths


def _runner(interpreter: Any) -> Runner:
    """Inputs by name → outputs by name."""
    interpreter.allocate_tensors()

    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], inputs[detail["name"]])
        interpreter.invoke()
        return {d["name"]: interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()}

    return run


def _dequantising(model: Model, run: Runner) -> Worker:
    """The first output of ``run`` in real values."""
    import numpy as np

    output = model.main.tensors[model.main.outputs[0]]
    q = output.quantization if output.quantization is not None and len(output.quantization.scale) else None
    scale, zero_point = (float(q.scale[0]), int(q.zero_point[0])) if q else (1.0, 0)

    def dequantised(inputs: dict[str, Array]) -> Reals:
        stored = run(inputs)[output.name].astype(np.float32)
        return stored if q is None else np.float32(scale) * (stored - np.float32(zero_point))

    return dequantised
