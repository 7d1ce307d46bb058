"""What the stages of a pipeline did when → slices of a Chrome trace, and its file."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

from atoll.products.trace_events import DEVICE, Slice, write_trace

KEPT_EVENTS = 1_000_000


class StageEvent(NamedTuple):
    """One item in one stage; times of ``time.perf_counter_ns``."""

    segment: int
    replica: int
    item: int
    begin: int
    end: int


class Trace:
    """Collects the newest ``limit`` events of a pipeline (``Pipeline(trace=...)``), from all its threads."""

    def __init__(self, limit: int = KEPT_EVENTS) -> None:
        self._events: deque[StageEvent] = deque(maxlen=limit)

    def record(self, segment: int, replica: int, item: int, begin: int, end: int) -> None:
        """Add an item that a stage had from ``begin`` to ``end``."""
        self._events.append(StageEvent(segment, replica, item, begin, end))

    @property
    def events(self) -> list[StageEvent]:
        """Those that are kept."""
        return list(self._events)

    def slices(self) -> list[Slice]:
        """One lane per segment and replica, in their order; times from the first event on."""
        events = self.events
        start = min((event.begin for event in events), default=0)
        return [
            Slice(
                DEVICE,
                f"segment {event.segment} replica {event.replica}",
                f"item {event.item}",
                (event.begin - start) / 1e6,
                (event.end - event.begin) / 1e6,
                {"item": event.item, "segment": event.segment, "replica": event.replica},
            )
            for event in sorted(events)
        ]

    def write(self, path: str | Path) -> None:
        """Write it as Chrome trace events. Raises :class:`atoll.errors.OutputError` when it cannot be written."""
        write_trace(path, self.slices())
