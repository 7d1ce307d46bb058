"""A model, compiled or not → what each Edge TPU has to do, and a compiled file of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atoll import toolchain
from atoll.errors import UsageError
from atoll.estimate.workload import Workload, workload
from atoll.files import scratch_directory
from atoll.model import is_compiled
from atoll.model.graph import Model
from atoll.model.load import ModelLike
from atoll.model.tflite import write_model


def workloads_of(model: Model, original: ModelLike | None = None, tpus: int = 1) -> list[Workload]:
    """What each of ``tpus`` Edge TPUs has to do: as a compiled file says, else as our compiler would have it.

    Raises:
        UsageError: a compiled file that is to be cut, or the original of one that is not compiled.
        DeviceError: ``original`` is missing, or is that of another file.
        AtollError: as compiling does.
    """
    if is_compiled(model):
        if tpus > 1:
            raise UsageError(
                f"{model.path} is compiled already and cannot be cut", "Give the model it was compiled from."
            )
        return [workload(model, original)]
    if original is not None:
        raise UsageError(f"{model.path} is not compiled, so it has no original", "Leave --original out.")
    return [workload(segment) for segment in toolchain.compile_model(model, tpus).segments]


@contextmanager
def compiled_file(model: Model) -> Iterator[Path]:
    """The file of a compiled model, or what it is compiled to, for as long as the block lasts."""
    if is_compiled(model) and Path(model.path).is_file():
        yield Path(model.path)
        return
    with scratch_directory() as folder:
        if is_compiled(model):
            file = Path(folder, Path(model.path).name or "model.tflite")
            write_model(model, file)
            yield file
        else:
            yield toolchain.compile_model(model).write(folder)[0]
