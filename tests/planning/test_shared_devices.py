"""Models that share Edge TPUs: what is modelled of them, and that nothing serves the worst served one better."""

from __future__ import annotations

import pytest

from atoll.hardware.host import profile
from atoll.model.graph import Graph
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.planning.sharing import Sharing
from builders import GraphBuilder

X86 = profile("x86-pcie")


def layers(count: int, channels: int = 1024) -> Graph:
    """1×1 convolutions of 1 MiB each, by default, on a chip of 8."""
    build = GraphBuilder(size=4, channels=channels)
    last = build.tensor("input")
    for n in range(count):
        last = build.conv(last, f"t{n}")
    return build.graph((0,), (last,))


def test_a_model_alone_costs_what_a_device_of_its_own_does() -> None:
    costs = SegmentCosts(layers(12), X86)
    sharing = Sharing(["a"], [costs], [1.0], 2)
    single = costs.in_pipeline(1).cost(0, 12)
    assert sharing.needs[0].alone[0] == pytest.approx(1 / single)
    assert sharing._together((0,)) == pytest.approx([single])
    assert sharing.off_chip_bytes([0]) == (costs.streamed_bytes(0, 12),)


def test_models_that_fit_together_share_without_loss_and_others_stream() -> None:
    small, large = layers(2), layers(7)
    costs = [SegmentCosts(graph, X86) for graph in (small, small, large)]
    sharing = Sharing(["a", "b", "c"], costs, [1.0] * 3, 1)
    alone = [own.in_pipeline(1).cost(0, len(own.graph.operators)) for own in costs]
    assert sharing._together((0, 1)) == pytest.approx(alone[:2])
    together = sharing._together((0, 1, 2))
    assert sum(sharing.off_chip_bytes((0, 1, 2))) > 0
    assert all(shared >= own * (1 - 1e-9) for shared, own in zip(together, alone)) and sum(together) > sum(alone)


def test_more_devices_serve_the_worst_served_model_no_worse_and_parting_beats_streaming() -> None:
    costs = [SegmentCosts(layers(7), X86), SegmentCosts(layers(7), X86)]
    sharing = Sharing(["a", "b"], costs, [10.0, 10.0], 4)
    assignments = [sharing.on(devices) for devices in (1, 2, 3, 4)]
    served = [assignment.satisfaction for assignment in assignments]
    assert served == sorted(served)
    assert [group.models for group in assignments[0].groups] == [(0, 1)]
    assert sorted(group.models for group in assignments[1].groups) == [(0,), (1,)]
