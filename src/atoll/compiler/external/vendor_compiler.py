"""The vendor's compiler as a process: segments in files → files for real Edge TPUs, side by side, and checked."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from atoll.compiler.external.calling import Call, VendorResult
from atoll.compiler.external.checking import agreement
from atoll.compiler.interface import CompiledFiles, CompileOptions, Compiler
from atoll.compiler.own_compiler import OwnCompiler
from atoll.errors import CompilerFailedError, FileAccessError, InvalidModelError, UsageError
from atoll.files import map_file, output_directory, scratch_directory
from atoll.model.graph import Model
from atoll.model.tflite import read_model, write_model
from atoll.products.partition import Partition
from atoll.products.progress import OnProgress, ignore

_SEARCHES_FROM = 16


@dataclass(frozen=True, slots=True)
class VendorCompiler(Compiler):
    """An executable that is called as ``edgetpu_compiler -s -o DIR -t SECONDS ... MODEL``.

    :meth:`compile` needs the vendor's own. :meth:`compile_file` takes any program with this command line: what counts
    is the file ``DIR/MODEL_edgetpu.tflite`` that it leaves.
    """

    path: str
    version: str
    """The version of the vendor's, such as 16.0.384591198; of another program what it says of itself."""
    options: CompileOptions = CompileOptions()

    @property
    def virtual(self) -> bool:
        """What it makes is for real devices."""
        return False

    @property
    def name(self) -> str:
        """As people read it, with the version."""
        return f"the vendor's compiler {self.version}" if self._generation else f"the compiler {self.path}"

    @property
    def identity(self) -> str:
        """Version, options and a hash of the file: for what says always the same of itself."""
        version = self.version if self._generation is None else f"Edge TPU Compiler version {self.version}"
        return " ".join([version, _hash(self.path), *self._call.arguments()])

    def compile(
        self,
        models: Sequence[Model],
        directory: str | Path,
        partition: Partition | None = None,
        on_progress: OnProgress = ignore,
    ) -> CompiledFiles:
        """As every :class:`Compiler`. The segments are compiled side by side, one for each core.

        What it fails on is tried again with an earlier stop, which the segment's agreement says. Beside the compiled
        files lie its logs.
        """
        if len(models) != 1:
            raise UsageError("the vendor's compiler is asked for one model at a time", "Take --codegen virtual.")
        (model,) = models
        # Not the search: how the vendor's compiler fares with the whole is what the prediction is compared with.
        predicting = OwnCompiler(CompileOptions(self.options.min_runtime, self.options.all_regions))
        predicted = predicting.compiled(models, partition).segments
        with scratch_directory() as temporary:
            plain, made = temporary / "plain", temporary / "compiled"
            plain.mkdir()
            made.mkdir()
            sources = [plain / segment.name.replace("_edgetpu.tflite", ".tflite") for segment in predicted]
            for path, segment in zip(sources, predicted):
                write_model(segment.source, path)
            title = f"compiling {model.path} with {self.path}"
            try:
                results = self.compile_files(sources, made, on_result=lambda n: on_progress(title, n, len(sources)))
                agreements = tuple(agreement(segment, result) for segment, result in zip(predicted, results))
            except CompilerFailedError as error:
                raise _located(error, model, sources, partition) from error
            return CompiledFiles(self.name, False, _publish(results, directory), predicted, agreements, self.path)

    def compile_file(self, path: Path, directory: Path) -> Path:
        """As every :class:`Compiler`; where it fails it is not asked again."""
        output = self._call.compile(path, directory, retry=False).output
        try:
            read_model(output)
        except (FileAccessError, InvalidModelError) as error:
            raise CompilerFailedError(
                f"{path}: {self.name} left {output.name}, which is not a model: {error.message}",
                "Try again; if it comes back, take another cut or another version of the compiler.",
            ) from error
        return output

    def compile_files(
        self, models: Sequence[Path], directory: Path, jobs: int | None = None, on_result: Callable[[int], object] = int
    ) -> list[VendorResult]:
        """Compile several files (the segments of a model), ``jobs`` at a time (default: one for each core).

        What it fails on is tried again with an earlier stop. ``on_result`` is called with how many are done.

        Raises:
            CompilerFailedError: the first failure; those under way are ended, the others not begun.
        """
        stop = threading.Event()
        compile_one = functools.partial(self._call.compile, directory=directory, retry=True, stop=stop)
        with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
            running = [pool.submit(compile_one, model) for model in models]
            try:
                for done, future in enumerate(as_completed(running), start=1):
                    future.result()
                    on_result(done)
                return [future.result() for future in running]
            except BaseException:  # Ctrl-C, too
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    @property
    def _call(self) -> Call:
        return Call(self.path, self.name, self.options, self._generation is None or self._generation >= _SEARCHES_FROM)

    @property
    def _generation(self) -> int | None:
        """16 of 16.0.384591198; None of a program that is not the vendor's."""
        match = re.fullmatch(r"([0-9]+)(\.[0-9]+)+", self.version)
        return int(match[1]) if match else None


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return "unreadable"  # executable all the same
    return digest.hexdigest()[:16]


def _located(
    error: CompilerFailedError, model: Model, sources: Sequence[Path], partition: Partition | None
) -> CompilerFailedError:
    """The failure with the segment in place of a temporary file: which operators, and what to change."""
    number, path = next((n, path) for n, path in enumerate(sources) if error.message.startswith(f"{path}: "))
    reason, count = error.message.removeprefix(f"{path}: "), len(sources)
    if partition is None or count == 1:
        return type(error)(f"{model.path}: {reason}", error.hint)
    operators = partition.segments[number].operators
    span = f"operators {model.main.where(operators[0])} to {model.main.where(operators[-1])}"
    hint = f"{error.hint} Or cut elsewhere: atoll partition writes a file of cuts that you can edit."
    return type(error)(f"{model.path}, segment {number} of {count} ({span}): {reason}", hint)


def _publish(results: Sequence[VendorResult], directory: str | Path) -> tuple[Path, ...]:
    with output_directory(directory) as output:
        for result in results:
            if result.log.is_file():
                output.write(result.log.name, map_file(result.log))
        return tuple(output.write(result.output.name, map_file(result.output)) for result in results)
