"""A model, a compiler and a device → a function that compiles and measures contiguous segments of the model."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from atoll import toolchain
from atoll.api.codegen import interface_difference
from atoll.device import EdgeTpu, RealEdgeTpu, VirtualEdgeTpu, make_interpreter
from atoll.device.real.real_device import why_not
from atoll.device.watch import PATIENCE_S, watched
from atoll.errors import (
    AtollError,
    CompilerInvalidError,
    CompilerMissingError,
    DeviceError,
    DeviceLostError,
    InvalidModelError,
    OutputError,
)
from atoll.estimate import pipeline_timing, timing_of
from atoll.estimate.workload import Workload, workload
from atoll.files import map_file
from atoll.hardware.host import Target
from atoll.model.compiled import is_compiled
from atoll.model.graph import Model
from atoll.model.subgraph import extract
from atoll.model.tflite import model_bytes, read_model
from atoll.partitioning import partition_at
from atoll.partitioning.measured.store import Failure, Measured, Store, measurement_key, remembered
from atoll.products.inputs import random_inputs
from atoll.version import __version__

WARM = 2
"""Inferences before those that count: the first one loads the parameters."""
RUNS = (10, 100)
"""At least and at most so many inferences count, by their median; from the least on they end after ``SECONDS``."""
SECONDS = 1.0
RESUME = "What was measured is kept: run the same command again, and it goes on from there."


class SegmentCompiler(Protocol):
    """What compiles one file; :class:`atoll.compiler.external.command.CommandCompiler` is the other one."""

    @property
    def identity(self) -> str:
        """Compiler, version and options."""

    def compile(self, model: Path, directory: Path) -> Path:
        """Compile a file into a directory; raises an AtollError when it cannot."""


class Meter(Protocol):
    """What finds the seconds of one inference of a compiled file."""

    @property
    def kind(self) -> str:
        """The kind of device, with all that its answers depend on beside the file and the bus."""

    @property
    def bus(self) -> str: ...

    def seconds(self, compiled: Path, source: Path) -> float:
        """Of one inference with the parameters loaded; ``source`` is the segment before it was compiled.

        Raises:
            DeviceError: the device cannot go on.
            AtollError: the file cannot be run.
        """


@dataclass(frozen=True, slots=True)
class OwnCompiler:
    """Our compiler, in this process. With a ``search_step`` it stops earlier and earlier where it fails."""

    search_step: int = 0

    @property
    def identity(self) -> str:
        return f"{toolchain.COMPILER} -k {self.search_step}"

    def compile(self, model: Path, directory: Path) -> Path:
        options = toolchain.CompileOptions(search_step=self.search_step)
        _, compiled = toolchain.compile_models([read_model(model)], options)
        return toolchain.write_compiled(compiled, directory)[0]


@dataclass(frozen=True, slots=True)
class ModelMeter:
    """The timing model: nothing is run. In a pipeline of ``stages``, the numbers are those of ``atoll partition``."""

    target: Target
    stages: int = 1

    @property
    def kind(self) -> str:
        return f"timing model {__version__}, {self.stages} stages, {self.target!r}"

    @property
    def bus(self) -> str:
        return self.target.bus.kind

    def seconds(self, compiled: Path, source: Path) -> float:
        if is_compiled(read_model(compiled)):
            work = workload(compiled, source)
        else:
            work = Workload(compiled.name, read_model(source), 0, (), {}, None, "")
        timing = timing_of(work.demand, self.target, instruction_bytes=work.instruction_bytes)
        stage = pipeline_timing([timing] * self.stages, self.target).stages[0]
        return (stage.device_ms + stage.host_ms) / 1e3


@dataclass(frozen=True, slots=True)
class DeviceMeter:
    """A device, real or virtual, by the clock of this machine; random inputs."""

    device: EdgeTpu
    patience_s: float = PATIENCE_S

    @property
    def kind(self) -> str:
        return f"{'virtual' if self.device.virtual else 'real'} {self.device.type}"

    @property
    def bus(self) -> str:
        return self.device.bus

    def seconds(self, compiled: Path, source: Path) -> float:
        return watched(self.device, lambda tick: self._seconds(compiled, source, tick), self.patience_s)

    def _seconds(self, compiled: Path, source: Path, tick: Callable[[], None]) -> float:
        original = source if isinstance(self.device, VirtualEdgeTpu) else None
        interpreter = make_interpreter(compiled, self.device, original=original)
        try:
            return self._median(interpreter, next(random_inputs(read_model(source).main)), tick)
        except RuntimeError as error:
            raise self._explained(compiled, error) from error
        finally:
            if hasattr(interpreter, "close"):
                interpreter.close()

    @staticmethod
    def _median(interpreter: Any, inputs: Mapping[str, Any], tick: Callable[[], None]) -> float:
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], inputs[detail["name"]])
        for _ in range(WARM):
            interpreter.invoke()
            tick()
        times: list[float] = []
        least, most = RUNS
        begin = time.perf_counter()
        while len(times) < least or (len(times) < most and times[-1] - begin < SECONDS):
            interpreter.invoke()
            times.append(time.perf_counter())
            tick()
        return statistics.median(b - a for a, b in zip([begin, *times], times))

    def _explained(self, compiled: Path, error: RuntimeError) -> AtollError:
        """Whether the device is the reason, or the file."""
        if isinstance(error.__cause__, AtollError):
            return error.__cause__
        if isinstance(self.device, RealEdgeTpu):
            found = why_not(self.device)
            if isinstance(found, DeviceLostError):
                return found
        return InvalidModelError(f"{compiled.name}: it does not run on {self.device.path}: {error}")


@dataclass(frozen=True, slots=True)
class Look:
    """One segment that was asked for."""

    start: int
    end: int
    found: Measured
    fresh: bool
    """It was compiled and measured now, not remembered."""


class Measuring:
    """Measures segments of one model: ``measuring(start, end)`` gives seconds or a failure."""

    def __init__(
        self,
        model: Model,
        compiler: SegmentCompiler,
        meter: Meter,
        store: Store,
        scratch: Path,
        *,
        whole: Meter | None = None,
        kept_bytes: int = 0,
        on_look: Callable[[Look], object] = lambda _: None,
    ) -> None:
        """``model`` has unique tensor names (:func:`atoll.toolchain.load`); ``whole`` is the meter for all of it in one
        segment, if that is another; ``scratch`` is an empty directory, in
        which up to ``kept_bytes`` of the compiled files stay for :meth:`compiled_file`, the oldest going first."""
        self.model, self.compiler, self.meter = model, compiler, meter
        self.fresh: set[tuple[int, int]] = set()
        """Segments compiled and measured now."""
        self._whole = whole or meter
        self._scratch, self._kept_bytes, self._on_look = scratch, kept_bytes, on_look
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
        found = self._look_up(start, end)
        self._on_look(Look(start, end, found, (start, end) in self.fresh))
        return found

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
        meter = self._meter(start, end)
        return measurement_key(self.content(start, end), self.compiler.identity, meter.kind, meter.bus)

    def _meter(self, start: int, end: int) -> Meter:
        return self._whole if (start, end) == (0, len(self.model.main.operators)) else self.meter

    def _measure(self, start: int, end: int) -> Measured:
        self.fresh.add((start, end))
        try:
            with self._compiled(start, end) as (source, compiled):
                seconds = self._meter(start, end).seconds(compiled, source)
                self._keep((start, end), compiled)
        except (CompilerMissingError, CompilerInvalidError, OutputError):
            raise
        except DeviceError as error:
            raise type(error)(error.message, f"{error.hint} {RESUME}".strip()) from error
        except AtollError as error:
            return Failure(str(error))
        return seconds

    @contextmanager
    def _compiled(self, start: int, end: int) -> Iterator[tuple[Path, Path]]:
        """The segment's file and the compiled one, until the block ends."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            source = Path(folder, f"operators_{start}_to_{end - 1}.tflite")
            source.write_bytes(self.content(start, end))
            compiled = self.compiler.compile(source, Path(folder))
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
