"""The modelled time of a segment → its parts, and what each of its operators adds to it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atoll.estimate import ParameterUse, RegionTiming, Timing
from atoll.estimate.workload import Workload
from atoll.model.graph import Graph
from atoll.model.subgraph import boundary

PARTS = ("fixed", "transfer", "instructions", "compute", "stream", "cpu")
"""What the time of a segment consists of."""


@dataclass(frozen=True, slots=True)
class OperatorProfile:
    """One operator of a segment; times in ms per inference."""

    segment: int
    index: int
    kind: str
    name: str
    """Its first output."""
    on_tpu: bool
    macs: int
    parameter_bytes: int
    """As laid out for the chip; 0 on the CPU."""
    placement: str
    """``cached``, ``streamed``, or empty: no parameters on the Edge TPU."""
    compute_ms: float
    stream_ms: float
    """Its streamed parameters on the bus, while streamed operators compute."""
    transfer_ms: float
    """Its part of the inputs and outputs of the Edge TPU, and of the host's work on them."""
    ms: float
    """What it adds to the segment's total: of compute and stream only the one that the Edge TPU waits for."""
    bound: str
    """What keeps it from being faster: ``compute``, ``stream``, ``transfer``, ``cpu`` or ``nothing``."""
    how: str
    """``modelled``, or for operators of the CPU ``estimated`` or ``measured``."""


@dataclass(frozen=True, slots=True)
class SegmentProfile:
    """One segment on one Edge TPU; times in ms per inference. The parts in :data:`PARTS` add up to the total."""

    name: str
    cached_bytes: int
    streamed_bytes: int
    instruction_bytes: float
    fixed_ms: float
    """An inference of next to nothing."""
    transfer_ms: float
    instructions_ms: float
    compute_ms: float
    """What limits the Edge TPU while it waits for nothing else."""
    stream_ms: float
    """Streamed parameters, where the Edge TPU waits for them."""
    cpu_ms: float
    total_ms: float
    """With the parameters cached, on a single device."""
    load_ms: float
    """The first inference after another model takes this much longer."""
    stage_ms: float
    """Device time as a stage of its pipeline, where transfers take another time than on a single device."""

    @property
    def bound(self) -> str:
        """The largest part."""
        return max(PARTS, key=self.part)

    def part(self, name: str) -> float:
        """A part in ms, by its name in :data:`PARTS`."""
        return float(getattr(self, f"{name}_ms"))


def segment_profile(work: Workload, timing: Timing, stage_ms: float) -> SegmentProfile:
    """A segment by the parts of its time, which add up to its total."""
    regions = timing.regions
    streaming = [region.streamed_ms if _waits_for_stream(region, timing) else 0.0 for region in regions]
    return SegmentProfile(
        name=work.name,
        cached_bytes=sum(use.cached for use in work.parameters.values()),
        streamed_bytes=sum(use.streamed for use in work.parameters.values()),
        instruction_bytes=sum(region.instruction_bytes for region in regions),
        fixed_ms=sum(region.floor_ms for region in regions),
        transfer_ms=timing.transfer_ms,
        instructions_ms=sum(region.instructions_ms for region in regions),
        compute_ms=sum(region.cached_compute_ms + region.streamed_ms for region in regions) - sum(streaming),
        stream_ms=sum(streaming),
        cpu_ms=timing.cpu_ms,
        total_ms=timing.total_ms,
        load_ms=timing.load_ms,
        stage_ms=stage_ms,
    )


def _waits_for_stream(region: RegionTiming, timing: Timing) -> bool:
    """Whether streaming takes longer than computing what is streamed."""
    mine = [timing.operators[i] for i in region.operators if timing.operators[i].stream_ms]
    return sum(o.stream_ms for o in mine) >= sum(o.compute_ms for o in mine)


def operator_profiles(
    number: int, work: Workload, timing: Timing, measured: Mapping[int, float]
) -> list[OperatorProfile]:
    """The operators of segment ``number``; ``measured`` are those of the CPU whose time (ms) was measured here."""
    graph = work.graph
    transfers = _transfers(graph, timing.regions)
    waiting = {i: _waits_for_stream(region, timing) for region in timing.regions for i in region.operators}
    result = []
    for index, (operator, item) in enumerate(zip(graph.operators, timing.operators)):
        use, transfer = work.parameters.get(index, ParameterUse()), transfers.get(index, 0.0)
        own = item.stream_ms if item.stream_ms and waiting[index] else item.compute_ms
        result.append(
            OperatorProfile(
                segment=number,
                index=index,
                kind=operator.name,
                name=graph.tensors[operator.outputs[0]].name if operator.outputs else "",
                on_tpu=item.on_tpu,
                macs=item.macs,
                parameter_bytes=use.cached + use.streamed,
                placement="streamed" if use.streamed else "cached" if use.cached else "",
                compute_ms=item.compute_ms,
                stream_ms=item.stream_ms,
                transfer_ms=transfer,
                ms=own + transfer,
                bound="transfer" if transfer > max(item.compute_ms, item.stream_ms) else item.bound,
                how="modelled" if item.on_tpu else "measured" if index in measured else "estimated",
            )
        )
    return result


def _transfers(graph: Graph, regions: Sequence[RegionTiming]) -> dict[int, float]:
    """A region's transfers, by bytes, on the operators that read its inputs first and those that write its outputs."""
    result: dict[int, float] = {}
    for region in regions:
        entering, leaving = boundary(graph, region.operators)
        inputs = [i for i in entering if not graph.tensors[i].is_constant]
        first = {i: min(n for n in region.operators if i in graph.operators[n].inputs) for i in inputs}
        last = {i: next(n for n in region.operators if i in graph.operators[n].outputs) for i in leaving}
        for owners, ms in ((first, region.input_ms), (last, region.output_ms + region.relayout_ms)):
            total = sum(graph.tensors[i].nbytes for i in owners)
            for tensor, index in owners.items():
                share = graph.tensors[tensor].nbytes / total if total else 1 / len(owners)
                result[index] = result.get(index, 0.0) + ms * share
    return result


def operators_csv(operators: Sequence[OperatorProfile]) -> str:
    """Comma-separated values, numbers in full: a header of the fields of :class:`OperatorProfile`, a row for each."""
    text = io.StringIO()
    names = tuple(OperatorProfile.__dataclass_fields__)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(item, name) for name in names] for item in operators)
    return text.getvalue()
