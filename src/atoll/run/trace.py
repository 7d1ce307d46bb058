"""What the stages did when -> a Chrome trace (chrome://tracing, ui.perfetto.dev)."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from atoll.errors import OutputError

KEPT_EVENTS = 1_000_000


class Event(NamedTuple):
    """One item in one stage; times of ``time.perf_counter_ns``."""

    segment: int
    replica: int
    item: int
    begin: int
    end: int


class Trace:
    """Collects the newest ``limit`` events of a pipeline (``Pipeline(trace=...)``), from all its threads."""

    def __init__(self, limit: int = KEPT_EVENTS) -> None:
        self._events: deque[Event] = deque(maxlen=limit)

    def record(self, segment: int, replica: int, item: int, begin: int, end: int) -> None:
        self._events.append(Event(segment, replica, item, begin, end))

    @property
    def events(self) -> list[Event]:
        return list(self._events)

    def chrome(self, process: str = "atoll") -> dict[str, Any]:
        """The JSON object of the Trace Event Format: one row per segment and replica, times in µs from the first."""
        events = sorted(self.events, key=lambda event: event.begin)
        start = events[0].begin if events else 0
        pid = os.getpid()
        rows = {key: row for row, key in enumerate(sorted({(event.segment, event.replica) for event in events}))}
        names = [_metadata("process_name", pid, 0, process)]
        for (segment, replica), row in rows.items():
            names.append(_metadata("thread_name", pid, row, f"segment {segment} replica {replica}"))
        slices = [
            {
                "name": f"item {event.item}",
                "cat": "segment",
                "ph": "X",
                "ts": (event.begin - start) / 1e3,
                "dur": (event.end - event.begin) / 1e3,
                "pid": pid,
                "tid": rows[event.segment, event.replica],
                "args": {"item": event.item, "segment": event.segment, "replica": event.replica},
            }
            for event in events
        ]
        return {"traceEvents": [*names, *slices], "displayTimeUnit": "ms"}

    def write(self, path: str | Path, process: str = "atoll") -> None:
        """Write the trace as JSON. Raises :class:`OutputError` when the file cannot be written."""
        try:
            Path(path).write_text(json.dumps(self.chrome(process)))
        except OSError as error:
            raise OutputError(f"cannot write the trace {path}: {error.strerror}") from error


def _metadata(kind: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
