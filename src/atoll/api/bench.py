"""The vendor's analysis tools: models and numbers of devices → throughput, measured or modelled."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from atoll import networks, toolchain
from atoll.api.inference_timers import device_times
from atoll.api.partition_with_profiling import DEVICE_TYPES
from atoll.compiler.emit import segment_name
from atoll.device import EdgeTpu, lease
from atoll.device.choice import choose_devices
from atoll.device.inventory import HINT
from atoll.device.timed_run import TimedInterpreter
from atoll.errors import DeviceError, FileMissingError, UsageError
from atoll.estimate import pipeline_timing, simulate, timing_of
from atoll.estimate.workload import workload
from atoll.files import scratch_directory, write_file
from atoll.hardware.buses import BUSES, DEFAULT_BUS
from atoll.hardware.host import Target, load_target
from atoll.model.graph import Model
from atoll.model.load import load
from atoll.pipeline import Pipeline
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.products.random_inputs import random_inputs
from atoll.reporting.bench_report import BenchedModel, BenchReport, Throughput, latencies_text

_HOST = BUSES[DEFAULT_BUS].host
"""The host that is modelled when none is named."""
_MODELLED_TPUS = 4
"""How many devices are modelled by default: for up to four, pipelines were measured (docs/timing.md)."""
_COMPILED = "_edgetpu.tflite"


def pipelining_performance(
    models: Sequence[str],
    *,
    directory: str | Path,
    segments: Sequence[int] = (1, 2, 3, 4),
    inferences: int = 100,
    latencies: str | Path | None = None,
    device_type: str = "any",
    modelled: bool = False,
    target: str | Path | None = None,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> BenchReport:
    """Run models as pipelines of several lengths: throughput, and what each segment takes.

    Args:
        models: Names: of files ``NAME_edgetpu.tflite``, ``NAME_segment_0_of_2_edgetpu.tflite`` or ``NAME.tflite``
            (compiled for the run), or networks of the zoo.
        directory: Where the files are.
        segments: Into how many pieces; one device for each.
        inferences: For each of them.
        latencies: Where to write what the segments of one model take, in ns, a line each.
        device_type: ``any``, ``pcionly`` or ``usbonly``.
        modelled: Simulate Edge TPUs; no device is used.
        target: The host to be modelled: one of the package by name, or a ``.toml`` file; None: ``x86-pcie``.
        on_progress: Called with how many inferences are done.
        on_message: Called with what is waited for.

    Raises:
        UsageError: No model is named, or arguments contradict each other.
        FileMissingError: There is no model of a name.
        DeviceError: There are not so many devices.
        AtollError: As compiling and running do.
    """
    if latencies and len(models) != 1:
        raise UsageError(f"--segment_latencies_path goes with one model, {len(models)} are named")
    _require_counts("--num_segments_list", segments)
    with _bench(models, directory, segments, max(segments), device_type, modelled, target, on_message) as bench:

        def run(name: str, count: int) -> _Timed:
            files = bench.models.files(name, count)
            if bench.target is not None:
                return simulated(files, inferences, bench.target)
            told = _counted(on_progress, f"{name} on {count}", inferences)
            return pipelined(files, bench.devices[:count], inferences, told)

        report = bench.report("model_pipelining", models, segments, run)
    if latencies:
        write_file(latencies, latencies_text(report.models[0].results))
    return report


def side_by_side_performance(
    models: Sequence[str],
    *,
    directory: str | Path,
    counts: Sequence[int] = (),
    requests: int = 30_000,
    device_type: str = "any",
    modelled: bool = False,
    target: str | Path | None = None,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> BenchReport:
    """Run each model on one device, on two, ... side by side, the requests being shared out.

    Args:
        counts: On how many devices; nothing: on 1 up to all, modelled up to 4.
        requests: For each number of devices.

    The other arguments, and what is raised, are those of :func:`pipelining_performance`.
    """
    if counts:
        _require_counts("--num_tpus_list", counts)
    most = max(counts, default=None)
    with _bench(models, directory, [1], most, device_type, modelled, target, on_message) as bench:

        def run(name: str, count: int) -> _Timed:
            files = bench.models.files(name)
            if bench.target is not None:
                return simulated(files, requests, bench.target, replicas=count)
            told = _counted(on_progress, f"{name} on {count}", requests)
            return side_by_side(files[0], bench.devices[:count], requests, told)

        return bench.report("multiple_tpus", models, counts or range(1, bench.count + 1), run)


@dataclass(frozen=True, slots=True)
class _Timed:
    """``requests`` inferences of one model on ``devices`` devices."""

    devices: int
    requests: int
    seconds: float
    segment_ms: tuple[float, ...]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class BenchModels:
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
            toolchain.compile_model(self._source(stem, found[0]), segments, name=label).write(self._scratch)
        return made

    def _source(self, stem: str, wanted: Path) -> Model:
        path = self._directory / f"{stem}.tflite"
        if stem not in self._sources:
            if path.exists():
                self._sources[stem] = load(path)
            elif stem in {entry.name for entry in networks.entries()}:
                self._sources[stem] = networks.build(stem)
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
    count: int | None, device_type: str = "any", on_message: OnMessage = ignore
) -> Iterator[tuple[EdgeTpu, ...]]:
    """``count`` devices (None: all) of a type in the vendor's words, for this process until the block ends.

    Raises:
        DeviceError: there are not so many; all are needed before the first measurement.
    """
    devices = choose_devices(bus=DEVICE_TYPES[device_type])
    wanted = count or len(devices)
    if not devices or len(devices) < wanted:
        what = "Edge TPUs" if device_type == "any" else f"Edge TPUs ({device_type})"
        raise DeviceError(f"{wanted or 'some'} {what} are needed, there are {len(devices) or 'none'}", HINT)
    with lease(wanted, devices=devices, on_message=on_message) as leased:
        yield leased


@dataclass(frozen=True, slots=True)
class _Bench:
    """What both tools work with: models, and devices or a modelled host."""

    models: BenchModels
    devices: Sequence[EdgeTpu]
    target: Target | None
    count: int
    """Devices, real, virtual or modelled."""

    def report(
        self, benchmark: str, names: Sequence[str], counts: Sequence[int], run: Callable[[str, int], _Timed]
    ) -> BenchReport:
        """Every model on every number of devices."""
        times = device_times(self.devices)
        if self.target is not None:
            times = f"modelled for {self.target.name} ({self.target.description}); nothing was run"
        return BenchReport(
            benchmark, times, tuple(BenchedModel(name, _compared([run(name, n) for n in counts])) for name in names)
        )


def _compared(timed: Sequence[_Timed]) -> tuple[Throughput, ...]:
    first = timed[0].per_second
    return tuple(
        Throughput(each.devices, each.requests, each.seconds, each.per_second, each.per_second / first, each.segment_ms)
        for each in timed
    )


@contextmanager
def _bench(
    models: Sequence[str],
    directory: str | Path,
    pieces: Sequence[int],
    count: int | None,
    device_type: str,
    modelled: bool,
    target: str | Path | None,
    on_message: OnMessage,
) -> Iterator[_Bench]:
    """Models in ``pieces``, all there before the first of them is measured, and ``count`` devices (None: all)."""
    if not models:
        raise UsageError("no model is named", "Give some: --model_list a,b")
    if target and not modelled:
        raise UsageError("--target goes with --modelled only", "Give --modelled too.")
    if modelled and device_type != "any":
        raise UsageError("--modelled uses no device, so none of a type", "Leave one out; --target names a host.")
    with ExitStack() as stack:
        found = BenchModels(directory, stack.enter_context(scratch_directory()))
        host = load_target(target or _HOST) if modelled else None
        devices = () if modelled else stack.enter_context(devices_for(count, device_type, on_message))
        for name in models:
            for number in pieces:
                found.files(name, number)  # what is wrong is told before minutes of measuring
        yield _Bench(found, devices, host, len(devices) or count or _MODELLED_TPUS)


def _counted(on_progress: OnProgress, title: str, total: int) -> Callable[[int], object]:
    return lambda done: on_progress(title, done, total)


def _require_counts(option: str, counts: Sequence[int]) -> None:
    if not counts or min(counts) < 1:
        raise UsageError(f"{option} is {','.join(map(str, counts)) or 'empty'}", "Give numbers from 1 on: 1,2,3")


def pipelined(
    files: Sequence[Path], devices: Sequence[EdgeTpu], requests: int, on_result: Callable[[int], object]
) -> _Timed:
    """Random inputs through the segments as a pipeline, one device each, parameters cached before the time begins."""
    interpreters = [TimedInterpreter(path, device) for path, device in zip(files, devices)]
    for interpreter in interpreters:
        interpreter.invoke()
    values = next(random_inputs([load(path).main for path in files]))
    with Pipeline([each.interpreter for each in interpreters]) as pipeline:
        inputs = {spec.name: values[spec.name] for spec in pipeline.inputs}
        begin = time.perf_counter()
        for done, _ in enumerate(pipeline.map(itertools.repeat(inputs, requests)), start=1):
            on_result(done)
        seconds = time.perf_counter() - begin
        return _Timed(len(files), requests, seconds, tuple(stage.mean_s * 1e3 for stage in pipeline.stats()))


def side_by_side(file: Path, devices: Sequence[EdgeTpu], requests: int, on_result: Callable[[int], object]) -> _Timed:
    """The same model on every device, each with its share of the requests and a thread of its own."""
    shares = [requests // len(devices) + (i < requests % len(devices)) for i in range(len(devices))]
    counter, stop = itertools.count(1), threading.Event()

    def work(invoke: Callable[[], object], share: int) -> float:
        begin = time.perf_counter()
        for _ in range(share):
            if stop.is_set():
                break
            invoke()
            on_result(next(counter))
        return time.perf_counter() - begin

    with ExitStack() as stack:
        runs = [stack.enter_context(closing(TimedInterpreter(file, device))).invoke for device in devices]
        for invoke in runs:
            invoke()  # parameters are on the devices
        pool = stack.enter_context(ThreadPoolExecutor(len(devices), thread_name_prefix="atoll-bench"))
        begin = time.perf_counter()
        try:
            busy = [future.result() for future in [pool.submit(work, *pair) for pair in zip(runs, shares)]]
        finally:
            stop.set()  # an interrupt must not wait for the rest of the requests
        seconds = time.perf_counter() - begin
    return _Timed(len(devices), requests, seconds, (sum(busy) / requests * 1e3,))


def simulated(files: Sequence[Path], requests: int, target: Target, replicas: int = 1) -> _Timed:
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
    return _Timed(len(files) * replicas, requests, run.total_ms / 1e3, means)
