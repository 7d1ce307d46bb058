"""A simulated run of modelled segments → slices of a Chrome trace."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from atoll.estimate import OperatorTiming, PipelineStage, RegionTiming, StageSpan, Timing
from atoll.products.trace_events import BUS, DEVICE, HOST, Slice


def modelled_slices(
    timings: Sequence[Timing],
    names: Sequence[Sequence[str]],
    stages: Sequence[PipelineStage],
    spans: Sequence[StageSpan],
) -> list[Slice]:
    """A simulated pipeline, one lane per segment for host, device and bus each.

    Within an inference the parts follow one another as the timing model adds them up: what is cached computes first,
    then what is streamed computes while its parameters cross the bus. The chip itself may mix the two.

    Args:
        names: of each segment's operators, in the order of its graph.
        spans: of :func:`atoll.estimate.simulate`.
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
    """How many times as long transfers take in the pipeline (:func:`atoll.estimate.pipeline_timing`)."""
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
