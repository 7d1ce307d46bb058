"""Any executable with the vendor's command line → models in files compiled by it, whatever else it does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import FileAccessError, InvalidModelError
from atoll.formats.tflite import read_model
from atoll.vendor.errors import CompilerFailedError, CompilerInvalidError, CompilerMissingError, CompilerTimeoutError

SECONDS = 180
"""The vendor's own default time limit."""

_GRACE = 10.0
"""Seconds more than the limit that it gets to notice the limit itself."""

_VERSION_SECONDS = 20.0
_MOST_OUTPUT = 1 << 20
"""Bytes after which a command that prints without end is stopped."""
_SHOWN = 2000
_SHOWN_LINES = 24
"""Characters and lines of its output that a message keeps, half of them from the end."""


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
        code, text = _run(command, self.seconds + _GRACE, directory)
        output = directory / f"{model.stem}_edgetpu.tflite"
        if code == 0 and output.is_file():
            try:
                read_model(output)
            except (FileAccessError, InvalidModelError) as error:
                text += f"\n(and left {output.name}, which is no model: {error.message})"
            else:
                return output
        what = {
            0: "said that it succeeded and left no compiled model",
            _TIMEOUT: f"did not finish within {self.seconds} s",
            _FLOOD: f"printed more than {_MOST_OUTPUT} bytes and was stopped",
        }.get(code, f"failed with status {code}" if code > 0 else f"was killed by signal {-code}")
        kind = CompilerTimeoutError if code == _TIMEOUT else CompilerFailedError
        raise kind(f"{self.path} {what}; it printed: {_excerpt(text)}")

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
    code, text = _run([found, "--version"], _VERSION_SECONDS)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "") if code == 0 else ""
    number = re.search(r"Edge TPU Compiler version ([0-9]{1,9})\b", line)
    if number is not None and int(number[1]) < 16:
        search_step = 0
    return CommandCompiler(found, f"{_excerpt(line, 100)} {_hash(found)}", search_step, seconds)


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return "unreadable"  # executable all the same
    return digest.hexdigest()[:16]


def _excerpt(text: str, most: int = _SHOWN) -> str:
    """The beginning and the end of a text, with what a terminal would act on made visible."""
    clean = "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
    lines = [line.rstrip() for line in clean.splitlines() if line.strip()]
    if len(lines) > _SHOWN_LINES:
        lines = [*lines[: _SHOWN_LINES // 2], "...", *lines[-_SHOWN_LINES // 2 :]]
    short = "\n".join(lines)
    if len(short) > most:
        short = f"{short[: most // 2]}\n...\n{short[-most // 2 :]}"
    return short or "nothing"


_TIMEOUT, _FLOOD = 1 << 20, (1 << 20) + 1
"""Beside the exit codes that a process can have."""


def _run(command: list[str], seconds: float, temporary: Path | None = None) -> tuple[int, str]:
    """Exit code (or one of the two above) and output. The command and what it started are ended with it.

    Its temporary files go to ``temporary``: what is ended cannot remove them.
    """
    environment = {**os.environ, "TMPDIR": str(temporary)} if temporary else None
    # A file, not a pipe: a child that outlives the command would keep a pipe open, and one that floods it our memory.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
        except FileNotFoundError as error:
            raise CompilerMissingError(f"{command[0]} cannot be run: it, or its interpreter, is gone") from error
        except OSError as error:
            raise CompilerInvalidError(f"{command[0]} cannot be run: {error.strerror}") from error
        try:
            code = _wait(process, output.fileno(), time.monotonic() + seconds)
        finally:
            _kill(process)
            process.wait()
        size = os.fstat(output.fileno()).st_size
        output.seek(0)
        text = output.read(_MOST_OUTPUT // 2)
        if size > _MOST_OUTPUT:
            output.seek(-_MOST_OUTPUT // 2, os.SEEK_END)
            text += b"\n"
        text += output.read(_MOST_OUTPUT // 2)
    return code, text.decode(errors="replace")


def _wait(process: subprocess.Popen[bytes], output: int, deadline: float) -> int:
    pause = 0.002
    while process.poll() is None:
        if os.fstat(output).st_size > _MOST_OUTPUT:
            return _FLOOD
        if time.monotonic() > deadline:
            return _TIMEOUT
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return process.returncode


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:  # its children, too
            os.killpg(process.pid, signal.SIGKILL)
