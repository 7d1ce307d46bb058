"""Measured latencies -> the free numbers of the host profiles, and the error on the part that was held out.

    python benchmarks/fit_timing.py --fit       fit, write the numbers into the profiles, then as below
    python benchmarks/fit_timing.py             error of the profiles: results/timing.json, table and plot in docs/,
                                                and hosts/held-out.json, which every prediction cites

The split is that of ``timing_data.cases``; the fit reads nothing of the held-out part (docs/timing.md says who did).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from timing_data import Case, cases

from atoll.estimate import pipeline_timing, timing_of
from atoll.estimate.calibration import Vector, least_squares, number_of, with_numbers
from atoll.hardware import host
from atoll.hardware.host import Target, profile, profile_names

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "timing.json"
PLOT = ROOT / "docs" / "images" / "timing-scatter.svg"
DOC = ROOT / "docs" / "timing.md"
PROFILES = Path(host.__file__).parent / "hosts"
HELD_OUT = PROFILES / "held-out.json"

FLOOR, PARAMETERS, INPUT, OUTPUT = "host.floor_ms", "bus.parameters_mb_s", "bus.input_mb_s", "bus.output_mb_s"
POSITION, ANCHOR = "host.position_ns", "host.cpu_anchor_ns"
CHIP: Mapping[str, float] = {
    "chip.matrix_overhead": 1.056,
    "chip.spill_overhead": 1.21,
    "chip.depthwise_overhead": 1.23,
    "chip.vector_bytes_per_cycle": 15.0,
}
"""The same for all hosts; starts from the prototype of ../shared/facts/timing.md, as below."""
PIPELINE: Mapping[str, float] = {
    "host.stage_ms": 0.244,
    "host.boundary_2": 1.4,
    "host.boundary_3": 1.2,
    "host.boundary_4": 1.0,
}
FREE: Mapping[str, Mapping[str, float]] = {
    "x86-pcie": {FLOOR: 0.073, PARAMETERS: 385, OUTPUT: 82},
    "dev-board": {FLOOR: 0.41, PARAMETERS: 380, ANCHOR: 1200},
    "desktop-usb3": {FLOOR: 0.31, PARAMETERS: 469, ANCHOR: 300},
    "pi4-usb3": {FLOOR: 2.05, PARAMETERS: 274, ANCHOR: 1200},
    "pi3-usb2": {FLOOR: 0.4, PARAMETERS: 36, ANCHOR: 2000},
    "sbc10w-usb3": {FLOOR: 0.27, PARAMETERS: 379, INPUT: 295, OUTPUT: 42, POSITION: 34, ANCHOR: 1200},
    "sbc10w-usb2": {FLOOR: 0.27, PARAMETERS: 36, INPUT: 41, OUTPUT: 13, POSITION: 34, ANCHOR: 1200},
    "sbc5w-usb3": {FLOOR: 0.42, PARAMETERS: 379, INPUT: 295, OUTPUT: 25, POSITION: 68, ANCHOR: 2000},
    "sbc5w-usb2": {FLOOR: 0.42, PARAMETERS: 36, INPUT: 30, OUTPUT: 6.5, POSITION: 68, ANCHOR: 2000},
}
"""What is fitted per host, and its start: no more numbers than networks were measured on it."""
PRIOR = 0.02
"""Weight of a number that moves by a factor e from its start, against such an error in a whole sweep."""


# -------------------------------------------------------------------------------------------------- fit


def predicted(case: Case, target: Target) -> float:
    """The modelled latency in ms; of several possible cuts, that of the fastest."""
    if case.old_compiler:
        target = with_numbers(target, {"instructions.softmax_class": 0.0})
    if case.tpus == 1:
        return timing_of(case.candidates[0][0], target).total_ms
    return min(pipeline_timing([timing_of(d, target) for d in cut], target).interval_ms for cut in case.candidates)


def robust(r: Vector, width: float = 0.1) -> Vector:
    """Square roots of Huber's loss: outliers pull like a constant force."""
    size = np.abs(r)
    return np.where(size <= width, r, np.sign(r) * np.sqrt(np.maximum(2 * width * size - width * width, 0)))


