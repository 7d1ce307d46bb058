"""A function that compiles and measures one segment → the same function, which never does so twice."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from atoll.errors import FileAccessError, PartitionError
from atoll.files import claim_output, write_file, writing

SCHEMA = "atoll.measurements/1"


@dataclass(frozen=True, slots=True)
class Failure:
    """A segment that does not compile or run, and what the compiler or the device said."""

    reason: str


Measured = float | Failure
"""Seconds per inference, or why there are none."""
Measure = Callable[[int, int], Measured]
"""``measure(start, end)`` compiles operators ``start ... end - 1`` and runs them on a device. It raises an
:class:`atoll.errors.AtollError` when it cannot go on at all (no device is left): what was measured stays remembered."""
Store = MutableMapping[str, Measured]


FIRST_FAILURES = 5
"""So many segments that all fail, the first ones: then the shortest are tried, which tell whether any can be made."""


class Recorder:
    """Measures each segment once within one search, and knows what the others cost.

    While it ``presumes_failures``, a segment that contains one that failed is taken to fail too, and not measured: what
    a compiler cannot do with some operators it cannot do with more of them, and otherwise a search would try hundreds.
    A search that finds nothing sets it to False and tries again. ``positions`` are those of the search: where the first
    segments fail, and the shortest ones at the start, the middle and the end of the model too, it is given up.
    """

    def __init__(self, measure: Measure, positions: Sequence[int]) -> None:
        self._measure, self._positions = measure, positions
        self.measured: dict[tuple[int, int], Measured] = {}
        self.presumes_failures = True

    def __call__(self, start: int, end: int) -> float:
        """Seconds; inf for a segment that failed, or is presumed to.

        Raises:
            PartitionError: nothing that was tried can be compiled and measured.
        """
        if (start, end) not in self.measured:
            if self.presumes_failures and any(start <= s and e <= end for s, e in self.failures):
                return math.inf
            self.measured[start, end] = self._measure(start, end)
            if len(self.measured) == FIRST_FAILURES == len(self.failures):
                self._require_possible()
        found = self.measured[start, end]
        return math.inf if isinstance(found, Failure) else found

    def _require_possible(self) -> None:
        pairs = list(itertools.pairwise(self._positions))
        for short in (pairs[0], pairs[len(pairs) // 2], pairs[-1]):
            if short not in self.measured:
                self.measured[short] = self._measure(*short)
            if not isinstance(self.measured[short], Failure):
                return
        raise PartitionError(
            f"none of {len(self.failures)} segments could be compiled and measured, not even the shortest",
            f"Is the compiler one? {self.last_failure()}",
        )

    @property
    def calls(self) -> int:
        """How many segments were measured."""
        return len(self.measured)

    @property
    def slowest(self) -> float:
        """Seconds of the slowest segment so far; 0 when none was measured."""
        return max((found for found in self.measured.values() if not isinstance(found, Failure)), default=0.0)

    @property
    def failures(self) -> dict[tuple[int, int], Failure]:
        """The segments that failed."""
        return {segment: found for segment, found in self.measured.items() if isinstance(found, Failure)}

    def last_failure(self) -> str:
        """How many segments failed, and what the last of them said; nothing when none did."""
        reasons = [failure.reason for failure in self.failures.values()]
        return f"{len(reasons)} segments failed; the last one said: {reasons[-1]}" if reasons else ""


def remembered(measure: Measure, store: Store, key: Callable[[int, int], str]) -> Measure:
    """``measure``, asked only for segments whose key is not in the store; its answers go there at once."""

    def look_up(start: int, end: int) -> Measured:
        name = key(start, end)
        if name not in store:
            store[name] = measure(start, end)
        return store[name]

    return look_up


def measurement_key(content: bytes | memoryview, compiler: str, kind: str, bus: str) -> str:
    """The name of one measurement: the segment's model file, the compiler with its version and options, the kind of
    device and the bus. SHA-256, hexadecimal."""
    digest = hashlib.sha256()
    for part in (compiler.encode(), kind.encode(), bus.encode(), content):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


class MeasurementFile(MutableMapping[str, Measured]):
    """Measurements in a JSON file that several processes may share.

    Every change is written aside and renamed, under a lock and on top of what others have written meanwhile.

    Raises:
        PartitionError: the file is not one of measurements.
        OutputError: it cannot be written.
        UsageError: it is another file of this command (:func:`atoll.files.one_command`).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        claim_output(self.path)
        self._content = self._read()

    def __getitem__(self, key: str) -> Measured:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __setitem__(self, key: str, value: Measured) -> None:
        self._change(key, value)

    def __delitem__(self, key: str) -> None:
        del self._content[key]
        self._change(key, None)

    def _change(self, key: str, value: Measured | None) -> None:
        with writing(self.path), contextlib.ExitStack() as stack:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(f"{self.path}.lock"))
            content = {**self._content, **self._read()}
            if value is None:
                content.pop(key, None)
            else:
                content[key] = value
            rows = {k: _as_json(v) for k, v in sorted(content.items())}
            write_file(self.path, json.dumps({"schema": SCHEMA, "measurements": rows}, indent=1) + "\n", again=True)
            self._content = content

    def _read(self) -> dict[str, Measured]:
        try:
            document = json.loads(self.path.read_bytes())
            if document["schema"] != SCHEMA:
                raise ValueError(f"its schema is {document['schema']!r}, not {SCHEMA!r}")
            return {str(key): _from_json(row) for key, row in document["measurements"].items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise FileAccessError(
                f"the measurements in {self.path} cannot be read: {error.strerror or error}",
                "Name another file: --store.",
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PartitionError(
                f"{self.path} is not a file of measurements: {error}", "Move it away: it will be made anew."
            ) from error


def _as_json(value: Measured) -> dict[str, Any]:
    return {"failure": value.reason} if isinstance(value, Failure) else {"seconds": value}


def _from_json(row: dict[str, Any]) -> Measured:
    if "failure" in row:
        return Failure(str(row["failure"]))
    seconds = float(row["seconds"])
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a measurement of {seconds} seconds")
    return seconds
