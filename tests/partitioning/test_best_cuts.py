"""What segments cost, against the timing model itself; and the best cuts by it, against all cuts."""

from __future__ import annotations

import itertools

import pytest

from atoll.errors import PartitionError
from atoll.estimate import pipeline_timing
from atoll.hardware.host import profile
from atoll.partitioning.best_cuts import best_cuts, cut_places, interval
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.search.fleet import Fleet, Goal
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
    costs = FleetCosts({"any": SegmentCosts(graph, X86)})
    positions = cut_places(graph, 3)
    for objective in ("throughput", "latency"):
        found = best_cuts(costs, positions, Fleet.of(3), Goal(objective), pinned=[2])
        rivals = []
        for cuts in [(2,), *((2, n) for n in (3, 4, 5)), (1, 2)]:
            own = costs.in_pipeline(len(cuts) + 1)
            seconds = [own.cost(*segment, "any") for segment in itertools.pairwise([0, *cuts, 6])]
            slowest = max(*seconds, len(seconds) * X86.host.stage_ms / 1e3)
            rivals.append(slowest if objective == "throughput" else sum(seconds))
        ours = interval(costs, found.stages) if objective == "throughput" else found.latency
        assert ours == pytest.approx(min(rivals))


def test_more_segments_than_places_are_refused() -> None:
    with pytest.raises(PartitionError, match="5 places"):
        cut_places(chain(6).main, 7)
