"""The Trace Event Format: slices come back with their lanes, measured ones too; files appear whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import OutputError
from atoll.pipeline import Trace
from atoll.products.trace_events import Slice, trace_events, write_trace


def read(path: Path) -> list[Slice]:
    """The slices that a trace file holds."""
    events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    groups = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    lanes = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    return [
        Slice(groups[e["pid"]], lanes[e["pid"], e["tid"]], e["name"], e["ts"] / 1e3, e["dur"] / 1e3, e["args"])
        for e in events
        if e["ph"] == "X"
    ]


def test_slices_come_back(tmp_path: Path) -> None:
    slices = [
        Slice("host", "a", "x", 0.0, 1.5),
        Slice("buses", "a", "y", 0.5, 0.25, {"item": 3}),
        Slice("host", "b", 'odd "name" ü', 2.0, 4.0),
        Slice("host", "a", "z", 2.0, 1.0),
    ]
    for content in (slices, []):
        write_trace(tmp_path / "t.json", content)
        assert read(tmp_path / "t.json") == content


def test_lanes_are_shown_in_the_order_of_their_first_slice() -> None:
    events = trace_events([Slice("g", "second", "x", 9.0, 1.0), Slice("g", "first", "x", 0.0, 1.0)])["traceEvents"]
    assert [e["args"]["sort_index"] for e in events if e["name"] == "thread_sort_index"] == [1, 2]
    assert [e["args"]["name"] for e in events if e["name"] == "thread_name"] == ["second", "first"]


def test_a_measured_run_is_written_the_same_way(tmp_path: Path) -> None:
    trace = Trace()
    trace.record(1, 0, 0, 5_000_000, 6_000_000)
    trace.record(0, 0, 0, 2_000_000, 4_500_000)
    trace.write(tmp_path / "t.json")
    first, second = read(tmp_path / "t.json")
    assert (first.lane, first.begin_ms, first.duration_ms) == ("segment 0 replica 0", 0.0, 2.5)
    assert (second.lane, second.begin_ms) == ("segment 1 replica 0", 3.0)
    assert second.details == {"item": 0, "segment": 1, "replica": 0}
    Trace().write(tmp_path / "t.json")
    assert read(tmp_path / "t.json") == []


def test_a_trace_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "t.json").mkdir()
    with pytest.raises(OutputError, match="is a directory"):
        Trace().write(tmp_path / "t.json")
    assert os.listdir(tmp_path) == ["t.json"] and os.listdir(tmp_path / "t.json") == []
