"""Models in files → the same compiled by the vendor's ``edgetpu_compiler``, side by side, with time limits."""

from __future__ import annotations

import functools
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from atoll.compiler.external.process import GRACE, MOST_OUTPUT, excerpt, run_bounded
from atoll.errors import (
    CompilerFailedError,
    CompilerInvalidError,
    CompilerMissingError,
    CompilerTimeoutError,
)

VARIABLE = "ATOLL_EDGETPU_COMPILER"
"""Environment variable that names the vendor's compiler; ``none`` when there shall be none."""

NAME = "edgetpu_compiler"

INSTALL = (
    "It exists for x86-64 Debian and Ubuntu: add Coral's package source (coral.ai/docs/edgetpu/compiler), then: "
    f"sudo apt install edgetpu-compiler. One elsewhere is named by {VARIABLE}."
)

SECONDS = 180
"""The vendor's own default time limit."""

_VERSION_SECONDS = 60.0

_EXPLANATIONS = {
    "Model not quantized": "It takes full-integer models only: atoll check says which tensor is float.",
    "Model could not be parsed": "It knows no operator newer than about TensorFlow 2.5: see atoll check.",
    "large activation tensors": "A tensor between two operators is too large: cut before it, or use a smaller input.",
    "dynamic-sized tensors": "Fix the shapes of the model before compiling it.",
    "Model failed in Tflite interpreter": "Check that the model runs in LiteRT: atoll run MODEL --tpus 1.",
    "Internal compiler error": "The compiler crashed; a cut elsewhere often helps.",
    "Compilation timeout": "Usually large activations: cut before them, or give it more time.",
}
"""What it prints → what to do (../shared/facts/compiler.md, "Failure messages")."""

_HOPELESS = ("Model not quantized", "Model could not be parsed", "Invalid model")
"""Failures that another stopping point cannot change."""


@dataclass(frozen=True, slots=True)
class VendorResult:
    """One compiled model; ``text`` is the compiler's standard output for a parser."""

    model: Path
    output: Path
    log: Path
    text: str
    seconds: float
    searched: bool
    """It had failed at first, and stops earlier in the graph than it was asked to."""


@dataclass(frozen=True, slots=True)
class VendorCompiler:
    """An installed compiler of the vendor."""

    path: str
    version: str
    """As it says itself, such as 16.0.384591198."""

    def compile(
        self,
        model: Path,
        directory: Path,
        min_runtime: int | None = None,
        seconds: int = SECONDS,
        search: bool = True,
        stop: threading.Event | None = None,
        all_regions: bool = False,
    ) -> VendorResult:
        """Compile one file into ``directory``; with ``all_regions`` every supported part, not only the first.

        When it fails for a reason that an earlier stop may avoid, it is asked once more with ``--search_delegate``
        (from version 16 on), unless ``search`` is False. Setting ``stop`` ends it, from any thread.

        Raises:
            CompilerTimeoutError, CompilerFailedError: with what it said, and what that means.
            CompilerMissingError: it is gone.
        """
        begin = time.monotonic()
        command = [self.path, "-s", "-o", str(directory), "-t", str(seconds)]
        command += ["-m", str(min_runtime)] if min_runtime is not None else []
        command += ["-a"] if all_regions else []
        text, searched = "", False
        for extra in ([], ["-d"]) if search and self._can_search else ([],):
            searched = bool(extra)
            code, text = _run([*command, *extra, str(model)], seconds + GRACE, stop)
            output = directory / f"{model.stem}_edgetpu.tflite"
            if code == 0 and output.is_file():
                taken = time.monotonic() - begin
                return VendorResult(model, output, output.with_suffix(".log"), text, taken, searched)
            if (stop and stop.is_set()) or any(reason in text for reason in _HOPELESS):
                break
        raise _failure(self, model, text, seconds)

    @property
    def _can_search(self) -> bool:
        return int(self.version.partition(".")[0]) >= 16


def find_compiler(chosen: str | None = None) -> VendorCompiler | None:
    """The vendor's compiler: ``chosen``, what ``ATOLL_EDGETPU_COMPILER`` names, or the first one in PATH.

    Our own command of the same name is passed over, also behind wrappers; None when there is no other.

    Raises:
        CompilerMissingError: one was named and is not there.
        CompilerInvalidError: what was named is something else, or ours; or all that PATH has is something else.
    """
    named = chosen or os.environ.get(VARIABLE)
    if named == "none":
        return None
    if named:
        path = shutil.which(named)
        if path is None and Path(named).exists():
            what = "is a directory" if Path(named).is_dir() else "is not executable"
            raise CompilerInvalidError(f"{named} {what}, so it is not the vendor's compiler", INSTALL)
        if path is None:
            raise CompilerMissingError(f"there is no vendor compiler '{named}'", INSTALL)
        return _examine(path)
    broken: CompilerInvalidError | None = None
    for folder in dict.fromkeys(os.environ.get("PATH", os.defpath).split(os.pathsep)):
        path = shutil.which(NAME, path=folder) if folder else None
        try:
            if path is not None:
                return _examine(path)
        except _OwnCommandError:
            continue
        except CompilerInvalidError as error:
            broken = broken or error
    if broken is not None:
        raise broken
    return None


