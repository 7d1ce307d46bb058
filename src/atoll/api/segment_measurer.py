"""A model, a compiler and a timer → a function that compiles and measures contiguous segments of the model."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from atoll.api.inference_timers import DeviceTimer, InferenceTimer, ModelTimer
from atoll.compiler.external.checking import interface_difference
from atoll.compiler.interface import Compiler
from atoll.device import EdgeTpu, lease
from atoll.device.choice import choose_devices
from atoll.errors import (
    AtollError,
    CompilerInvalidError,
    CompilerMissingError,
    DeviceError,
    InvalidModelError,
    OutputError,
    UsageError,
)
from atoll.files import map_file, scratch_directory, writing
from atoll.hardware.host import Target
from atoll.model.graph import Model
from atoll.model.subgraph import extract
from atoll.model.tflite import model_bytes, read_model
from atoll.partitioning import partition_at
from atoll.partitioning.measured.store import Failure, Measured, MeasurementFile, Store, measurement_key, remembered
from atoll.products.progress import OnMessage, OnProgress, ignore

MODEL = "model"
"""The device that is none: the timing model."""
RESUME = "What was measured is kept: run the same command again, and it goes on from there."


class SegmentMeasurer:
    """Compiles and measures segments of one model: ``measurer(start, end)`` gives seconds or a failure."""

    def __init__(
        self,
        model: Model,
        compiler: Compiler,
        timer: InferenceTimer,
        store: Store,
        scratch: Path,
        *,
        kept_bytes: int = 0,
        on_progress: OnProgress = ignore,
    ) -> None:
        """Nothing is compiled or measured yet.

        Args:
            model: With unique tensor names (:func:`atoll.model.load.load`).
            compiler: What compiles the segments.
            timer: What measures them; of a pipeline's timing model, all of it in one segment is a pipeline of one.
            store: What was measured before, and will be.
            scratch: An empty directory.
            kept_bytes: Up to so many bytes of compiled files stay in it for :meth:`compiled_file`, the oldest going
                first.
            on_progress: Called with each segment that was measured now.
        """
        self.model, self.compiler, self.timer = model, compiler, timer
        self.fresh: set[tuple[int, int]] = set()
        """Segments compiled and measured now."""
        self._whole = replace(timer, stages=1) if isinstance(timer, ModelTimer) else timer
        self._scratch, self._kept_bytes, self._on_progress = scratch, kept_bytes, on_progress
        self._kept: dict[tuple[int, int], Path] = {}
        self._latest: tuple[tuple[int, int], bytes] | None = None
        self._look_up = remembered(self._measure, store, self._key)

    def __call__(self, start: int, end: int) -> Measured:
        """Seconds, or why there are none; from the store if it is there.

        Raises:
            DeviceError: the device is gone, or does not answer.
            CompilerMissingError, CompilerInvalidError: no segment can be compiled any more.
            OutputError: the measurement cannot be kept.
        """
        return self._look_up(start, end)

    def compiled_file(self, start: int, end: int) -> memoryview:
        """The compiled file of a segment; compiled anew where it is not at hand any more.

        Raises:
            AtollError: it does not compile.
        """
        if (start, end) in self._kept:
            return map_file(self._kept[start, end])
        with self._compiled(start, end) as (_, compiled):
            return map_file(compiled)  # the mapping outlives the name

    def content(self, start: int, end: int) -> bytes:
        """The file of a segment before it is compiled."""
        if self._latest is None or self._latest[0] != (start, end):
            self._latest = (start, end), bytes(model_bytes(segment_model(self.model, start, end)))
        return self._latest[1]

    def _key(self, start: int, end: int) -> str:
        timer = self._timer(start, end)
        return measurement_key(self.content(start, end), self.compiler.identity, timer.kind, timer.bus)

    def _timer(self, start: int, end: int) -> InferenceTimer:
        return self._whole if (start, end) == (0, len(self.model.main.operators)) else self.timer

    def _measure(self, start: int, end: int) -> Measured:
        self.fresh.add((start, end))
        try:
            with self._compiled(start, end) as (source, compiled):
                seconds = self._timer(start, end).seconds(compiled, source)
                self._keep((start, end), compiled)
        except (CompilerMissingError, CompilerInvalidError, OutputError):
            raise
        except DeviceError as error:
            raise type(error)(error.message, f"{error.hint} {RESUME}".strip()) from error
        except AtollError as error:
            self._on_progress(f"operators {start}-{end - 1}: failed", len(self.fresh))
            return Failure(str(error))
        self._on_progress(f"operators {start}-{end - 1}: {seconds * 1e3:.3f} ms", len(self.fresh))
        return seconds

    @contextmanager
    def _compiled(self, start: int, end: int) -> Iterator[tuple[Path, Path]]:
        """The segment's file and the compiled one, until the block ends."""
        with contextlib.ExitStack() as stack:
            with writing(self._scratch):
                folder = stack.enter_context(tempfile.TemporaryDirectory(dir=self._scratch))
            source = Path(folder, f"operators_{start}_to_{end - 1}.tflite")
            with writing(source):
                source.write_bytes(self.content(start, end))
            compiled = self.compiler.compile_file(source, Path(folder))
            difference = interface_difference(read_model(source).main, read_model(compiled).main)
            if difference:
                raise InvalidModelError(difference)
            yield source, compiled

    def _keep(self, segment: tuple[int, int], compiled: Path) -> None:
        """Move the file to where it stays, if files do, and let the oldest go while there is too much."""
        if not self._kept_bytes:
            return
        self._kept[segment] = compiled.replace(self._scratch / compiled.name)
        while len(self._kept) > 1 and sum(path.stat().st_size for path in self._kept.values()) > self._kept_bytes:
            self._kept.pop(next(iter(self._kept))).unlink()


