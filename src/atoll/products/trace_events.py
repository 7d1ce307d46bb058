"""What happened when, measured or modelled → a file of Chrome trace events, for ui.perfetto.dev and chrome://tracing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.files import write_file

HOST, DEVICE, BUS = "host", "Edge TPUs", "buses"
"""Groups of lanes; each has a lane per segment and device."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Something that takes time in one lane; slices of a lane do not overlap."""

    group: str
    lane: str
    name: str
    begin_ms: float
    duration_ms: float
    details: dict[str, Any] = field(default_factory=dict)


def trace_events(slices: Iterable[Slice]) -> dict[str, Any]:
    """The JSON object of the Trace Event Format; it counts in µs.

    Groups are shown as processes and lanes as threads, both in the order of their first slice.
    """
    groups: dict[str, dict[str, int]] = {}
    events: list[dict[str, Any]] = []
    for item in slices:
        lanes = groups.setdefault(item.group, {})
        events.append(
            {
                "name": item.name,
                "cat": item.group,
                "ph": "X",
                "ts": item.begin_ms * 1e3,
                "dur": item.duration_ms * 1e3,
                "pid": list(groups).index(item.group) + 1,
                "tid": lanes.setdefault(item.lane, len(lanes) + 1),
                "args": item.details,
            }
        )
    return {"traceEvents": [*_names(groups), *events], "displayTimeUnit": "ms"}


def write_trace(path: str | Path, slices: Iterable[Slice]) -> None:
    """Write the trace aside and rename it into place. Raises :class:`atoll.errors.OutputError`."""
    write_file(path, json.dumps(trace_events(slices)))


def _names(groups: dict[str, dict[str, int]]) -> Iterator[dict[str, Any]]:
    for pid, (group, lanes) in enumerate(groups.items(), start=1):
        yield _metadata("process_name", pid, 0, name=group)
        yield _metadata("process_sort_index", pid, 0, sort_index=pid)
        for lane, tid in lanes.items():
            yield _metadata("thread_name", pid, tid, name=lane)
            yield _metadata("thread_sort_index", pid, tid, sort_index=tid)


def _metadata(kind: str, pid: int, tid: int, **arguments: str | int) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": arguments}
