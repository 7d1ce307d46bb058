"""The closed form of a pipeline."""

from __future__ import annotations

import pytest

from atoll.estimate import PipelineStage, PipelineTiming, pipeline_timing, time_model
from atoll.hardware.host import profile
from timing_graphs import convolutions, uses

X86 = profile("x86-pcie")


def segment(filters: int = 64, layers: int = 2):
    graph = convolutions(filters, layers)
    return time_model(graph, (range(layers),), uses(graph), X86)


def test_one_segment_is_the_single_device() -> None:
    timing = pipeline_timing([segment()], X86)
    assert timing.latency_ms == timing.interval_ms == pytest.approx(segment().total_ms)


def test_host_work_adds_up_over_the_stages() -> None:
    """Dense networks that fit take 0.47, 0.72 and 0.98 ms on 2, 3 and 4 devices, whatever their size (measured)."""
    graph = convolutions(1, 1, 4)
    tiny = time_model(graph, (range(1),), uses(graph), X86)
    for count, measured in ((2, 0.4675), (3, 0.7233), (4, 0.9713)):
        timing = pipeline_timing([tiny] * count, X86)
        assert timing.interval_ms == pytest.approx(measured, rel=0.08)
        assert timing.bottleneck is None


def test_small_convolution_nets_run_slower_on_two_devices_than_on_one() -> None:
    """72 filters: 4.54 ms on one, 7.14 ms on two (measured)."""
    whole = segment(72, 5)
    halves = pipeline_timing([segment(72, 2), segment(72, 3)], X86)
    assert halves.interval_ms > whole.total_ms


def test_replicas_divide_a_stage_and_not_the_host() -> None:
    stages = (PipelineStage(8.0, 1.0), PipelineStage(20.0, 1.0))
    assert PipelineTiming(stages).interval_ms == 21
    assert PipelineTiming(stages).bottleneck == 1
    assert PipelineTiming((stages[0], PipelineStage(20.0, 1.0, 3))).interval_ms == 9
    assert PipelineTiming((PipelineStage(8, 1, 100), PipelineStage(20, 1, 100))).interval_ms == 2
    assert PipelineTiming(stages).latency_ms == 30


def test_impossible_pipelines_are_refused() -> None:
    with pytest.raises(ValueError, match="0 segments"):
        pipeline_timing([], X86)
    with pytest.raises(ValueError, match="replicas"):
        pipeline_timing([segment()], X86, (1, 2))
    for bad in ((-1.0, 0.0, 1), (1.0, -1.0, 1), (1.0, 0.0, 0), (float("nan"), 0.0, 1)):
        with pytest.raises(ValueError, match="not possible"):
            PipelineStage(*bad)