def segment_model(model: Model, start: int, end: int) -> Model:
    """Operators ``start ... end - 1`` as a model of their own, as compiling them in a pipeline takes them."""
    count = len(model.main.operators)
    cuts = [cut for cut in (start, end) if 0 < cut < count]
    if not cuts:
        return model  # with its signatures and metadata
    segment = next(s for s in partition_at(model.main, cuts, "").segments if s.operators[0] == start)
    return extract(model, segment.operators, inputs=segment.inputs, outputs=segment.outputs)


def devices_to_measure(spec: str | None, bus: str | None = None) -> Sequence[EdgeTpu]:
    """The devices of one kind of which one is to measure; none: the timing model.

    Virtual devices take the times of CPU kernels: they are used when they are named only.

    Args:
        spec: ``usb``, ``pci:0``, a path, or ``model``; None: real ones if there are some, else the timing model.
        bus: On which bus; None: on any.

    Raises:
        DeviceError: there is no such device.
        UsageError: it is on another bus.
    """
    if spec == MODEL:
        return ()
    found = choose_devices(spec, bus=bus, virtual=False if spec is None else None)
    if spec is not None and not found:
        raise UsageError(f"--device {spec} is not of the type {bus}", "Leave one of the two out.")
    return [item for item in found if (item.virtual, item.bus) == (found[0].virtual, found[0].bus)]


@contextmanager
def segment_measurer(
    model: Model,
    compiler: Compiler,
    devices: Sequence[EdgeTpu],
    host: Target,
    store: str | Path | None,
    stages: int,
    *,
    kept_bytes: int = 0,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> Iterator[SegmentMeasurer]:
    """What measures segments of the model, on one of the devices, which is leased until the block ends.

    Without devices it is the timing model of ``host``, in a pipeline of ``stages``.

    Raises:
        DeviceError, PartitionError, OutputError: see ``lease``, ``MeasurementFile``, ``SegmentMeasurer``.
    """
    path = default_store() if store is None else Path(store)
    with contextlib.ExitStack() as stack:
        timer: InferenceTimer = ModelTimer(host, stages)
        if devices:
            timer = DeviceTimer(stack.enter_context(lease(1, devices=devices, on_message=on_message))[0])
        scratch = stack.enter_context(scratch_directory())
        kept = MeasurementFile(path)
        try:
            yield SegmentMeasurer(model, compiler, timer, kept, scratch, kept_bytes=kept_bytes, on_progress=on_progress)
        except (KeyboardInterrupt, SystemExit):
            on_message(f"What was measured is in {path}: run it again, and it goes on from there.")
            raise


def default_store() -> Path:
    """The user's own file of measurements."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "atoll", "measurements.json")
