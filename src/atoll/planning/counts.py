"""A search for the best cuts → for each number of devices the best arrangement of pipeline and copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # stages never import one another: the search is handed in
    from atoll.partitioning.search.contiguous import Cutting, Stage


class Search(Protocol):
    """The best cuts for a number of devices, as :func:`atoll.planning.best_uses` has them found.

    None for whole copies where a device cannot hold the whole model.
    """

    def __call__(self, devices: int, *, max_replicas: int, whole: bool = False) -> Cutting | None: ...


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One way to use some devices. Times in seconds, rates in items per second."""

    shape: str
    """``single``, ``copies`` (of the whole model), ``pipeline``, or ``mixture`` (a pipeline with replicated stages)."""
    stages: tuple[Stage, ...]
    throughput: float
    latency: float
    lower_bound: float
    """No arrangement of this shape gives a result more often than every so many seconds."""

    @property
    def devices(self) -> int:
        return sum(stage.replicas for stage in self.stages)

    @property
    def utilisation(self) -> tuple[float, ...]:
        """The share of time that the devices of each stage are busy at full rate."""
        return tuple(stage.seconds / stage.replicas * self.throughput for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a number of devices can do: the best arrangement, and the best of each shape beside it.

    ``best`` may use fewer than ``devices`` when more bring nothing.
    """

    devices: int
    best: Arrangement
    pipeline: Arrangement
    copies: Arrangement | None
    """None where a device cannot hold the whole model."""


def plan_counts(
    search: Search, counts: Sequence[int], max_rate: Callable[[Sequence[Stage]], float] | None = None
) -> tuple[Plan, ...]:
    """The best arrangement for every number of devices in ``counts``.

    A stage of r replicas takes an item every cost / r seconds; each item still spends the whole cost in it. Whole
    copies are a single stage with all devices. The search looks at the arrangements of all shapes together.

    Args:
        max_rate: what else bounds the items per second of some stages, such as the host that serves them all. The
            search does not know of it: of the best of each shape the one is taken that it leaves the fastest.

    Raises:
        PartitionError: what the search raises, when no arrangement is possible.
    """
    plans = []
    for count in counts:
        pipeline = _arrangement(search(count, max_replicas=1), max_rate)
        copies = _arrangement(search(count, max_replicas=count, whole=True), max_rate)
        mixture = _arrangement(search(count, max_replicas=count), max_rate)
        assert pipeline is not None and mixture is not None  # without replicas fewer devices do
        shapes = (mixture, pipeline) if copies is None else (mixture, pipeline, copies)
        plans.append(Plan(count, max(shapes, key=_rank), pipeline, copies))
    return tuple(plans)


def fewest_for(plans: Sequence[Plan], fps: float) -> Plan | None:
    """The plan with the fewest devices that reaches a rate in items per second, or None when none does."""
    reaching = [plan for plan in plans if plan.best.throughput >= fps * (1 - 1e-9)]
    return min(reaching, key=lambda plan: plan.best.devices, default=None)


def _rank(arrangement: Arrangement) -> tuple[float, float, int]:
    """Faster first, of equals the shorter latency, then the fewer devices."""
    return arrangement.throughput, -arrangement.latency, -arrangement.devices


def _arrangement(cutting: Cutting | None, max_rate: Callable[[Sequence[Stage]], float] | None) -> Arrangement | None:
    if cutting is None:
        return None
    rate = 1 / cutting.bottleneck
    if max_rate is not None:
        rate = min(rate, max_rate(cutting.stages))
    stages = cutting.stages
    replicated = any(stage.replicas > 1 for stage in stages)
    shape = ("mixture" if replicated else "pipeline") if len(stages) > 1 else "copies" if replicated else "single"
    return Arrangement(shape, stages, rate, cutting.latency, cutting.lower_bound)
