"""Any executable with the vendor's command line → models in files compiled by it, whatever else it does."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atoll.compiler.external.process import GRACE, MOST_OUTPUT, Ended, excerpt, run_bounded
from atoll.errors import (
    CompilerFailedError,
    CompilerInvalidError,
    CompilerMissingError,
    CompilerTimeoutError,
    FileAccessError,
    InvalidModelError,
)
from atoll.model.tflite import read_model

SECONDS = 180
"""The vendor's own default time limit."""

_VERSION_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class CommandCompiler:
    """An executable that is called as ``edgetpu_compiler -s -o DIR -t SECONDS [-d -k STEP] MODEL``.

    It need not be the vendor's: what counts is the file ``DIR/MODEL_edgetpu.tflite`` that it leaves.
    """

    path: str
    version: str
    """What it says to ``--version`` (one line, or nothing), and a hash of the file: for what says always the same."""
    search_step: int = 0
    """How many operators earlier it is to stop and try again when compilation fails (``-d -k``); 0: it does not."""
    seconds: int = SECONDS

    @property
    def identity(self) -> str:
        """Compiler, version and options: what a result depends on beside the model."""
        return f"{self.version} {' '.join(self._options())}"

    def compile(self, model: Path, directory: Path) -> Path:
        """Compile one file into ``directory``; the compiled file.

        Raises:
            CompilerTimeoutError: it did not end in time, and was killed with all that it started.
            CompilerFailedError: it failed, or left no file; the message has its output.
            CompilerMissingError: it cannot be run.
        """
        command = [self.path, "-s", "-o", str(directory), *self._options(), str(model)]
        # What is killed cannot remove its temporary files: the caller removes the directory.
        ended = _run(command, self.seconds + GRACE, {"TMPDIR": str(directory)})
        output, text = directory / f"{model.stem}_edgetpu.tflite", ended.text
        if ended.status == 0 and output.is_file():
            try:
                read_model(output)
            except (FileAccessError, InvalidModelError) as error:
                text += f"\n(and left {output.name}, which is no model: {error.message})"
            else:
                return output
        kind = CompilerTimeoutError if ended.why == "time" else CompilerFailedError
        raise kind(f"{self.path} {self._what_happened(ended)}; it printed: {excerpt(text)}")

    def _what_happened(self, ended: Ended) -> str:
        if ended.why == "time":
            return f"did not finish within {self.seconds} s"
        if ended.why == "output":
            return f"printed more than {MOST_OUTPUT} bytes and was stopped"
        if ended.status < 0:
            return f"was killed by signal {-ended.status}"
        if ended.status:
            return f"failed with status {ended.status}"
        return "said that it succeeded and left no compiled model"

    def _options(self) -> list[str]:
        search = ["-d", "-k", str(self.search_step)] if self.search_step else []
        return ["-t", str(self.seconds), *search]


def find_command(path: str, search_step: int = 0, seconds: int = SECONDS) -> CommandCompiler:
    """The compiler ``path``, a file or a command in PATH. Before version 16 the vendor's had no ``-d``.

    Raises:
        CompilerMissingError: it is not there.
        CompilerInvalidError: it is not an executable file.
    """
    found = shutil.which(path)
    if found is None:
        if Path(path).exists():
            raise CompilerInvalidError(f"{path} is not an executable file", f"Try: chmod +x {path}")
        raise CompilerMissingError(f"there is no compiler '{path}'", "Name an executable file, or a command in PATH.")
    found = str(Path(found).absolute())  # not resolved: a program may go by its name
    ended = _run([found, "--version"], _VERSION_SECONDS)
    line = next((line.strip() for line in ended.text.splitlines() if line.strip()), "") if ended.status == 0 else ""
    number = re.search(r"Edge TPU Compiler version ([0-9]{1,9})\b", line)
    if number is not None and int(number[1]) < 16:
        search_step = 0
    return CommandCompiler(found, f"{excerpt(line, 100)} {_hash(found)}", search_step, seconds)


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return "unreadable"  # executable all the same
    return digest.hexdigest()[:16]


def _run(command: list[str], seconds: float, environment: Mapping[str, str] | None = None) -> Ended:
    try:
        return run_bounded(command, seconds, environment=environment)
    except FileNotFoundError as error:
        raise CompilerMissingError(f"{command[0]} cannot be run: it, or its interpreter, is gone") from error
    except OSError as error:
        raise CompilerInvalidError(f"{command[0]} cannot be run: {error.strerror}") from error
