"""Workloads, one per Edge TPU, and a target → :class:`Profile`, and a trace of a simulated run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from atoll.estimate import MAX_CLOCK_MHZ, ParameterUse, RegionTiming, Timing, pipeline_timing, price, simulate
from atoll.estimate.accuracy import held_out_error, sources
from atoll.estimate.workload import Workload
from atoll.hardware.host import Target
from atoll.model.graph import Graph
from atoll.model.subgraph import boundary
from atoll.products.trace_events import Slice
from atoll.reporting.modelled_trace import modelled_slices
from atoll.reporting.profile_report import OperatorProfile, Profile, Run, SegmentProfile

SIMULATED = 1000
"""Inferences of the simulated run."""
TRACED = 16
"""First inferences of it that a trace shows."""


def profile_model(
    model: str,
    workloads: Sequence[Workload],
    target: Target,
    *,
    clock_mhz: float = MAX_CLOCK_MHZ,
    measured_cpu: Sequence[Mapping[int, float]] | None = None,
) -> tuple[Profile, list[Slice]]:
    """The profile of a model's segments, one Edge TPU each, and a simulated run of them as slices of a trace.

    Args:
        measured_cpu: per segment, ms of the operators that stay on the CPU, as
            :func:`atoll.api.cpu_times.measure_cpu` gives them; the others are estimated.

    Raises:
        ValueError: no segments.
    """
    given: Sequence[Mapping[int, float]] = measured_cpu or [MappingProxyType({})] * len(workloads)
    timings = [
        price(work.demand, target, clock_mhz=clock_mhz, instruction_bytes=work.instruction_bytes, cpu_ms=cpu)
        for work, cpu in zip(workloads, given)
    ]
    pipeline = pipeline_timing(timings, target)
    run = simulate(pipeline.stages, SIMULATED, trace_items=TRACED)
    several = len(workloads) > 1
    result = Profile(
        model=model,
        target=target.name,
        description=target.description,
        bus=target.bus.kind,
        clock_mhz=clock_mhz,
        segments=tuple(map(_segment, workloads, timings, [stage.device_ms for stage in pipeline.stages])),
        operators=tuple(
            itertools.chain.from_iterable(
                _operators(number, work, timing, cpu)
                for number, (work, timing, cpu) in enumerate(zip(workloads, timings, given))
            )
        ),
        latency_ms=pipeline.latency_ms,
        interval_ms=pipeline.interval_ms,
        bottleneck=pipeline.bottleneck if several else 0,
        simulated=Run(
            run.items,
            run.total_ms,
            run.mean_latency_ms,
            run.max_latency_ms,
            run.device_utilization,
            run.host_utilization,
        ),
        how=tuple(sources(workloads, target, given)),
        accuracy=held_out_error(target, len(workloads), clock_mhz, any(work.hosted for work in workloads)),
    )
    names = [[work.graph.where(i) for i in range(len(work.graph.operators))] for work in workloads]
    return result, modelled_slices(timings, names, pipeline.stages, run.spans)


def _segment(work: Workload, timing: Timing, stage_ms: float) -> SegmentProfile:
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


def _operators(number: int, work: Workload, timing: Timing, measured: Mapping[int, float]) -> list[OperatorProfile]:
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
