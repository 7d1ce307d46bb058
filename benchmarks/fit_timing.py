"""Measured latencies -> the free numbers of the host profiles, and the error on the part that was held out.

    python benchmarks/fit_timing.py             fit, print the table, write the results, the profiles' numbers, the plot
    python benchmarks/fit_timing.py --check     no fit: the error of the profiles as they are
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from timing_data import Case, cases

from atoll.target.host import Target, profile, profile_names
from atoll.timing import price

Vector = npt.NDArray[np.float64]

CHIP = ("chip.matrix_overhead", "chip.spill_overhead", "chip.depthwise_overhead", "chip.vector_bytes_per_cycle")
SMALL_BOARD = ("host.floor_ms", "bus.parameters_mb_s", "bus.input_mb_s", "bus.output_mb_s", "host.position_ns", "host.cpu_anchor_ns")
FREE = {
    "x86-pcie": ("host.floor_ms", "bus.parameters_mb_s", "bus.output_mb_s"),
    **dict.fromkeys(("sbc10w-usb3", "sbc10w-usb2", "sbc5w-usb3", "sbc5w-usb2"), SMALL_BOARD),
    **dict.fromkeys(("desktop-usb3", "pi4-usb3", "pi3-usb2", "dev-board"), ("host.floor_ms", "bus.parameters_mb_s", "host.cpu_anchor_ns")),
}
"""What is fitted per host: no more numbers than networks were measured on it."""
PRIOR = 0.02
"""Weight of a deviation by a factor e from the starting value, against the same factor in a whole sweep."""


def with_number(target: Target, key: str, value: float) -> Target:
    table, name = key.split(".")
    return replace(target, **{table: replace(getattr(target, table), **{name: value})})


def number(target: Target, key: str) -> float:
    table, name = key.split(".")
    return float(getattr(getattr(target, table), name))


def predicted(case: Case, target: Target) -> float:
    if case.old_compiler:
        target = with_number(target, "instructions.softmax_class", 0.0)
    return price(case.candidates[0][0], target).total_ms


def least_squares(residuals: Callable[[Vector], Vector], start: Vector, steps: int = 15) -> Vector:
    """Levenberg-Marquardt with numerical derivatives."""
    x, damping = start, 1e-3
    r = residuals(x)
    for _ in range(steps):
        jacobian = np.empty((len(r), len(x)))
        for i in range(len(x)):
            shifted = x.copy()
            shifted[i] += 1e-4
            jacobian[:, i] = (residuals(shifted) - r) / 1e-4
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ r
        for _ in range(8):
            trial = x - np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), gradient)
            new = residuals(trial)
            if new @ new < r @ r:
                x, r, damping = trial, new, damping / 5
                break
            damping *= 5
        else:
            break
    return x


def robust(r: Vector, width: float = 0.1) -> Vector:
    """Square roots of Huber's loss: outliers pull like a constant force."""
    size = np.abs(r)
    return np.where(size <= width, r, np.sign(r) * np.sqrt(np.maximum(2 * width * size - width * width, 0)))


def fit(targets: Mapping[str, Target], chosen: Sequence[Case], keys: Mapping[str, Sequence[str]]) -> dict[str, Target]:
    """``targets`` with the numbers ``keys`` (by profile; "" for all profiles) fitted to the cases."""
    flat = [(name, key) for name, names in keys.items() for key in names]
    first = next(iter(targets))
    start = np.log([number(targets[name or first], key) for name, key in flat])
    sizes: dict[tuple[str, str], int] = {}
    for case in chosen:
        sizes[case.profile, case.kind] = sizes.get((case.profile, case.kind), 0) + 1
    weight = np.array([1 / np.sqrt(sizes[c.profile, c.kind]) for c in chosen])

    def applied(x: Vector) -> dict[str, Target]:
        result = dict(targets)
        for (name, key), value in zip(flat, np.exp(x)):
            for each in [name] if name else list(result):
                result[each] = with_number(result[each], key, float(value))
        return result

    def residuals(x: Vector) -> Vector:
        now = applied(x)
        errors = np.array([np.log(predicted(c, now[c.profile]) / c.ms) for c in chosen])
        return np.concatenate([robust(errors) * weight, PRIOR * (x - start)])

    return applied(least_squares(residuals, start))


def table(chosen: Sequence[Case], targets: Mapping[str, Target]) -> dict[tuple[str, str], list[tuple[float, Case]]]:
    rows: dict[tuple[str, str], list[tuple[float, Case]]] = {}
    for case in chosen:
        rows.setdefault((case.profile, case.kind), []).append((predicted(case, targets[case.profile]), case))
    return rows


if __name__ == "__main__":
    single = [c for c in cases() if c.tpus == 1]
    targets = {name: profile(name) for name in profile_names()}
    fitted = [c for c in single if c.fitted]
    for _ in range(2):
        for name in targets:
            part = [c for c in fitted if c.profile == name]
            targets = fit(targets, part, {name: FREE[name]})
        targets = fit(targets, fitted, {"": CHIP})
    print({k: round(number(targets["x86-pcie"], k), 3) for k in CHIP})
    for name in targets:
        print(name, {k: round(number(targets[name], k), 3) for k in FREE[name]})
    allerr = []
    for key, rows in table([c for c in single if not c.fitted], targets).items():
        e = np.array([abs(p / c.ms - 1) for p, c in rows])
        allerr += list(e)
        print(key, len(e), "median %.1f%% p90 %.1f%%" % (100 * np.median(e), 100 * np.percentile(e, 90)), [(c.model[:28], c.ms, round(p, 2)) for p, c in rows] if key[1] == "real network" else "")
    print("all", len(allerr), np.median(allerr), np.percentile(allerr, 90))