def fit(
    targets: Mapping[str, Target], chosen: Sequence[Case], starts: Mapping[str, float], names: Iterable[str]
) -> dict[str, Target]:
    """``targets`` with the numbers of ``starts``, the same for all of ``names``, fitted to the cases."""
    names, keys = tuple(names), tuple(starts)
    now = np.log([number_of(targets[names[0]], key) for key in keys])
    start = np.log(list(starts.values()))
    sizes: dict[tuple[str, str, int], int] = {}
    for case in chosen:
        sizes[case.profile, case.kind, case.tpus] = sizes.get((case.profile, case.kind, case.tpus), 0) + 1
    weight = np.array([1 / np.sqrt(sizes[c.profile, c.kind, c.tpus]) for c in chosen])

    def applied(x: Vector) -> dict[str, Target]:
        values = dict(zip(keys, np.exp(x).tolist()))
        return {**targets, **{name: with_numbers(targets[name], values) for name in names}}

    def residuals(x: Vector) -> Vector:
        trial = applied(x)
        errors = np.array([np.log(predicted(c, trial[c.profile]) / c.ms) for c in chosen])
        return np.concatenate([robust(errors) * weight, PRIOR * (x - start)])

    return applied(least_squares(residuals, now, steps=10))


def fit_all(everything: Sequence[Case], targets: Mapping[str, Target]) -> dict[str, Target]:
    """Hosts and chip in turn, then what only pipelines show."""
    fitted = [c for c in everything if c.fitted]
    single = [c for c in fitted if c.tpus == 1]
    result = {name: with_numbers(targets[name], {**CHIP, **PIPELINE, **FREE[name]}) for name in targets}
    for _ in range(3):
        for name in result:
            result = fit(result, [c for c in single if c.profile == name], FREE[name], [name])
        result = fit(result, single, CHIP, result)
    return fit(result, [c for c in fitted if c.tpus > 1], PIPELINE, ["x86-pcie"])


def write_profiles(targets: Mapping[str, Target]) -> None:
    """The fitted numbers into the profiles' files, whose texts and sources stay."""
    shared = ("chip", tuple(CHIP), targets["x86-pcie"])
    pipelines = [(name, tuple(PIPELINE), targets["x86-pcie"]) for name in targets]
    hosts = [(name, tuple(FREE[name]), targets[name]) for name in targets]
    for name, keys, target in [shared, *pipelines, *hosts]:
        path = PROFILES / f"{name}.toml"
        text = path.read_text()
        for key in keys:
            pattern = rf"(?m)^({key.split('.')[1]} = \{{ value = )[^,]+"
            text, count = re.subn(pattern, rf"\g<1>{float(f'{number_of(target, key):.4g}')}", text)
            assert count == 1, (name, key)
        path.write_text(text)


# ----------------------------------------------------------------------------------------------- report


@dataclass(frozen=True)
class Point:
    """One held-out or fitted measurement against the model."""

    model: str
    kind: str
    profile: str
    tpus: int
    fitted: bool
    measured_ms: float
    modelled_ms: float

    @property
    def error(self) -> float:
        return self.modelled_ms / self.measured_ms - 1


def points_of(everything: Sequence[Case], targets: Mapping[str, Target]) -> list[Point]:
    return [
        Point(c.model, c.kind, c.profile, c.tpus, c.fitted, c.ms, predicted(c, targets[c.profile])) for c in everything
    ]


def rank_correlation(points: Sequence[Point]) -> float | None:
    """Spearman's, ties averaged; None for fewer than three points."""
    if len(points) < 3:
        return None
    x, y = (_ranks([getattr(p, name) for p in points]) for name in ("measured_ms", "modelled_ms"))
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: Sequence[float]) -> Vector:
    array = np.array(values)
    return np.array([((array < v).sum() + (array <= v).sum() - 1) / 2 for v in array], float)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    group: str
    points: int
    median: float
    p90: float
    rank: float | None


