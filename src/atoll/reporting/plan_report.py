"""What ``atoll plan`` says: what each number of Edge TPUs can do with a model, or with several that share them.

One more number for each number of devices is one field of :class:`PlannedUse` (or of :class:`PlannedStage`, for each
stage), one line of :data:`_COLUMNS`, and its value where :mod:`atoll.planning.best_use` makes the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any, ClassVar

from atoll.estimate.accuracy import Accuracy, error_sentence
from atoll.products.result import Result, plain
from atoll.products.table import Column, Table, Value

HELPS = 1.05
"""Less than 5 % more is no help worth two devices: the predictions are not that good."""
_ENOUGH = 1 - 1e-9
"""The share of a wanted rate that counts as reached: sums in another order round differently."""


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
    """``single``, ``copies`` (of the whole model), ``pipeline``, ``mixture`` (a pipeline with replicated stages), or
    ``shared`` (with other models: compiled together, taking turns)."""
    devices: int
    """Those that it uses, of those that there are; models that share some count the same ones."""
    throughput: float
    """Inferences per second in steady state."""
    latency_ms: float
    """One inference through the empty pipeline."""
    off_chip_bytes: int
    """The sum of all stages."""
    stages: tuple[PlannedStage, ...]
    accuracy: Accuracy | None
    """What is known about the error of such a prediction."""

    def describe(self) -> str:
        """In a few words: ``2+1+1`` are the devices of the stages."""
        kinds = [stage.device for stage in self.stages]
        where = "" if kinds[0] == "any" else f" on {kinds[0]}"
        if self.shape == "shared":
            return f"shared, {self.devices} copies" if self.devices > 1 else "shared"
        if self.shape in ("single", "copies"):
            return ("whole model" if self.devices == 1 else f"{self.devices} copies") + where
        if not where:
            return f"{self.shape} {'+'.join(str(stage.replicas) for stage in self.stages)}"
        stages = (f"{stage.replicas}×{kind}" if stage.replicas > 1 else kind for stage, kind in zip(self.stages, kinds))
        return f"{self.shape} {'+'.join(stages)}"


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A number of devices and a model: the best use of them, and of one model the best of two shapes beside it."""

    devices: int
    """How many there are, for all models."""
    model: str
    wanted: float | None
    """Inferences per second, where some are."""
    shares_with: tuple[str, ...]
    """The other models on the same devices."""
    best: PlannedUse
    """It may use fewer devices, when more bring nothing."""
    pipeline: PlannedUse | None
    """The best without replicas; None where there are several models."""
    copies: PlannedUse | None
    """Copies of the whole model; None where an Edge TPU cannot hold it, or there are several models."""


@dataclass(frozen=True, slots=True)
class TwoMore:
    """What two more devices bring to ``devices``."""

    devices: int
    kind: str
    """The kind of the two, ``any`` where all are alike."""
    throughput: float
    latency_ms: float
    gain: float
    """The change of the throughput: 0.1 is 10 % more."""


_COLUMNS: tuple[tuple[Column, Callable[[PlanRow], Value]], ...] = (
    (Column("Edge TPUs", "number"), lambda row: row.devices),
    (Column("model", "name"), lambda row: PurePath(row.model).name.removesuffix(".tflite")),
    (Column("best"), lambda row: row.best.describe()),
    (Column("of them", "number", importance=3), lambda row: row.best.devices),
    (Column("inferences/s", "number", digits=1), lambda row: row.best.throughput),
    (Column("wanted/s", "number", digits=1), lambda row: row.wanted),
    (Column("latency", "number", "ms", 3, importance=1), lambda row: row.best.latency_ms),
    (Column("use", importance=1), lambda row: " ".join(f"{stage.use:.0%}" for stage in row.best.stages)),
    (Column("off-chip", "bytes"), lambda row: row.best.off_chip_bytes),
    (
        Column("pipeline only/s", "number", digits=1, importance=2),
        lambda row: row.pipeline.throughput if row.pipeline else None,
    ),
    (
        Column("copies only/s", "number", digits=1, importance=2),
        lambda row: row.copies.throughput if row.copies else None,
    ),
)


