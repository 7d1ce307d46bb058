"""What the vendor's analysis tools say: throughput by the number of Edge TPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from atoll.products.result import Result
from atoll.products.table import Column, Table


@dataclass(frozen=True, slots=True)
class Throughput:
    """``requests`` inferences of one model on ``devices`` devices."""

    devices: int
    requests: int
    seconds: float
    """For all of them."""
    per_second: float
    speed_up: float
    """Against the first number of devices."""
    segment_ms: tuple[float, ...]
    """Per segment the mean time of one inference; of a model in one piece, that of one device."""


@dataclass(frozen=True, slots=True)
class BenchedModel:
    """One model on several numbers of devices."""

    model: str
    results: tuple[Throughput, ...]


@dataclass(frozen=True, slots=True, repr=False)
class BenchReport(Result):
    """What ``atoll bench`` says."""

    schema: ClassVar[str] = "bench/1"

    benchmark: str
    """``model_pipelining`` or ``multiple_tpus``."""
    times: str
    """What the times are times of."""
    models: tuple[BenchedModel, ...]

    def answer(self) -> tuple[str, ...]:
        """Per model what the most devices gain."""
        return tuple(map(_gain, self.models))

    def tables(self) -> tuple[Table, ...]:
        """A row per model and number of devices."""
        columns = (
            Column("model", "name"),
            Column("Edge TPUs", "number"),
            Column("requests", "number", importance=3),
            Column("time", "number", unit="s", digits=3, importance=2),
            Column("per second", "number", digits=1),
            Column("each", "number", unit="ms", digits=3, importance=1),
            Column("speed-up", "number", digits=2),
            Column("segments, ms", importance=1),
        )
        rows = [
            (
                item.model,
                each.devices,
                each.requests,
                each.seconds,
                each.per_second,
                1e3 / each.per_second,
                each.speed_up,
                " ".join(f"{ms:.2f}" for ms in each.segment_ms),
            )
            for item in self.models
            for each in item.results
        ]
        return (Table.of(columns, rows),)

    def basis(self) -> tuple[str, ...]:
        """What the times are times of."""
        return (f"Times: {self.times}.",)


def _gain(item: BenchedModel) -> str:
    best = max(item.results, key=lambda each: each.per_second)
    return (
        f"{item.model}: {best.per_second:.1f} inferences per second on {best.devices} Edge TPU"
        f"{'s' * (best.devices != 1)}, {best.speed_up:.2f} times as many as on {item.results[0].devices}."
    )


def latencies_text(results: Sequence[Throughput]) -> str:
    """The vendor's format: per pipeline the number of segments, then the latency of each in ns, a line each."""
    lines = [line for r in results for line in (len(r.segment_ms), *(round(ms * 1e6) for ms in r.segment_ms))]
    return "".join(f"{line}\n" for line in lines)
