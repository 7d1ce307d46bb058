"""Measured runs in a JSON file → a target with the numbers of the host that they were measured on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.errors import UsageError
from atoll.estimate import MAX_CLOCK_MHZ, timing_of
from atoll.estimate.calibration import MeasuredDemand, fit_numbers
from atoll.estimate.workload import Workload
from atoll.files import map_file
from atoll.hardware.host import CLOCKS_MHZ, Target

_MOST_BYTES = 1 << 20
_MOST_RUNS = 1000
_MOST = 1e6
"""Milliseconds, a quarter of an hour: more is seconds or nanoseconds mistaken for them, or no latency at all."""
_KEYS = {"model", "original", "ms", "first_ms", "clock_mhz"}
_EXAMPLE = 'Write [{"model": "a_edgetpu.tflite", "ms": 2.1, "first_ms": 12.4}, ...].'


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One model on a real Edge TPU."""

    model: Path
    """Compiled or not."""
    ms: float
    """Latency of an inference, operators on the CPU included, with the parameters cached; 0: yet to be measured."""
    first_ms: float | None = None
    """The first inference after another model was on the chip."""
    original: Path | None = None
    """The uncompiled model of a vendor-compiled file."""
    clock_mhz: float = MAX_CLOCK_MHZ


@dataclass(frozen=True, slots=True)
class RunFit:
    """A run as measured, as the target modelled it before, and as it does now."""

    run: MeasuredRun
    before_ms: float
    after_ms: float

    @property
    def error(self) -> float:
        """Relative, of what the fitted target models. Not a held-out error: the fit knew the run."""
        return self.after_ms / self.run.ms - 1


def read_runs(path: str | Path, *, may_lack_times: bool = False) -> tuple[MeasuredRun, ...]:
    """The runs of a JSON file: a list of objects with ``model`` and ``ms``, and if known ``first_ms``, ``original``
    and ``clock_mhz``. Paths are relative to the file; times are in ms.

    Args:
        path: The file.
        may_lack_times: ``ms`` may be left out: whoever asked measures it.

    Raises:
        FileAccessError: the file cannot be read.
        UsageError: it does not hold such a list.
    """
    content = map_file(path)
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{path} has {len(content)} bytes, too many for a list of runs", "Is it another file?")
    try:
        entries = json.loads(bytes(content).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}", _EXAMPLE) from error
    if not isinstance(entries, list) or len(entries) > _MOST_RUNS:
        raise UsageError(f"{path} is not a list of at most {_MOST_RUNS} runs", _EXAMPLE)
    runs = [_run(entry, f"{path}: run {number}", Path(path).parent) for number, entry in enumerate(entries)]
    for number, run in enumerate(runs):
        if not run.ms and not may_lack_times:
            raise UsageError(f"{path}: run {number}: 'ms' is missing", f"{_EXAMPLE} Or measure it: --device.")
    return tuple(runs)


def _run(entry: Any, where: str, folder: Path) -> MeasuredRun:
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {entry!r:.40}, not an object", _EXAMPLE)
    unknown = sorted(entry.keys() - _KEYS)
    if unknown:
        raise UsageError(f"{where}: '{unknown[0]}' is not a known key", f"Known are {', '.join(sorted(_KEYS))}.")
    model, original = (_path(entry, key, where, folder) for key in ("model", "original"))
    ms, first, clock = (_positive(entry, key, where) for key in ("ms", "first_ms", "clock_mhz"))
    if model is None:
        raise UsageError(f"{where}: 'model' is missing", _EXAMPLE)
    if clock is not None and clock not in CLOCKS_MHZ:
        known = ", ".join(f"{mhz:g}" for mhz in CLOCKS_MHZ)
        raise UsageError(f"{where}: the Edge TPU has no clock of {clock:g} MHz", f"It has {known}.")
    return MeasuredRun(model, ms or 0.0, first, original, clock or MAX_CLOCK_MHZ)


def _path(entry: dict[str, Any], key: str, where: str, folder: Path) -> Path | None:
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise UsageError(f"{where}: '{key}' is {value!r:.40}, not a path", _EXAMPLE)
    return folder / value


def _positive(entry: dict[str, Any], key: str, where: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    # An int of a thousand digits has no float: compare before converting.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST:
        raise UsageError(
            f"{where}: '{key}' is {value!r:.40}", "Give a number above 0 and up to 1e6, in milliseconds or MHz."
        )
    return float(value)


def fit_target(
    runs: Sequence[MeasuredRun], workloads: Sequence[Workload], start: Target, name: str
) -> tuple[Target, tuple[RunFit, ...]]:
    """The target that explains the runs best, and how well it does.

    Args:
        runs: At least two, with their times.
        workloads: What each run asks of the Edge TPU, in the order of the runs.
        start: The target that the fit starts from; what the runs do not tell stays as it is there.
        name: Of the new target.

    Raises:
        UsageError: fewer than two runs.
    """
    measured = [
        MeasuredDemand(work.demand, run.ms, run.first_ms, work.instruction_bytes, run.clock_mhz)
        for run, work in zip(runs, workloads)
    ]
    target = fit_numbers(measured, start, name=name)

    def modelled_ms(one: MeasuredDemand, by: Target) -> float:
        sizes = one.instruction_bytes
        return timing_of(one.demand, by, clock_mhz=one.clock_mhz, instruction_bytes=sizes).total_ms

    fits = (RunFit(run, modelled_ms(one, start), modelled_ms(one, target)) for run, one in zip(runs, measured))
    return target, tuple(fits)