@dataclass(frozen=True, slots=True, repr=False)
class PlanReport(Result):
    """What each number of Edge TPUs can do: a row for each number and model."""

    schema: ClassVar[str] = "plan/2"

    models: tuple[str, ...]
    target: str
    fps: tuple[float, ...]
    """The wanted inferences per second of each model; empty where none are wanted."""
    rows: tuple[PlanRow, ...]
    two_more: tuple[TwoMore, ...]
    """Empty for several models. An item for each number; for devices of different kinds, one for each kind."""
    too_few: tuple[int, ...]
    """Numbers asked for that cannot keep to the memory limit: they have no rows."""
    how: tuple[str, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of devices that there are rows of, ascending."""
        return tuple(dict.fromkeys(row.devices for row in self.rows))

    def used(self, devices: int) -> int:
        """How many of so many devices are used: those that models share count once."""
        return round(sum(row.best.devices / (1 + len(row.shares_with)) for row in self.rows if row.devices == devices))

    def satisfaction(self, devices: int) -> float:
        """The smallest rate / wanted rate of all models; where none is wanted, the smallest rate."""
        return min(row.best.throughput / (row.wanted or 1.0) for row in self.rows if row.devices == devices)

    @property
    def fewest(self) -> int | None:
        """The fewest devices that reach every wanted rate."""
        reaching = [self.used(n) for n in self.numbers if self.fps and self.satisfaction(n) >= _ENOUGH]
        return min(reaching, default=None)

    def answer(self) -> tuple[str, ...]:
        """What the wanted rates take, what is left out, and whether two more devices would help."""
        texts = [self._rate()] if self.fps or len(self.models) > 1 else []
        if self.too_few:
            least = self.rows[0].devices
            texts.append(f"Fewer than {least} Edge TPUs are left out: with the memory limit it takes {least} at least.")
        last = self.numbers[-1]
        texts += _steps([more for more in self.two_more if more.devices < last])
        texts += [self._would_help(more) for more in self.two_more if more.devices == last]
        return tuple(texts)

    def tables(self) -> tuple[Table, ...]:
        """A row for each number of devices and model."""
        several = len(self.models) > 1
        shown = [(c, value) for c, value in _COLUMNS if several or c.name not in ("model", "of them", "wanted/s")]
        rows = [[value(row) for _, value in shown] for row in self.rows]
        return (Table.of([column for column, _ in shown], rows),)

    def basis(self) -> tuple[str, ...]:
        """How the numbers were obtained, and how far off they may be."""
        errors: dict[str, list[str]] = {}
        for row in self.rows:
            if len(self.models) == 1 and {stage.device for stage in row.best.stages} == {"any"}:
                errors.setdefault(error_sentence(row.best.accuracy), []).append(str(row.devices))
        return (*self.how, *(f"Error with {', '.join(which)}: {text}." for text, which in errors.items()))

    def to_dict(self) -> dict[str, Any]:
        """The fields, with what follows from them."""
        return {
            **{field.name: plain(getattr(self, field.name)) for field in fields(self)},
            "satisfaction": {str(n): self.satisfaction(n) for n in self.numbers},
            "fewest": self.fewest,
            "answer": list(self.answer()),
        }

    def _rate(self) -> str:
        if not self.fps:
            return "No --fps is given: the model with the fewest inferences/s gets as many as possible."
        alone, most = len(self.models) == 1, self.numbers[-1]
        if self.fewest is not None:
            wanted = f"{self.fps[0]:g}/s take" if alone else "The wanted rates take"
            if self.fewest > 1 and self.fewest == min(row.devices for row in self.rows):
                return (
                    f"{self.fewest} Edge TPUs reach what is wanted; fewer were not looked at (--tpus 1..{self.fewest})."
                )
            return f"{wanted} at least {self.fewest} Edge TPU{'s' * (self.fewest != 1)}."
        top = max(self.numbers, key=self.satisfaction)
        if not alone:
            share = f"{self.used(top)} of them reach {self.satisfaction(top):.0%} of each"
            return f"The wanted rates are out of reach with up to {most} Edge TPUs: {share}."
        best = max(self.rows, key=lambda row: row.best.throughput).best
        return (
            f"{self.fps[0]:g}/s are out of reach with up to {most} Edge TPUs: the most is {best.throughput:.1f}/s with "
            f"{best.devices}."
        )

    def _would_help(self, more: TwoMore) -> str:
        now = next(row.best for row in self.rows if row.devices == more.devices)
        what = f"more than {more.devices}" if more.kind == "any" else f"more on {more.kind}"
        return (
            f"Would two {what} help? {'Yes' if more.gain + 1 >= HELPS else 'No'}: {more.throughput:.1f}/s instead of "
            f"{now.throughput:.1f}/s ({more.gain:+.0%}), latency {more.latency_ms:.2f} instead of "
            f"{now.latency_ms:.2f} ms."
        )


def _steps(steps: Sequence[TwoMore]) -> Iterator[str]:
    """For which numbers of devices two more help, in one sentence."""
    helped = [f"{more.devices} ({more.gain:+.0%})" for more in steps if more.gain + 1 >= HELPS]
    others = [str(more.devices) for more in steps if more.gain + 1 < HELPS]
    if helped:
        rest = f", not than {_listed(others)}" if others else ""
        yield f"Two more than {_listed(helped)} help{rest}."
    elif others:
        yield f"Two more than {_listed(others)} do not help."


def _listed(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