def compile_all(
    compiler: VendorCompiler,
    models: Sequence[Path],
    directory: Path,
    min_runtime: int | None = None,
    seconds: int = SECONDS,
    jobs: int | None = None,
    all_regions: bool = False,
    on_result: Callable[[int], object] = int,
) -> list[VendorResult]:
    """Compile several files (the segments of a model), ``jobs`` at a time (default: one for each core).

    ``on_result`` is told how many are done.

    Raises:
        CompilerFailedError: the first failure; those under way are ended, the others not begun.
    """
    stop = threading.Event()
    compile_one = functools.partial(
        compiler.compile,
        directory=directory,
        min_runtime=min_runtime,
        seconds=seconds,
        stop=stop,
        all_regions=all_regions,
    )
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


class _OwnCommandError(CompilerInvalidError):
    """The drop-in command of the same name."""


@functools.lru_cache(maxsize=32)
def _examine(path: str) -> VendorCompiler:
    """Ask the command for its version. A Python program names the modules it loads, and so gives ours away."""
    own = f"{path} is atoll's own command, not the vendor's compiler"
    if _is_script_of_ours(path):
        raise _OwnCommandError(own, INSTALL)
    try:
        ended = run_bounded([path, "--version"], _VERSION_SECONDS, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    except OSError as error:
        raise CompilerInvalidError(
            f"{path} cannot be run: {error.strerror}; the vendor's compiler is for x86-64 Linux only", INSTALL
        ) from error
    if ended.why == "time":
        raise CompilerInvalidError(f"{path} --version does not answer", INSTALL)
    if re.search(r"^import time:.*\batoll\.", ended.text, re.MULTILINE):
        raise _OwnCommandError(own, INSTALL)
    match = re.search(r"Edge TPU Compiler version ([0-9]{1,9}(?:\.[0-9]{1,12}){1,3})", ended.text)
    if match is None or ended.status:
        lines = (line.strip() for line in ended.text.splitlines() if not line.startswith("import time:"))
        said = next((line for line in lines if line), "nothing")[:80]
        raise CompilerInvalidError(f"{path} is not the vendor's compiler: it says {said!r}", INSTALL)
    return VendorCompiler(path, match[1])


def _is_script_of_ours(path: str) -> bool:
    """Whether it is the script that pip wrote for our command: known without the 0.5 s of running it."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(2048)
    except OSError:
        return False  # running it says why
    return head.startswith(b"#!") and b"from atoll.vendor_tools.entry_points import" in head


def _run(command: list[str], seconds: float, stop: threading.Event | None) -> tuple[int, str]:
    """Status and output of a command, with a line in the compiler's own words where it could not say how it ended."""
    try:
        ended = run_bounded(command, seconds, stop=stop)
    except OSError as error:
        raise CompilerMissingError(f"{command[0]} cannot be run any more: {error.strerror}", INSTALL) from error
    killed = f"Internal compiler error: killed by signal {-ended.status}." if ended.status < 0 else ""
    said = {
        "": killed,
        "time": "Compilation timeout.",
        "output": f"Internal compiler error: it printed more than {MOST_OUTPUT} bytes and was stopped.",
        "stop": "The compilation was stopped.",
    }[ended.why]
    return ended.status, f"{ended.text}\n{said}" if said else ended.text


def _failure(compiler: VendorCompiler, model: Path, text: str, seconds: int) -> CompilerFailedError:
    hints = [hint for reason, hint in _EXPLANATIONS.items() if reason in text]
    said = [line.strip() for line in text.splitlines() if any(reason in line for reason in _EXPLANATIONS)]
    last = [line.strip() for line in text.splitlines() if line.strip()][-1:]
    what = excerpt("; ".join(dict.fromkeys(said)) or (last[0] if last else "it gave no reason"))
    name = f"{model}: the vendor's compiler {compiler.version}"
    if "Compilation timeout" in text:
        return CompilerTimeoutError(f"{name} did not finish within {seconds} s", hints[-1])
    return CompilerFailedError(f"{name} failed: {what}", hints[0] if hints else "atoll check names what may be wrong.")
