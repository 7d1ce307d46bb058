"""A library of delegates -> the size of a tensor in its eyes, found out by trying, and remembered.

What was found is kept by the library's SHA-256 and LiteRT's version in a small file, so that the next process needs no
trial. Nothing depends on that file: a damaged one counts as empty, and one that cannot be written is done without.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from atoll.device.real.context_view import TENSOR_SIZES, TensorBytes
from atoll.device.real.library import library_file

VARIABLE = "ATOLL_CACHE_DIR"
"""Environment variable: the folder for what atoll remembers from one run to the next."""

SCHEMA = "layouts/1"
_NAME = "layouts.json"
_MOST_LIBRARIES, _MOST_BYTES = 64, 1 << 16

_log = logging.getLogger("atoll")


@dataclass(frozen=True, slots=True)
class TrialVerdict:
    """What a library and a LiteRT were seen to do together."""

    tensor_bytes: TensorBytes
    """With which size of tensors the adapter works."""
    plain: str = ""
    """What happens without the adapter: ``works``, ``luck`` (it came through, with structs that end before LiteRT's),
    or how it failed; "" when it was not tried."""


def cache_file() -> Path:
    """Where verdicts are kept."""
    folder = os.environ.get(VARIABLE)
    if folder:
        return Path(folder) / _NAME
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "atoll" / _NAME
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/atoll" / _NAME
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atoll" / _NAME


def remembered(library: str) -> TrialVerdict | None:
    """What was found for this library, with this LiteRT, here or in an earlier process."""
    key = _key(library)
    return _read().get(key) or _here.get(key)


def remember(library: str, verdict: TrialVerdict) -> None:
    """Keep it for the next time."""
    key = _key(library)
    _here[key] = verdict
    if not key.startswith(_UNKNOWN):
        _change(key, verdict)


def forget(library: str) -> None:
    """Try again the next time."""
    key = _key(library)
    _here.pop(key, None)
    if key in _read():
        _change(key, None)


_UNKNOWN = "?"
_here: dict[str, TrialVerdict] = {}
"""What this process found, where the file cannot be written."""


def _key(library: str) -> str:
    path = library_file(library)
    litert = f"LiteRT {version('ai-edge-litert')}"
    if path is None:
        return f"{_UNKNOWN}{library} {litert}"
    status = path.stat()
    return f"{_digest(str(path), status.st_size, status.st_mtime_ns, status.st_ino)} {litert}"


@functools.lru_cache(maxsize=8)
def _digest(path: str, _size: int, _time: int, _inode: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _read() -> dict[str, TrialVerdict]:
    """All that can be understood; the newest last."""
    try:
        with cache_file().open("rb") as file:
            content = json.loads(file.read(_MOST_BYTES))
        entries = content["libraries"] if content["schema"] == SCHEMA else {}
        return {key: found for key, entry in entries.items() if (found := _verdict(entry)) is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _verdict(entry: Any) -> TrialVerdict | None:
    if not isinstance(entry, dict) or entry.keys() != {"tensor_bytes", "plain"}:
        return None
    size, plain = entry["tensor_bytes"], entry["plain"]
    if type(size) is not int or size not in TENSOR_SIZES or not isinstance(plain, str) or len(plain) > 200:
        return None
    return TrialVerdict(size, plain)


def _change(key: str, verdict: TrialVerdict | None) -> None:
    libraries = _read()
    libraries.pop(key, None)
    if verdict is not None:
        libraries[key] = verdict
    kept = {name: asdict(found) for name, found in list(libraries.items())[-_MOST_LIBRARIES:]}
    path = cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=_NAME, dir=path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"schema": SCHEMA, "libraries": kept}, file, indent=1)
            Path(aside).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(aside).unlink()
            raise
    except OSError as error:
        _log.debug("%s cannot be written: %s", path, error)
