"""What segments cost, against the timing model itself; and the best cuts by it, against all cuts."""

from __future__ import annotations

import itertools

import pytest
from atoll.planning.best_uses import best_uses

from atoll.errors import PartitionError
from atoll.estimate import pipeline_timing
from atoll.hardware.host import profile
from atoll.partitioning import Goal
from atoll.partitioning.best_cuts import best_cuts, cut_places, interval
from atoll.partitioning.segment_costs import SegmentCosts
from builders import branched, chain

X86 = profile("x86-pcie")


@pytest.mark.parametrize("model", [chain(6), branched()], ids=["chain", "branched"])
def test_stages_cost_what_the_pipeline_model_says(model) -> None:
    graph = model.main
    costs = SegmentCosts(graph, X86)
    end = len(graph.operators)
    for cuts in [(), (2,), (1, 3), (1, 2, 4)]:
        segments = list(itertools.pairwise([0, *cuts, end]))
        timing = pipeline_timing([costs.timing(*segment) for segment in segments], X86)
        own = costs.in_pipeline(len(segments))
        for segment, stage in zip(segments, timing.stages):
            assert own.cost(*segment) * 1e3 == pytest.approx(stage.device_ms + stage.host_ms)


def test_the_best_cuts_are_the_best_of_all() -> None:
    graph = chain(6).main
    costs = SegmentCosts(graph, X86)
    positions = cut_places(graph, 3)
    for objective in ("throughput", "latency"):
        found = best_cuts(costs, positions, 3, Goal(objective), pinned=[2])
        rivals = []
        for cuts in [(2,), *((2, n) for n in (3, 4, 5)), (1, 2)]:
            own = costs.in_pipeline(len(cuts) + 1)
            seconds = [own.cost(*segment) for segment in itertools.pairwise([0, *cuts, 6])]
            slowest = max(*seconds, len(seconds) * X86.host.stage_ms / 1e3)
            rivals.append(slowest if objective == "throughput" else sum(seconds))
        ours = interval(costs, found.stages) if objective == "throughput" else found.latency
        assert ours == pytest.approx(min(rivals))


def test_more_devices_are_never_worse() -> None:
    plans = best_uses(SegmentCosts(branched().main, X86), range(1, 5))
    rates = [plan.best.throughput for plan in plans]
    assert rates == sorted(rates) and all(plan.best.devices <= plan.devices for plan in plans)
    assert plans[0].best.shape == "single" and plans[3].best.throughput >= plans[3].copies.throughput


def test_more_segments_than_places_are_refused() -> None:
    with pytest.raises(PartitionError, match="5 places"):
        cut_places(chain(6).main, 7)
