"""Models and options → compiled files in a directory, by a child process that a time limit can end."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from atoll.compiler.external.report_text import log_text
from atoll.compiler.interface import Attempt, CompileOptions
from atoll.compiler.memory.order import OrderSearch
from atoll.compiler.own_compiler import OwnCompiler
from atoll.errors import (
    AtollError,
    CompilationTimeoutError,
    CompilerFaultError,
    FileAccessError,
    InvalidModelError,
    UnsupportedModelError,
    UsageError,
)
from atoll.files import map_file, note_read, output_directory, scratch_directory
from atoll.model.graph import Model
from atoll.model.load import ModelLike, load
from atoll.partitioning.equal_bytes import equal_partition
from atoll.partitioning.partition_file import read_partition
from atoll.products.partition import Partition
from atoll.reporting.file_report import FileReport, file_report
from atoll.support import require_compilable


@dataclass(frozen=True, slots=True)
class CompileJob:
    """What our compiler is to compile, and where the files go."""

    models: tuple[ModelLike, ...]
    options: CompileOptions
    cuts: int | str | Path | Partition = 1
    """Where to cut the one model: into so many segments of equal parameter bytes, or as a partition says."""
    stop_at: str = ""
    """The option ``-i`` as it was written."""
    directory: str = ""
    """"" is the current directory."""
    rates: tuple[float, ...] | None = None
    """How often each model runs, when the best order is to be searched."""


class Compilation:
    """A job under way, from the moment this object is made; use it as a context, which ends the process."""

    def __init__(self, job: CompileJob, timeout: float) -> None:
        self._job = job
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self.attempts: list[Attempt] = []
        self.orders: OrderSearch | None = None
        for source in (*job.models, job.cuts):
            if isinstance(source, str | Path):
                note_read(source)  # the child reads them, this process writes
        self._stack = contextlib.ExitStack()
        self._scratch = self._stack.enter_context(scratch_directory())
        # Forking starts at once and shares what is loaded; where it does not exist a new interpreter is started.
        context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "fork")
        self._results, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(job, str(self._scratch), sender), daemon=True)
        self._process.start()
        sender.close()

    def __enter__(self) -> Compilation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._results.close()
        self._stack.close()

    def wait(self, on_attempt: Callable[[Attempt], object]) -> tuple[FileReport, ...]:
        """The reports of the files, which are in their directory now, all of them with their logs.

        Raises:
            CompilationTimeoutError: the time is over; nothing was written.
            CompilerFaultError: the compiler itself failed.
            AtollError: whatever :meth:`OwnCompiler.compile` and reading and writing files raise.
        """
        for message in self._messages():
            if isinstance(message, Attempt):
                self.attempts.append(message)
                on_attempt(message)
            elif isinstance(message, OrderSearch):
                self.orders = message
            elif isinstance(message, AtollError | OSError):
                raise message
            elif isinstance(message, str):
                raise CompilerFaultError(f"the compiler failed:\n{message}", "Please report it with the model.")
            else:
                reports: tuple[FileReport, ...] = message
                self._publish(reports)
                return reports
        raise CompilerFaultError(
            f"the compiler process ended with status {self._process.exitcode}",
            "Was it stopped, or is the memory used up? Otherwise please report it with the model.",
        )

    def _messages(self) -> Iterator[Any]:
        """What the child sends, until it has nothing more to say."""
        while True:
            if not self._results.poll(max(0.0, self._deadline - time.monotonic())):
                self._process.kill()
                raise CompilationTimeoutError(
                    f"compilation took more than {self._timeout:g} seconds and was stopped; nothing was written",
                    "Allow more time (the time-out option) or cut the model into segments.",
                )
            try:
                yield self._results.recv()
            except EOFError:
                self._process.join()
                return

    def _publish(self, reports: Sequence[FileReport]) -> None:
        job = self._job
        with output_directory(job.directory or ".") as output:
            for report in reports:
                output.write(report.output, map_file(self._scratch / report.output))
                output.write(report.log, log_text(report.block(job.directory)))


def _work(job: CompileJob, scratch: str, results: Connection) -> None:
    """The child: Ctrl-C reaches the parent too, which ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what the parent does then
    gc.disable()  # hardly anything that it makes is garbage before it ends
    try:
        results.send(_compile(job, scratch, results.send))
    except (AtollError, OSError) as error:
        results.send(error)
    except MemoryError:
        results.send(UnsupportedModelError("there is not enough memory to compile it", "Cut the model into segments."))
    except Exception:
        results.send(traceback.format_exc())
    results.close()


def _compile(job: CompileJob, scratch: str, send: Callable[[object], None]) -> tuple[FileReport, ...]:
    models = [_loaded(source) for source in job.models]
    compiler = OwnCompiler(_with_stops(job.options, job.stop_at, models))
    if job.rates is not None:
        orders = compiler.best_order(models, job.rates)
        send(orders)
        order, stop_at = orders.best.models, compiler.options.stop_at
        models = [models[i] for i in order]
        compiler = OwnCompiler(replace(compiler.options, stop_at=tuple(stop_at[i] for i in order if stop_at)))
    partition = cut(models[0], job.cuts) if len(models) == 1 else None
    compiled = compiler.compiled(models, partition, send)
    paths = compiled.write(scratch)
    whole = len(compiled.segments) == len(models) and not any(isinstance(source, Model) for source in job.models)
    return tuple(
        file_report(segment, path.stat().st_size, Path(segment.source.path).stat().st_size if whole else None)
        for segment, path in zip(compiled.segments, paths)
    )


def _loaded(source: ModelLike) -> Model:
    try:
        model = load(source)
        require_compilable(model)
    except (FileAccessError, InvalidModelError, UnsupportedModelError) as error:
        error.model = source.path if isinstance(source, Model) else str(source)
        raise
    return model


def cut(model: Model, cuts: int | str | Path | Partition) -> Partition:
    """Where :attr:`CompileJob.cuts` cuts the model. Raises PartitionError, FileAccessError."""
    if isinstance(cuts, Partition):
        return cuts
    return equal_partition(model.main, cuts) if isinstance(cuts, int) else read_partition(cuts, model.main).partition


def _with_stops(options: CompileOptions, text: str, models: Sequence[Model]) -> CompileOptions:
    """The options with the tensors of ``-i`` in them: names with commas between, models with colons between.

    A name may hold a colon itself (``StatefulPartitionedCall:0``): the models' own names decide where one ends.

    Raises:
        UsageError: there are lists for more or fewer models than are given.
    """
    if not text:
        return options
    if len(models) == 1:
        return replace(options, stop_at=(tuple(filter(None, text.split(","))),))
    lists: list[str] = []
    pieces = text.split(":")
    for model in models:
        known = {tensor.name for tensor in model.main.tensors}
        most = len(pieces) - (len(models) - len(lists) - 1)
        joined = [":".join(pieces[:n]) for n in range(1, max(most, 0) + 1)]
        if not joined:
            raise UsageError(
                f"intermediate tensors are given for {len(lists)} models, there are {len(models)}",
                "Separate the lists of the models with colons; a list may be empty.",
            )
        fitting = [n for n, names in enumerate(joined, 1) if all(name in known for name in names.split(",") if name)]
        taken = fitting[-1] if fitting else 1
        lists.append(joined[taken - 1])
        pieces = pieces[taken:]
    if pieces:
        raise UsageError(
            f"intermediate tensors are given for {len(lists) + len(pieces)} models, there are {len(models)}",
            "Separate the lists of the models with colons, in the order of the models.",
        )
    return replace(options, stop_at=tuple(tuple(filter(None, names.split(","))) for names in lists))
