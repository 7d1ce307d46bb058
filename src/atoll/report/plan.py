"""What each number of Edge TPUs can do → a table, an answer in words, fields for programs, and a chart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from xml.sax.saxutils import escape

from atoll.report.profile import Accuracy, error_sentence


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """Operators ``start ... end - 1`` on ``replicas`` devices that take turns."""

    start: int
    end: int
    last_tensor: str
    """The first output of its last operator."""
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
        if self.shape in ("single", "copies"):
            return "whole model" if self.devices == 1 else f"{self.devices} copies"
        return f"{self.shape} {'+'.join(str(stage.replicas) for stage in self.stages)}"


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A number of devices: the best use of them, and the best pipeline and the copies beside it."""

    devices: int
    best: PlannedUse
    pipeline: PlannedUse
    copies: PlannedUse


@dataclass(frozen=True, slots=True)
class PlanReport:
    """Rows by number of devices; ``beyond`` continues them by two more, for the answer only."""

    model: str
    target: str
    rows: tuple[PlanRow, ...]
    beyond: tuple[PlanRow, ...]
    fps: float | None
    how: tuple[str, ...]

    @property
    def fewest(self) -> int | None:
        """The fewest devices among the rows that reach the wanted rate."""
        reaching = [row.best.devices for row in self.rows if self.fps and row.best.throughput >= self.fps * (1 - 1e-9)]
        return min(reaching, default=None)

    def answer(self) -> list[str]:
        """Sentences: what the wanted rate takes, and whether two more devices would help."""
        texts = []
        if self.fps and self.fewest is None:
            top = max(self.rows, key=lambda row: row.best.throughput)
            texts.append(
                f"{self.fps:g}/s are out of reach with up to {self.rows[-1].devices} Edge TPUs: the most is "
                f"{top.best.throughput:.1f}/s with {top.best.devices}."
            )
        elif self.fps:
            texts.append(f"{self.fps:g}/s take at least {self.fewest} Edge TPU{'s' * (self.fewest != 1)}.")
        every = {row.devices: row.best for row in (*self.rows, *self.beyond)}
        asked = dict.fromkeys((self.rows[0].devices, self.rows[-1].devices))
        return [*texts, *(_two_more(every[count], every[count + 2], count) for count in asked)]

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        del content["beyond"]
        return {**content, "fewest": self.fewest, "answer": self.answer()}

    def provenance(self) -> list[str]:
        """The sentences that go with every prediction."""
        errors: dict[str, list[str]] = {}
        for row in self.rows:
            errors.setdefault(error_sentence(row.best.accuracy), []).append(str(row.devices))
        return [*self.how, *(f"Error with {', '.join(which)}: {text}." for text, which in errors.items())]


HELPS = 1.05
"""Less than 5 % more is no help worth two devices: the predictions are not that good."""


def _two_more(now: PlannedUse, then: PlannedUse, count: int) -> str:
    gain = then.throughput / now.throughput
    verdict = "yes" if gain >= HELPS else "no"
    return (
        f"Would two more than {count} help? {verdict.capitalize()}: {then.throughput:.1f}/s instead of "
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
            f"{row.copies.throughput:.1f}",
        )
        for row in report.rows
    ]


_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 640, 360, 70, 50, 50
_COLOURS = (("best", "#1b6ca8"), ("pipeline", "#e08e0b"), ("copies", "#6a994e"))


def chart(report: PlanReport) -> str:
    """Inferences per second by number of devices, as SVG: the best, pipelines and copies, and the wanted rate."""
    most = max([report.fps or 0.0, *(row.best.throughput for row in report.rows)]) * 1.05
    step = (_WIDTH - _LEFT - 20) / len(report.rows)
    base = _HEIGHT - _BOTTOM
    scale = (base - _TOP) / most

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 20, f"{report.model} on {report.target}: inferences/s (modelled)"),
        _text(_WIDTH / 2, _HEIGHT - 12, "Edge TPUs"),
    ]
    for n, (name, colour) in enumerate(_COLOURS):
        parts.append(f'<rect x="{_LEFT + 90 * n}" y="28" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(_LEFT + 14 + 90 * n, 37, name))
    for tick in range(5):
        value = most * tick / 4
        y = base - value * scale
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - 20}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(8, y + 4, f"{value:.4g}"))
    for number, row in enumerate(report.rows):
        x = _LEFT + step * number
        parts.append(_text(x + step / 2 - 4, base + 16, str(row.devices)))
        for n, (name, colour) in enumerate(_COLOURS):
            use: PlannedUse = getattr(row, name)
            height = use.throughput * scale
            parts.append(
                f'<rect x="{x + step * (0.1 + 0.27 * n):.1f}" y="{base - height:.1f}" width="{step * 0.25:.1f}" '
                f'height="{height:.1f}" fill="{colour}"><title>{name}: {use.throughput:.1f}/s</title></rect>'
            )
    if report.fps:
        y = base - report.fps * scale
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - 20}" y2="{y:.1f}" stroke="#c1121f"/>')
        parts.append(_text(_WIDTH - 90, y - 4, f"{report.fps:g}/s wanted"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str) -> str:
    # What XML cannot hold even escaped (control characters in a file name) is shown as a question mark.
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(shown)}</text>'
