"""PATH, a name, or an environment variable → the vendor's compiler, or any program with its command line."""

from __future__ import annotations

import functools
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import CompilerInvalidError, CompilerMissingError

VARIABLE = "ATOLL_EDGETPU_COMPILER"
"""Environment variable that names the vendor's compiler; ``none`` when there shall be none."""

NAME = "edgetpu_compiler"

INSTALL = (
    "It exists for x86-64 Debian and Ubuntu: add Coral's package source (coral.ai/docs/edgetpu/compiler), then: "
    f"sudo apt install edgetpu-compiler. One elsewhere is named by {VARIABLE}."
)

_VERSION_SECONDS = 60.0
_VERSION = re.compile(r"Edge TPU Compiler version ([0-9]{1,9}(?:\.[0-9]{1,12}){1,3})")
_LONGEST = 100
"""Characters of what a program says of itself that are kept."""


@dataclass(frozen=True, slots=True)
class Program:
    """An executable with the vendor's command line."""

    path: str
    version: str
    """The version of the vendor's compiler, such as 16.0.384591198; of another program its answer to ``--version``."""


def find_compiler(chosen: str | None = None) -> Program | None:
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


def find_program(path: str) -> Program:
    """Any program with the vendor's command line: a file, or a command in PATH. What counts are the files it leaves.

    Raises:
        CompilerMissingError: it is not there.
        CompilerInvalidError: it is not an executable file.
    """
    from atoll.compiler.external.process import excerpt

    found = shutil.which(path)
    if found is None:
        if Path(path).exists():
            raise CompilerInvalidError(f"{path} is not an executable file", f"Try: chmod +x {path}")
        raise CompilerMissingError(f"there is no compiler '{path}'", "Name an executable file, or a command in PATH.")
    found = str(Path(found).absolute())  # not resolved: a program may go by its name
    status, _, text = _ask(found, trace=False)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "") if status == 0 else ""
    match = _VERSION.match(line)
    return Program(found, match[1] if match else excerpt(line, _LONGEST))


class _OwnCommandError(CompilerInvalidError):
    """The drop-in command of the same name."""


@functools.lru_cache(maxsize=32)
def _examine(path: str) -> Program:
    """Ask the command for its version. A Python program names the modules it loads, and so gives ours away."""
    own = f"{path} is atoll's own command, not the vendor's compiler"
    if _is_script_of_ours(path):
        raise _OwnCommandError(own, INSTALL)
    status, why, text = _ask(path, trace=True)
    if why == "time":
        raise CompilerInvalidError(f"{path} --version does not answer", INSTALL)
    if re.search(r"^import time:.*\batoll\.", text, re.MULTILINE):
        raise _OwnCommandError(own, INSTALL)
    match = _VERSION.search(text)
    if match is None or status:
        lines = (line.strip() for line in text.splitlines() if not line.startswith("import time:"))
        said = next((line for line in lines if line), "nothing")[:80]
        raise CompilerInvalidError(f"{path} is not the vendor's compiler: it says {said!r}", INSTALL)
    return Program(path, match[1])


def _ask(path: str, *, trace: bool) -> tuple[int, str, str]:
    """What the program says to ``--version``: status, why it was ended, text."""
    # Most find no program: they do not need what runs one, whose import takes as long as a small model.
    from atoll.compiler.external.process import run_bounded

    environment = {"PYTHONPROFILEIMPORTTIME": "1"} if trace else {}
    try:
        ended = run_bounded([path, "--version"], _VERSION_SECONDS, environment=environment)
    except OSError as error:
        raise CompilerInvalidError(
            f"{path} cannot be run: {error.strerror}; the vendor's compiler is for x86-64 Linux only", INSTALL
        ) from error
    return ended.status, ended.why, ended.text


def _is_script_of_ours(path: str) -> bool:
    """Whether it is the script that pip wrote for our command: known without the 0.5 s of running it."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(2048)
    except OSError:
        return False  # running it says why
    return head.startswith(b"#!") and b"from atoll.vendor_tools.entry_points import" in head
