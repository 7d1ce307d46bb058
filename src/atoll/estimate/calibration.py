"""A few runs on a real device and a profile to start from → the profile with the numbers of that device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from atoll.errors import UsageError
from atoll.estimate.demand import Demand
from atoll.estimate.time_model import MAX_CLOCK_MHZ, timing_of
from atoll.hardware.buses import BUSES
from atoll.hardware.host import Target

Vector = npt.NDArray[np.float64]

FREE = ("host.floor_ms", "bus.parameters_mb_s", "bus.input_mb_s", "bus.output_mb_s")
"""What is fitted by default."""
FREE_LOADING = ("bus.load_fixed_ms", "bus.load_mb_s")
"""Fitted too if first inferences were measured."""
_PRIOR = 0.02
"""A number that the runs say nothing about stays what it was: being off by a factor e costs 2 % of a run."""
_SMALLEST = 1e-4
"""Numbers are fitted as logarithms; a start of zero would stay there."""


@dataclass(frozen=True, slots=True)
class MeasuredDemand:
    """One model on the real device."""

    demand: Demand
    ms: float
    """Mean latency with the parameters cached."""
    first_ms: float | None = None
    """The first inference after another model."""
    instruction_bytes: tuple[int, ...] | None = None
    """Per region, as the compiled file has them."""
    clock_mhz: float = MAX_CLOCK_MHZ


def number_of(target: Target, key: str) -> float:
    """The number ``key`` (``bus.input_mb_s``) of a profile."""
    table, name = key.split(".")
    return float(getattr(getattr(target, table), name))


def with_numbers(target: Target, values: Mapping[str, float], source: str | None = None) -> Target:
    """The profile with some numbers replaced, and ``source`` given as where they come from."""
    for key, value in values.items():
        table, name = key.split(".")
        target = replace(target, **{table: replace(getattr(target, table), **{name: float(value)})})
    if source is None:
        return target
    return replace(target, sources=MappingProxyType({**target.sources, **dict.fromkeys(values, source)}))


def fit_numbers(
    measurements: Sequence[MeasuredDemand], start: Target, free: Sequence[str] = FREE, name: str = "calibrated"
) -> Target:
    """The profile that explains the measurements best (least squares of relative errors).

    The chip's own numbers stay as they are; a rate is at most what the wires carry.

    Raises:
        UsageError: fewer than two runs, or a time that is not above 0.
    """
    if len(measurements) < 2:
        raise UsageError(
            f"{len(measurements)} runs are too few to calibrate a host",
            "Measure at least two models of different size.",
        )
    for run in measurements:
        if not run.ms > 0 or (run.first_ms is not None and not run.first_ms > 0):
            raise UsageError(f"a measured time of {run.ms} ms ({run.first_ms} at first) is not possible")
    keys = (*free, *(FREE_LOADING if any(run.first_ms for run in measurements) else ()))
    ceilings = {key: BUSES[start.bus.kind].line_rate_mb_s for key in keys if key.endswith("_mb_s")}
    origin = np.log([max(number_of(start, key), _SMALLEST) for key in keys])

    def target_of(x: Vector) -> Target:
        values = {key: min(float(v), ceilings.get(key, np.inf)) for key, v in zip(keys, np.exp(x))}
        return with_numbers(start, values, f"calibrated from {len(measurements)} runs")

    def residuals(x: Vector) -> Vector:
        target, errors = target_of(x), []
        for run in measurements:
            timing = timing_of(run.demand, target, clock_mhz=run.clock_mhz, instruction_bytes=run.instruction_bytes)
            errors.append(timing.total_ms / run.ms - 1)
            if run.first_ms is not None:
                errors.append(timing.first_ms / run.first_ms - 1)
        return np.concatenate([errors, _PRIOR * (x - origin)])

    return replace(target_of(least_squares(residuals, origin)), name=name)


def least_squares(residuals: Callable[[Vector], Vector], start: Vector, steps: int = 20) -> Vector:
    """The minimum of ``Σ residuals(x)²`` near ``start``: Levenberg-Marquardt with numerical derivatives."""
    x, r, damping, width = start, residuals(start), 1e-3, 1e-4
    for _ in range(steps):
        shifted = [residuals(x + width * unit) for unit in np.eye(len(x))]
        jacobian = (np.stack(shifted, axis=1) - r[:, None]) / width
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ r
        for _ in range(8):
            trial = x - np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), gradient)
            new = residuals(trial)
            if new @ new < r @ r:
                x, r, damping = trial, new, damping / 5
                break
            damping *= 5
        else:
            break  # no step of any length improves
    return x
