"""The Trace Event Format: slices come back with their lanes, measured ones too."""

from __future__ import annotations

import json
from typing import Any

from atoll.report.trace import Slice, measured_slices, trace_text
from atoll.run.trace import Trace


def read(slices: list[Slice]) -> list[Slice]:
    """The slices that a trace file holds."""
    events: list[dict[str, Any]] = json.loads(trace_text(slices))["traceEvents"]
    groups = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    lanes = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    return [
        Slice(groups[e["pid"]], lanes[e["pid"], e["tid"]], e["name"], e["ts"] / 1e3, e["dur"] / 1e3, e["args"])
        for e in events
        if e["ph"] == "X"
    ]


def test_slices_come_back() -> None:
    slices = [
        Slice("host", "a", "x", 0.0, 1.5),
        Slice("buses", "a", "y", 0.5, 0.25, {"item": 3}),
        Slice("host", "b", 'odd "name" ü', 2.0, 4.0),
        Slice("host", "a", "z", 2.0, 1.0),
    ]
    assert read(slices) == slices
    assert read([]) == []


def test_lanes_are_shown_in_the_order_of_their_first_slice() -> None:
    events = json.loads(trace_text([Slice("g", "second", "x", 9.0, 1.0), Slice("g", "first", "x", 0.0, 1.0)]))
    order = [e["args"]["sort_index"] for e in events["traceEvents"] if e["name"] == "thread_sort_index"]
    assert order == [1, 2]


def test_a_measured_run_is_written_the_same_way() -> None:
    trace = Trace()
    trace.record(1, 0, 0, 5_000_000, 6_000_000)
    trace.record(0, 0, 0, 2_000_000, 4_500_000)
    first, second = read(measured_slices(trace))
    assert (first.lane, first.begin_ms, first.duration_ms) == ("segment 0 replica 0", 0.0, 2.5)
    assert (second.lane, second.begin_ms, second.details) == ("segment 1 replica 0", 3.0, {"item": 0})
    assert measured_slices(Trace()) == []
