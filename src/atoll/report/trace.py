"""What happened when, measured or modelled → Chrome trace events, for ui.perfetto.dev and chrome://tracing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from atoll.run.trace import Trace
from atoll.timing import OperatorTiming, PipelineStage, RegionTiming, Span, Timing

HOST, DEVICE, BUS = "host", "Edge TPUs", "buses"
"""Groups of lanes; each has a lane per segment."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Something that takes time in one lane; slices of a lane do not overlap."""

    group: str
    lane: str
    name: str
    begin_ms: float
    duration_ms: float
    details: dict[str, Any] = field(default_factory=dict)


def trace_text(slices: Iterable[Slice]) -> str:
    """The file's content: the JSON object of the Trace Event Format.

    Groups are shown as processes and lanes as threads, both in the order of their first slice.
    """
    groups: dict[str, dict[str, int]] = {}
    events: list[dict[str, Any]] = []
    for item in slices:
        lanes = groups.setdefault(item.group, {})
        lane = lanes.setdefault(item.lane, len(lanes) + 1)
        events.append(
            {
                "name": item.name,
                "cat": item.group,
                "ph": "X",
                "ts": item.begin_ms * 1e3,
                "dur": item.duration_ms * 1e3,
                "pid": list(groups).index(item.group) + 1,
                "tid": lane,
                "args": item.details,
            }
        )
    return json.dumps({"traceEvents": [*_names(groups), *events], "displayTimeUnit": "ms"})


def _names(groups: dict[str, dict[str, int]]) -> Iterator[dict[str, Any]]:
    for pid, (group, lanes) in enumerate(groups.items(), start=1):
        yield _metadata("process_name", pid, 0, name=group)
        yield _metadata("process_sort_index", pid, 0, sort_index=pid)
        for lane, tid in lanes.items():
            yield _metadata("thread_name", pid, tid, name=lane)
            yield _metadata("thread_sort_index", pid, tid, sort_index=tid)


def _metadata(kind: str, pid: int, tid: int, **arguments: str | int) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": arguments}


def measured_slices(trace: Trace) -> list[Slice]:
    """What the stages of a real run did; times from the first event."""
    events = sorted(trace.events, key=lambda event: event.begin)
    return [
        Slice(
            DEVICE,
            f"segment {event.segment} replica {event.replica}",
            f"item {event.item}",
            (event.begin - events[0].begin) / 1e6,
            (event.end - event.begin) / 1e6,
            {"item": event.item},
        )
        for event in events
    ]


def modelled_slices(
    timings: Sequence[Timing], names: Sequence[Sequence[str]], stages: Sequence[PipelineStage], spans: Sequence[Span]
) -> list[Slice]:
    """A simulated pipeline, one lane per segment for host, device and bus each.

    Within an inference the parts follow one another as the timing model adds them up: what is cached computes first,
    then what is streamed computes while its parameters cross the bus. The chip itself may mix the two.

    Args:
        names: of each segment's operators, in the order of its graph.
        spans: of :func:`atoll.timing.simulate`.
    """
    result = []
    for span in sorted(spans, key=lambda span: (span.host_begin_ms, span.stage)):
        timing, stage = timings[span.stage], stages[span.stage]
        parts = list(_parts(timing, _boundary_factor(timing, stage), names[span.stage]))
        length = max((end for _, _, _, end in parts), default=0.0)
        # The simulation counts in ticks: fit the parts into the time that it gives them.
        scale = (span.device_end_ms - span.device_begin_ms) / length if length else 0.0
        details = {"item": span.item, "segment": span.stage}
        if span.device_begin_ms > span.host_begin_ms:
            waited = span.device_begin_ms - span.host_begin_ms
            result.append(Slice(HOST, f"host, segment {span.stage}", "stage", span.host_begin_ms, waited, details))
        for group, name, begin, end in parts:
            lane = {HOST: "host, segment", DEVICE: "Edge TPU", BUS: "bus"}[group]
            start = span.device_begin_ms + begin * scale
            result.append(Slice(group, f"{lane} {span.stage}", name, start, (end - begin) * scale, details))
    return result


def _boundary_factor(timing: Timing, stage: PipelineStage) -> float:
    """How many times as long transfers take in the pipeline (:func:`atoll.timing.pipeline_timing`)."""
    return 1 + (stage.device_ms - timing.total_ms) / timing.transfer_ms if timing.transfer_ms else 1.0


_Part = tuple[str, str, float, float]
"""Group, name, begin and end in ms since the device was given the item."""


def _parts(timing: Timing, factor: float, names: Sequence[str]) -> Iterator[_Part]:
    """One inference: the regions one after another, then the operators of the CPU."""
    now = 0.0
    for region in timing.regions:
        for part in _region_parts(region, timing.operators, factor, names):
            yield part[0], part[1], now + part[2], now + part[3]
        now += region.total_ms + (factor - 1) * (region.input_ms + region.output_ms + region.relayout_ms)
    for operator in timing.operators:
        if not operator.on_tpu:
            yield HOST, names[operator.index], now, now + operator.compute_ms
            now += operator.compute_ms


def _region_parts(
    region: RegionTiming, operators: Sequence[OperatorTiming], factor: float, names: Sequence[str]
) -> Iterator[_Part]:
    mine = [operators[i] for i in region.operators]
    before = [
        (HOST, "invoke", region.floor_ms),
        (BUS, "input", region.input_ms * factor),
        (BUS, "instructions", region.instructions_ms),
        *((DEVICE, names[o.index], o.compute_ms) for o in mine if not o.stream_ms),
    ]
    after = [(BUS, "output", region.output_ms * factor), (HOST, "relayout", region.relayout_ms * factor)]
    streamed = [o for o in mine if o.stream_ms]
    yield from _consecutive(before, 0.0)
    now = sum(duration for _, _, duration in before)
    yield from _consecutive([(BUS, names[o.index], o.stream_ms) for o in streamed], now)
    yield from _consecutive([(DEVICE, names[o.index], o.compute_ms) for o in streamed], now)
    yield from _consecutive(after, now + region.streamed_ms)


def _consecutive(parts: Sequence[tuple[str, str, float]], begin: float) -> Iterator[_Part]:
    """Parts one after another, those of no duration left out."""
    ends = list(itertools.accumulate((duration for _, _, duration in parts), initial=begin))
    for (group, name, duration), start, end in zip(parts, ends, ends[1:]):
        if duration > 0:
            yield group, name, start, end
