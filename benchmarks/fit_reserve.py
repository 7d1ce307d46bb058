"""Measured capacities in ../shared/data → coefficients of ``atoll.compiler.memory.reserve``, with its held-out error.

Prints a table; writes nothing. Run: ``python benchmarks/fit_reserve.py``. Observations are bounds on R, the rows per
tile that the compiler keeps back, against x, the rows per tile of the largest input.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atoll.compiler.memory.reserve import input_rows
from atoll.hardware.generations import generation

DATA = Path(__file__).parents[2] / "shared" / "data"
ROWS, TILES, MIB = 2048, 16, 4096
"""Rows per tile, tiles, rows per MiB."""


@dataclass(frozen=True)
class Observation:
    """``low <= R <= high`` (rows per tile) for an executable whose largest input takes ``x`` rows per tile."""

    what: str
    x: float
    low: float
    high: float

    def error(self, rows: float) -> float:
        """Rows by which a prediction misses the bounds."""
        return max(self.low - rows, rows - self.high, 0.0)


SMALL = 30.0
"""Below this many rows per tile inputs have a constant reserve; the fit is over the larger ones."""

IMAGE = {224: (1, 224, 224, 3), 300: (1, 300, 300, 3), 320: (1, 320, 320, 3), 512: (1, 512, 512, 3)}

STATED = {
    # ../shared/facts/memory.md, "What the reports count".
    "16": [
        ("MobileNetV1 1.0", IMAGE[224], 67, 67),
        ("SSD front segment", IMAGE[300], 118, 118),
        ("SSD middle segment", (1, 10, 10, 1024), 24, 49),
        ("SSD last segment", (1, 19, 19, 512), 67, 69),
    ],
    "2.0": [
        ("MobileNetV1 0.25", (1, 128, 128, 3), 3, 3),
        ("MobileNetV1 0.5", (1, 160, 160, 3), 80, 80),
        ("MobileNetV1 0.75", (1, 192, 192, 3), 144, 144),
        ("MobileNetV1 1.0", IMAGE[224], 224, 224),
        ("MobileNetV2 1.0", IMAGE[224], 280, 280),
        ("deeplab, either", (1, 513, 513, 3), 342, 442),
    ],
}

LOGGED = {
    # Entries of vendor_logs.json whose input size is public: (part of the model's name, version) -> shape.
    "16": [("efficientdet_lite0", "16", IMAGE[320]), ("efficientdet_lite3_512", "16", IMAGE[512])],
    "15": [
        ("mobilenet_v2_1.0_224_quant", "15", IMAGE[224]),
        ("mobilenet_ssd_v2_coco", "15", IMAGE[300]),
        ("ggcnn", "15", (1, 300, 300, 1)),
    ],
}


def stated(generation: str) -> list[Observation]:
    return [Observation(what, input_rows([shape]), low, high) for what, shape, low, high in STATED.get(generation, [])]


def logged(generation: str) -> list[Observation]:
    """Used + remaining, each printed to 0.01 MiB, is the capacity 16 · (2048 - R) rows."""
    found = []
    for entry in json.loads((DATA / "vendor_logs.json").read_text()):
        for part, version, shape in LOGGED.get(generation, []):
            for model in entry["models"]:
                name, remaining = model.get("input_model") or "", model.get("on_chip_remaining")
                if part in name and remaining and (entry["version"] or "").startswith(version):
                    capacity = (model["on_chip_used"]["bytes_approx"] + remaining["bytes_approx"]) / 256
                    slack = 0.01 * MIB / TILES
                    rows = ROWS - capacity / TILES
                    found.append(Observation(name, input_rows([shape]), rows - slack, rows + slack))
    return found


def swept() -> list[Observation]:
    """Bounds from the convolution nets (compiler 16): what a segment caches fits, one layer more does not."""
    bounds: dict[int, list[float]] = {}
    for filters, segment, on, off in sweep_segments():
        layer = math.ceil(filters / 64) * (2 + 9 * math.ceil(filters / 4))  # no bias row: the biases are zero
        whole = round(on * MIB / layer) * layer
        known = bounds.setdefault(filters if segment else 3, [0.0, ROWS])
        known[0] = max(known[0], ROWS - (whole + layer) / TILES if off else 0.0)
        known[1] = min(known[1], ROWS - whole / TILES)
    found = [
        Observation(f"convolutions on 64×64×{c}", input_rows([(1, 64, 64, c)]), low, high)
        for c, (low, high) in sorted(bounds.items())
    ]
    # Loose bounds say nothing: keep the three tightest on either side, and the one small input.
    large = [item for item in found if item.x >= SMALL]
    lowest, highest = sorted(large, key=lambda item: -item.low)[:3], sorted(large, key=lambda item: item.high)[:3]
    return lowest + highest + [item for item in found if item.x == input_rows([(1, 64, 64, 3)])]


def sweep_segments() -> Iterator[tuple[int, int, float, float]]:
    """Filters, segment, MiB cached and MiB streamed of every segment of the sweeps."""
    with (DATA / "sweeps" / "conv_1tpu.csv").open() as file:
        for line in csv.DictReader(file):
            yield int(line["filters"]), 0, float(line["on_MiB"]), float(line["off_MiB"])
    with (DATA / "sweeps" / "conv_segments.csv").open() as file:
        for line in csv.DictReader(file):
            on, off = (json.loads(line[f"{side}_chip_MiB_per_segment"]) for side in ("on", "off"))
            if len(on) > 1:  # the single segments of this file hold the first layer only
                for segment, sizes in enumerate(zip(on, off)):
                    yield int(line["filters"]), segment, *sizes


def small() -> list[Observation]:
    """Compiler 16 on small inputs whose shape is not public but cannot be large (26 KiB of model, 11 operators)."""
    found = []
    for entry in json.loads((DATA / "vendor_logs.json").read_text()):
        for model in entry["models"]:
            name = model.get("input_model") or ""
            if "CNN_raws" in name and (entry["version"] or "").startswith("16"):
                capacity = (model["on_chip_used"]["bytes_approx"] + model["on_chip_remaining"]["bytes_approx"]) / 256
                rows = ROWS - capacity / TILES
                found.append(Observation(name, 1.0, rows - 2.56, rows + 2.56))
    # fc_1tpu.csv: with 395-row blocks 76 of 80 places are needed and taken, with 405-row blocks 79 of 80 are not;
    # with 495-row blocks 63 of 64 are taken (each tile then holds 4 and at least 32 rows of the first layer).
    return [*found, Observation("fully connected 64 → N", 0.25, 0.0, ROWS - 4 * 495 - 32)]


FORMS: dict[str, Callable[[float], list[float]]] = {
    "a": lambda _: [1.0],
    "a + b·x": lambda x: [1.0, x],
    "a + b·sqrt(x)": lambda x: [1.0, math.sqrt(x)],
    "a + b·ln(x)": lambda x: [1.0, math.log(x)],
}


def fit(observations: Sequence[Observation], form: Callable[[float], list[float]]) -> np.ndarray:
    """Least squares where a prediction within the bounds costs nothing, by moving targets into the bounds."""
    matrix = np.array([form(item.x) for item in observations])
    low, high = (np.array([getattr(item, side) for item in observations]) for side in ("low", "high"))
    targets = np.clip(np.full(len(observations), 100.0), low, high)
    for _ in range(500):
        coefficients = np.linalg.lstsq(matrix, targets, rcond=None)[0]
        targets = np.clip(matrix @ coefficients, low, high)
    return coefficients


def held_out(observations: Sequence[Observation], form: Callable[[float], list[float]]) -> list[float]:
    """Errors in rows per tile on each observation, predicted from the others."""
    errors = []
    for index, item in enumerate(observations):
        others = [*observations[:index], *observations[index + 1 :]]
        errors.append(item.error(max(0.0, float(fit(others, form) @ form(item.x)))))
    return errors


def main() -> None:
    sets = {name: stated(name) + logged(name) for name in ("16", "15", "2.0")}
    sets["16"] += swept() + small()
    for name, everything in sets.items():
        threshold = SMALL if name == "16" else 0.0
        observations = [item for item in everything if item.x >= threshold]
        print(f"compiler {name}: {len(observations)} observations")
        for label, form in FORMS.items():
            coefficients, errors = fit(observations, form), held_out(observations, form)
            pinned = [error for item, error in zip(observations, errors) if item.high - item.low < 30]
            mean, worst = sum(pinned) / len(pinned), max(errors)
            numbers = ", ".join(f"{value:.2f}" for value in coefficients)
            held = f"held out: mean {mean:.0f} rows over {len(pinned)} exact ones, worst of all {worst:.0f}"
            print(f"  R = {label:14} [{numbers}]  {held}")
        rule = generation(name).reserve
        print(f"  in use: {rule}")
        for item in everything:
            rows = max(rule.floor, rule.constant + rule.slope * math.log(item.x))
            bounds = f"{item.low:.0f}..{item.high:.0f}"
            print(f"    {item.what:50} x {item.x:6.1f}  R {bounds:10} rule {rows:4.0f}  error {item.error(rows):3.0f}")


if __name__ == "__main__":
    main()
