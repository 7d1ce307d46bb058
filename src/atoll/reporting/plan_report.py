"""What each number of Edge TPUs can do → a table, an answer in words, fields for programs, and a chart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from xml.sax.saxutils import escape

from atoll.estimate.accuracy import Accuracy, error_sentence


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """Operators ``start ... end - 1`` on ``replicas`` devices that take turns."""

    start: int
    end: int
    last_tensor: str
    """The first output of its last operator."""
    device: str
    """The kind of Edge TPU, ``any`` where all are alike."""
    replicas: int
    ms: float
    """Per inference on one device, with the host's work."""
    use: float
    """The share of time its devices are busy at full rate, 0 to 1."""
    off_chip_bytes: int
    """Parameters that cross the bus with every inference, as laid out for the chip."""


@dataclass(frozen=True, slots=True)
class PlannedUse:
    """One way to use some devices."""

    shape: str
    """``single``, ``copies``, ``pipeline`` or ``mixture`` (a pipeline with replicated stages)."""
    devices: int
    throughput: float
    """Inferences per second in steady state."""
    latency_ms: float
    """One inference through the empty pipeline."""
    stages: tuple[PlannedStage, ...]
    accuracy: Accuracy | None
    """What is known about the error of such a prediction."""

    @property
    def off_chip_bytes(self) -> int:
        return sum(stage.off_chip_bytes for stage in self.stages)

    def describe(self) -> str:
        """In a few words: ``2+1+1`` are the devices of the stages."""
        kinds = [stage.device for stage in self.stages]
        if self.shape in ("single", "copies"):
            where = "" if kinds[0] == "any" else f" on {kinds[0]}"
            return ("whole model" if self.devices == 1 else f"{self.devices} copies") + where
        if kinds[0] == "any":
            return f"{self.shape} {'+'.join(str(stage.replicas) for stage in self.stages)}"
        stages = (f"{stage.replicas} {kind}" for stage, kind in zip(self.stages, kinds))
        return f"{self.shape} {' + '.join(stages)}"


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A number of devices: the best use of them, and the best pipeline and the copies beside it."""

    devices: int
    best: PlannedUse
    pipeline: PlannedUse
    copies: PlannedUse | None
    """None where an Edge TPU cannot hold the whole model."""


@dataclass(frozen=True, slots=True)
class PlanReport:
    """Rows by number of devices.

    For the answer only, ``beyond`` continues them by two more; ``more`` has, where the devices are of several kinds,
    for each kind what two more of it would bring to all of them. ``too_few`` are the numbers asked for that cannot keep
    to the memory limit: they have no rows.
    """

    model: str
    target: str
    rows: tuple[PlanRow, ...]
    beyond: tuple[PlanRow, ...]
    fps: float | None
    how: tuple[str, ...]
    more: tuple[tuple[str, PlannedUse], ...] = ()
    too_few: tuple[int, ...] = ()

    @property
    def fewest(self) -> int | None:
        """The fewest devices among the rows that reach the wanted rate."""
        reaching = [row.best.devices for row in self.rows if self.fps and row.best.throughput >= self.fps * (1 - 1e-9)]
        return min(reaching, default=None)

    def answer(self) -> list[str]:
        """Sentences: what is left out, what the wanted rate takes, and whether two more devices would help."""
        texts = []
        if self.too_few:
            least = self.rows[0].devices
            texts.append(f"Fewer than {least} Edge TPUs are left out: with the memory limit it takes {least} at least.")
        if self.fps and self.fewest is None:
            top = max(self.rows, key=lambda row: row.best.throughput)
            texts.append(
                f"{self.fps:g}/s are out of reach with up to {self.rows[-1].devices} Edge TPUs: the most is "
                f"{top.best.throughput:.1f}/s with {top.best.devices}."
            )
        elif self.fps:
            texts.append(f"{self.fps:g}/s take at least {self.fewest} Edge TPU{'s' * (self.fewest != 1)}.")
        if self.more:
            now = self.rows[-1].best
            return [*texts, *(_two_more(now, then, f"two more on {kind}") for kind, then in self.more)]
        every = {row.devices: row.best for row in (*self.rows, *self.beyond)}
        last = self.rows[-1].devices
        final = _two_more(every[last], every[last + 2], f"two more than {last}")
        return [
            *texts,
            *_steps({count: every[count + 2].throughput / every[count].throughput for count in every if count < last}),
            final,
        ]

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        del content["beyond"], content["more"]
        return {**content, "fewest": self.fewest, "answer": self.answer()}

    def provenance(self) -> list[str]:
        """The sentences that go with every prediction."""
        errors: dict[str, list[str]] = {}
        for row in self.rows:
            if {stage.device for stage in row.best.stages} != {"any"}:
                continue  # how() says what is known of devices of different kinds
            errors.setdefault(error_sentence(row.best.accuracy), []).append(str(row.devices))
        return [*self.how, *(f"Error with {', '.join(which)}: {text}." for text, which in errors.items())]


HELPS = 1.05
"""Less than 5 % more is no help worth two devices: the predictions are not that good."""


def _steps(gains: Mapping[int, float]) -> Iterator[str]:
    """For which numbers of devices two more help, in one sentence; ``gains`` are factors."""
    helped = [f"{count} ({gain - 1:+.0%})" for count, gain in gains.items() if gain >= HELPS]
    others = [str(count) for count, gain in gains.items() if gain < HELPS]
    if helped:
        rest = f", not than {_listed(others)}" if others else ""
        yield f"Two more than {_listed(helped)} help{rest}."
    elif others:
        yield f"Two more than {_listed(others)} do not help."


def _listed(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _two_more(now: PlannedUse, then: PlannedUse, what: str) -> str:
    gain = then.throughput / now.throughput
    verdict = "yes" if gain >= HELPS else "no"
    return (
        f"Would {what} help? {verdict.capitalize()}: {then.throughput:.1f}/s instead of "
        f"{now.throughput:.1f}/s ({gain - 1:+.0%}), latency {then.latency_ms:.2f} instead of {now.latency_ms:.2f} ms."
    )


COLUMNS = (
    ">Edge TPUs", "best", ">inferences/s", ">latency ms", ">use", ">off-chip bytes", ">pipeline only/s",
    ">copies only/s",
)  # fmt: skip


def rows(report: PlanReport) -> list[tuple[str, ...]]:
    """In the order of :data:`COLUMNS`."""
    return [
        (
            str(row.devices),
            row.best.describe(),
            f"{row.best.throughput:.1f}",
            f"{row.best.latency_ms:.3f}",
            " ".join(f"{stage.use:.0%}" for stage in row.best.stages),
            f"{row.best.off_chip_bytes:,}",
            f"{row.pipeline.throughput:.1f}",
            f"{row.copies.throughput:.1f}" if row.copies else "-",
        )
        for row in report.rows
    ]


_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 360, 60, 20, 60, 50
_COLOURS = (("best", "#1b6ca8"), ("pipeline", "#e08e0b"), ("copies", "#6a994e"))
_HALO = ' paint-order="stroke" stroke="white" stroke-width="3"'
"""Keeps text readable where a line crosses it."""
_NAMES = {"best": "best", "pipeline": "pipeline only", "copies": "copies only"}


def chart(report: PlanReport) -> str:
    """Inferences per second by number of devices, as SVG: the best, pipelines and copies, and the wanted rate."""
    ticks = round_ticks(max([report.fps or 0.0, *(row.best.throughput for row in report.rows)]))
    base = _HEIGHT - _BOTTOM
    scale = (base - _TOP) / ticks[-1]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 20, f"{_shortened(report.model)} on {report.target}: inferences/s (modelled)", size=13),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, "Edge TPUs", "middle"),
    ]
    for n, (name, colour) in enumerate(_COLOURS):
        parts.append(f'<rect x="{_LEFT + 120 * n}" y="30" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(_LEFT + 15 + 120 * n, 39, _NAMES[name]))
    for value in ticks:
        y = base - value * scale
        colour = "#ddd" if value else "#555"
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="{colour}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{value:g}", "end"))
    if report.fps:
        y = base - report.fps * scale
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#c1121f"/>')
        parts.append(_text(_LEFT + 4, y - 4, f"{report.fps:g}/s wanted", colour="#c1121f"))
    step = (_WIDTH - _LEFT - _RIGHT) / len(report.rows)
    for number, row in enumerate(report.rows):
        parts += _bars(row, _LEFT + step * number, step, base, scale)
    return "\n".join([*parts, "</svg>"]) + "\n"


def round_ticks(most: float) -> list[float]:
    """0 and up to ``most`` or just beyond it, in four to ten steps of 1, 2 or 5 times a power of ten."""
    rough = most / 4 if most > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= rough * (1 + 1e-9))
    return [float(f"{step * n:.12g}") for n in range(math.ceil(most / step * (1 - 1e-9)) + 1)]


def _bars(row: PlanRow, left: float, step: float, base: float, scale: float) -> list[str]:
    """The three bars of a number of devices, with the number below; the rate of the best stands above it."""
    bar = min(0.27 * step, 40.0)
    first = left + (step - 3 * bar) / 2
    parts = [_text(left + step / 2, base + 16, str(row.devices), "middle")]
    for n, (name, colour) in enumerate(_COLOURS):
        use: PlannedUse | None = getattr(row, name)
        if use is None:
            continue
        height = use.throughput * scale
        parts.append(
            f'<rect x="{first + n * bar:.1f}" y="{base - height:.1f}" width="{bar * 0.92:.1f}" '
            f'height="{height:.1f}" fill="{colour}"><title>{name}: {use.throughput:.1f}/s</title></rect>'
        )
    parts.append(
        _text(first + 0.46 * bar, base - row.best.throughput * scale - 4, _rate(row.best.throughput), "middle", 10)
    )
    return parts


def _shortened(name: str) -> str:
    """The end of a long path, so that the title fits."""
    return name if len(name) <= 48 else f"…{name[-47:]}"


def _rate(value: float) -> str:
    """Three figures, and never an exponent: people read it."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12, colour: str = "black") -> str:
    # What XML cannot hold even escaped (control characters in a file name) is shown as a question mark.
    shown = escape("".join(c if c.isprintable() else "?" for c in text))
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{_HALO}>{shown}</text>'
    )
