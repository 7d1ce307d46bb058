"""Statistics of the stages → the one that limits the throughput, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.products.stage_stats import StageStats

BUSY = 0.85
"""A slowest segment that works for less than this share of the time is waiting for somebody else."""
CLOSE = 1.15
"""Segments within this factor of the slowest are about as slow."""


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What limits the throughput: a segment (its number), or, with None, whoever pushes or pops."""

    segment: int | None
    period_s: float
    """Seconds per item that it needs, with all its replicas."""
    message: str
    help: str


def bottleneck(stats: Sequence[StageStats]) -> Bottleneck | None:
    """The bottleneck so far; None before every segment has done an item."""
    periods: dict[int, float] = {}
    for segment in sorted({item.segment for item in stats}):
        rates = [1 / item.mean_s for item in stats if item.segment == segment and item.mean_s > 0]
        if not rates:
            return None
        periods[segment] = 1 / sum(rates)
    if not periods:
        return None
    slowest = max(periods, key=lambda segment: periods[segment])
    period = periods[slowest]
    own = [item for item in stats if item.segment == slowest]
    busy = sum(item.busy_share for item in own) / len(own)
    if busy < BUSY:
        return _outside(own, busy, period)
    others = [value for segment, value in periods.items() if segment != slowest]
    message = f"segment {slowest} is the bottleneck: {period * 1e3:.2f} ms per item, busy {busy:.0%} of the time"
    return Bottleneck(slowest, period, message, _help(slowest, period, others, len(own)))


def _outside(own: Sequence[StageStats], busy: float, period: float) -> Bottleneck:
    starved = sum(item.wait_input_s for item in own)
    held_up = sum(item.wait_output_s for item in own)
    slowest = own[0].segment
    if starved >= held_up:
        message = f"the inputs come too slowly: segment {slowest}, the slowest, is busy only {busy:.0%} of the time"
        return Bottleneck(None, period, message, "Push from a thread of its own, or prepare inputs in parallel.")
    message = f"the results are taken too slowly: segment {slowest}, the slowest, is busy only {busy:.0%} of the time"
    return Bottleneck(None, period, message, "Pop from a thread of its own, or do less between two pops.")


def _help(slowest: int, period: float, others: Sequence[float], replicas: int) -> str:
    second = max(others, default=0.0)
    more = f"A {'second' if replicas == 1 else 'further'} device for segment {slowest}"
    if not others:
        return f"{more} would bring up to {(replicas + 1) / replicas:.1f} times the throughput."
    if second * CLOSE >= period:
        return "The segments are about equally slow: use more of them, or replicas of all."
    gain = min((replicas + 1) / replicas, period / second)
    mean = (sum(others) + period) / (len(others) + 1)
    return (
        f"{more} would bring up to {gain:.1f} times the throughput, a cut into equally slow segments "
        f"up to {period / mean:.1f} times."
    )
