"""How a training went, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 56, 40, 48
_COLOURS = {"training accuracy": "#1f77b4", "validation accuracy": "#2ca02c", "loss": "#d62728"}


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """State after ``iteration`` batches: loss of the last batch, accuracies between 0 and 1."""

    iteration: int
    loss: float
    train_accuracy: float
    validation_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """The points in order; ``best``: the iteration whose weights were kept when training watched the validation."""

    points: tuple[CurvePoint, ...]
    best: int | None = None

    def svg(self) -> str:
        """The curve as an SVG picture: accuracies against the left axis, the loss against the right one."""
        lines = {
            "training accuracy": [(p.iteration, p.train_accuracy) for p in self.points],
            "validation accuracy": [
                (p.iteration, p.validation_accuracy) for p in self.points if p.validation_accuracy is not None
            ],
        }
        last = max((point.iteration for point in self.points), default=1)
        most = max((point.loss for point in self.points), default=0.0) or 1.0
        body = [*_axes(last, most)]
        for name, values in lines.items():
            body += _line(name, [(x / last, y) for x, y in values])
        body += _line("loss", [(p.iteration / last, p.loss / most) for p in self.points])
        if self.best is not None:
            x = _x(self.best / last)
            body.append(
                f'<line x1="{x}" y1="{_y(0)}" x2="{x}" y2="{_y(1)}" stroke="#888" stroke-dasharray="4 3"/>'
                f'<text x="{x}" y="{_y(1) - 4}" fill="#888" text-anchor="middle">best: {self.best}</text>'
            )
        body += _legend([name for name in _COLOURS if name == "loss" or lines[name]])
        style = 'font-family="sans-serif" font-size="12"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {style}>'
        return "\n".join([head, f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>', *body, "</svg>", ""])


def _x(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _axes(last: int, most: float) -> list[str]:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _y(share)
        parts += [
            f'<line x1="{_x(0)}" y1="{y}" x2="{_x(1)}" y2="{y}" stroke="#ddd"/>',
            f'<text x="{_x(0) - 6}" y="{y + 4}" text-anchor="end">{share:.0%}</text>',
            f'<text x="{_x(1) + 6}" y="{y + 4}">{share * most:.3g}</text>',
            f'<text x="{_x(share)}" y="{_y(0) + 18}" text-anchor="middle">{share * last:.0f}</text>',
        ]
    return [*parts, f'<text x="{_x(0.5)}" y="{_HEIGHT - 8}" text-anchor="middle">iterations</text>']


def _line(name: str, points: Sequence[tuple[float, float]]) -> list[str]:
    """A polyline through points of the unit square; the last one is marked, so that a single one can be seen."""
    if not points:
        return []
    path = " ".join(f"{_x(x)},{_y(y)}" for x, y in points)
    x, y = points[-1]
    colour = _COLOURS[name]
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        f'<circle cx="{_x(x)}" cy="{_y(y)}" r="3" fill="{colour}"/>',
    ]


def _legend(names: Sequence[str]) -> list[str]:
    return [
        f'<text x="{_LEFT + 150 * n}" y="18" fill="{_COLOURS[name]}">■ {name}{note}</text>'
        for n, name in enumerate(names)
        for note in (" (right axis)" if name == "loss" else "",)
    ]
