"""What one stage of a pipeline did, as numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageStats:
    """What one stage did so far; times in seconds, all zero before its first item.

    A stage's time on an item is copying inputs in, ``invoke`` and copying outputs out. Of several interpreters on one
    device only the time counts that it adds: from the end of the item before, if it had to wait for that one. The
    shares of the time since the first item that the stage was busy, starved (waited for input) and held up (waited for
    room behind it) add up to 1.
    """

    segment: int
    count: int
    total_s: float
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    wait_input_s: float
    wait_output_s: float
    busy_share: float
    queued: int
    """Items that waited in front of the stage when this was read."""
    replica: int = 0
    device: str = ""
    """Name of the device, "" when its interpreter does not tell."""
    failures: int = 0
    """How often its interpreters raised or hung."""
    retries: int = 0
    """How many items it got right at a later attempt."""

    @property
    def wait_input_share(self) -> float:
        """Share of the time since the first item that it waited for input, 0 to 1."""
        return self.wait_input_s / self._all_s

    @property
    def wait_output_share(self) -> float:
        """Share of the time since the first item that it waited for room behind it, 0 to 1."""
        return self.wait_output_s / self._all_s

    @property
    def _all_s(self) -> float:
        return max(self.total_s + self.wait_input_s + self.wait_output_s, 1e-9)