def summary(points: Sequence[Point]) -> list[Row]:
    """Held-out errors, by host and kind, and over all single devices and all pipelines."""
    groups: dict[str, list[Point]] = {}
    for p in points:
        if p.fitted:
            continue
        many = "pipelines" if p.tpus > 1 else "single devices"
        groups.setdefault(f"**all {many}**", []).append(p)
        groups.setdefault(f"{p.profile}, {p.kind}" + (f" of {p.tpus}" if p.tpus > 1 else ""), []).append(p)
        if p.kind == "real network":
            groups.setdefault("**real networks, all hosts**", []).append(p)
    rows = []
    for name, members in sorted(groups.items()):
        rows.append(_row(name, members))
    return rows


def _row(name: str, points: Sequence[Point]) -> Row:
    errors = np.abs([p.error for p in points])
    return Row(
        name,
        len(points),
        float(np.median(errors)),
        float(np.percentile(errors, 90)),
        rank_correlation(points),
    )


def markdown(rows: Sequence[Row], points: Sequence[Point]) -> str:
    """The table and the worst points."""
    lines = [
        "| held out | points | median | 90th percentile | rank correlation |",
        "| --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        rank = "–" if r.rank is None else f"{r.rank:.3f}"
        lines.append(f"| {r.group} | {r.points} | {r.median:.1%} | {r.p90:.1%} | {rank} |")
    lines += [
        "",
        "The worst held-out points:",
        "",
        "| network | host | measured | modelled | error |",
        "| --- | --- | --- | --- | --- |",
    ]
    worst = sorted((p for p in points if not p.fitted), key=lambda p: -abs(np.log(p.modelled_ms / p.measured_ms)))[:15]
    for p in worst:
        tpus = f", {p.tpus} devices" if p.tpus > 1 else ""
        lines.append(f"| {p.model} | {p.profile}{tpus} | {p.measured_ms:.2f} | {p.modelled_ms:.2f} | {p.error:+.0%} |")
    return "\n".join(lines)


_COLOURS = {"pcie": "#1f77b4", "board": "#9467bd", "usb3": "#2ca02c", "usb2": "#d62728"}


def scatter(points: Sequence[Point], size: int = 640) -> str:
    """Modelled over measured ms on logarithmic axes, as SVG: held out filled, fitted hollow, pipelines square."""
    low, high, margin = 0.05, 2000.0, 60
    span = size - 2 * margin

    def at(ms: float) -> float:
        return float(np.log(ms / low) / np.log(high / low)) * span

    def xy(measured: float, modelled: float) -> tuple[float, float]:
        return margin + at(measured), size - margin - at(modelled)

    def line(a: tuple[float, float], b: tuple[float, float], style: str) -> str:
        return f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" {style}/>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" font-family="sans-serif" font-size="12">'
    ]
    parts.append(f'<rect width="{size}" height="{size}" fill="white"/>')
    for tick in (0.1, 1, 10, 100, 1000):
        grey = 'stroke="#ddd"'
        parts += [line(xy(tick, low), xy(tick, high), grey), line(xy(low, tick), xy(high, tick), grey)]
        x, y = xy(tick, tick)
        parts.append(f'<text x="{x:.1f}" y="{size - margin + 18}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{margin - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for factor, style in (
        (1.0, 'stroke="black"'),
        (1.25, 'stroke="#999" stroke-dasharray="4"'),
        (0.8, 'stroke="#999" stroke-dasharray="4"'),
    ):
        parts.append(line(xy(low * 1.3, low * 1.3 * factor), xy(high / 1.3, high / 1.3 * factor), style))
    for p in sorted(points, key=lambda p: not p.fitted):
        x, y = xy(p.measured_ms, p.modelled_ms)
        colour = next(c for key, c in _COLOURS.items() if p.profile.endswith(key))
        fill = f'fill="{"white" if p.fitted else colour}" fill-opacity="0.6" stroke="{colour}"'
        title = (
            f"<title>{p.model} on {p.tpus} x {p.profile}: {p.measured_ms:.2f} ms, modelled {p.modelled_ms:.2f}</title>"
        )
        if p.tpus > 1:
            parts.append(f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" {fill}>{title}</rect>')
        else:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" {fill}>{title}</circle>')
    for row, (key, colour) in enumerate(_COLOURS.items()):
        name = {"pcie": "x86, PCIe", "board": "Dev Board", "usb3": "USB 3", "usb2": "USB 2"}[key]
        parts.append(f'<circle cx="{margin + 20}" cy="{margin + 20 + 18 * row}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{margin + 30}" y="{margin + 24 + 18 * row}">{name}</text>')
    parts.append(f'<text x="{size / 2}" y="{size - 18}" text-anchor="middle">measured, ms</text>')
    parts.append(
        f'<text x="18" y="{size / 2}" text-anchor="middle" transform="rotate(-90 18 {size / 2})">modelled, ms</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def replace_between(path: Path, marker: str, text: str) -> None:
    """What stands between ``<!-- marker -->`` and ``<!-- /marker -->`` in the file."""
    pattern = rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)"
    content, count = re.subn(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", path.read_text(), flags=re.S)
    assert count == 1, f"{path} has no {marker}"
    path.write_text(content)


def planned(targets: Mapping[str, Target]) -> list[Row]:
    """The same errors when atoll plans the memory instead of a compiler's report: what its users get."""
    return summary(points_of(cases(reported=False), targets))


def write_held_out(rows: Sequence[Row]) -> None:
    """The errors that predictions cite, beside the profiles whose errors they are."""
    groups = {
        row.group.strip("*"): {"points": row.points, "median": round(row.median, 4), "p90": round(row.p90, 4)}
        for row in rows
    }
    HELD_OUT.write_text(json.dumps({"source": "benchmarks/fit_timing.py", "groups": groups}, indent=1) + "\n")


def without_kind(everything: Sequence[Case], targets: Mapping[str, Target]) -> list[Row]:
    """The chip's numbers fitted without any point of one kind: the error on all points of it (the hosts' stay)."""
    rows = []
    for kind in ("conv", "dense", "real network"):
        rest = [c for c in everything if c.tpus == 1 and c.fitted and c.kind != kind]
        start = {name: with_numbers(targets[name], CHIP) for name in targets}
        refitted = fit(start, rest, CHIP, targets)
        asked = [c for c in everything if c.tpus == 1 and c.kind == kind]
        rows.append(_row(f"{kind}, chip fitted without any", points_of(asked, refitted)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="fit and write the profiles first")
    arguments = parser.parse_args()
    everything = cases()
    targets = {name: profile(name) for name in profile_names()}
    if arguments.fit:
        targets = fit_all(everything, targets)
        write_profiles(targets)
    points = points_of(everything, targets)
    end_to_end = planned(targets)
    write_held_out(end_to_end)
    whole = [replace(r, group=f"{r.group}, memory planned by atoll") for r in end_to_end if r.group.startswith("**")]
    rows = [*summary(points), *whole, *without_kind(everything, targets)]
    RESULTS.parent.mkdir(exist_ok=True)
    names = ("model", "kind", "profile", "tpus", "fitted")
    each = [{**{name: getattr(p, name) for name in names}, "error": round(p.error, 4)} for p in points]
    RESULTS.write_text(json.dumps({"held_out": [asdict(r) for r in rows], "points": each}, indent=1) + "\n")
    PLOT.parent.mkdir(exist_ok=True)
    PLOT.write_text(scatter(points))
    text = markdown(rows, points)
    print(text)
    if DOC.exists():
        replace_between(DOC, "table", text)


if __name__ == "__main__":
    main()
