"""Durations of a stage's work and waits → count, total, mean, percentiles and shares, in constant memory."""

from __future__ import annotations

import threading

from atoll.products.stage_stats import StageStats

_BITS = 5
_HALF = 1 << _BITS  # buckets per power of two: a bucket is at most 1/32 wide, its middle at most 1/64 off
_BUCKETS = _HALF * (64 - _BITS)


class StageMeter:
    """What one device does for one segment: durations in logarithmic buckets, by all its workers, read by any thread.

    Times are in ns, of any clock that goes forward.
    """

    __slots__ = (
        "_free",
        "_held",
        "_lock",
        "buckets",
        "busy",
        "count",
        "failures",
        "retries",
        "wait_input",
        "wait_output",
    )

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        self.count = self.busy = self.wait_input = self.wait_output = 0
        self.failures = self.retries = 0
        self._free = self._held = 0  # since when the device is idle, and until when a full queue kept it from more
        self._lock = threading.Lock()

    def record(self, begin: int, end: int) -> None:
        """Add an item that a worker had from ``begin`` to ``end``; a device takes them in the order of their begins."""
        with self._lock:
            start = max(begin, self._free)
            busy = max(end - start, 0)
            if self.count:  # the wait for the very first item says nothing about the pipeline
                held = min(max(self._held - self._free, 0), start - self._free)
                self.wait_output += held
                self.wait_input += start - self._free - held
            shift = busy.bit_length() - _BITS - 1
            self.buckets[busy if shift <= 0 else (shift << _BITS) + (busy >> shift)] += 1
            self.busy += busy
            self.count += 1
            self._free = max(end, self._free)

    def released(self, now: int) -> None:
        """A worker has got rid of its item and may take another."""
        self._held = now

    def percentiles(self, *shares: float) -> list[float]:
        """For each share (ascending, 0 to 1) a duration in ns that this share did not exceed, ±1.6 %."""
        buckets = list(self.buckets)
        total = sum(buckets)
        if not total:
            return [0.0 for _ in shares]
        result: list[float] = []
        seen = 0
        for index, count in enumerate(buckets):
            seen += count
            while len(result) < len(shares) and seen >= shares[len(result)] * total:
                result.append(_middle(index))
        return result

    def read(self, segment: int, queued: int, replica: int = 0, device: str = "") -> StageStats:
        """The numbers so far."""
        count, busy, wait_input, wait_output = self.count, self.busy, self.wait_input, self.wait_output
        p50, p95, p99 = self.percentiles(0.5, 0.95, 0.99)
        return StageStats(
            segment=segment,
            count=count,
            total_s=busy / 1e9,
            mean_s=busy / count / 1e9 if count else 0.0,
            p50_s=p50 / 1e9,
            p95_s=p95 / 1e9,
            p99_s=p99 / 1e9,
            wait_input_s=wait_input / 1e9,
            wait_output_s=wait_output / 1e9,
            busy_share=busy / max(busy + wait_input + wait_output, 1),
            queued=queued,
            replica=replica,
            device=device,
            failures=self.failures,
            retries=self.retries,
        )


def _middle(index: int) -> float:
    """The middle of a bucket in ns."""
    shift = max((index >> _BITS) - 1, 0)
    return float((index - (shift << _BITS)) << shift) + ((1 << shift) - 1) / 2
