"""Models that share Edge TPUs: what is modelled of them, and that nothing serves the worst served one better."""

from __future__ import annotations

import pytest

from atoll.hardware.host import profile
from atoll.model.graph import Graph
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.planning.best_use import best_use
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


def sharing_of(names: str, costs: list[SegmentCosts], most: int, wanted: tuple[float, ...] = ()) -> Sharing:
    rows = [
        [best_use(FleetCosts({"any": own}), n, model=name) for n in range(1, most + 1)]
        for name, own in zip(names, costs)
    ]
    return Sharing(costs, rows, wanted)


def test_a_model_alone_costs_what_a_device_of_its_own_does() -> None:
    costs = SegmentCosts(layers(12), X86)
    sharing = sharing_of("a", [costs], 2)
    single = costs.in_pipeline(1).cost(0, 12)
    assert sharing.needs[0].alone[0] == pytest.approx(1 / single)
    assert sharing.seconds_together((0,)) == pytest.approx([single])
    assert sharing.off_chip_bytes([0]) == (costs.streamed_bytes(0, 12),)


def test_models_that_fit_together_share_without_loss_and_others_stream() -> None:
    small, large = layers(2), layers(7)
    costs = [SegmentCosts(graph, X86) for graph in (small, small, large)]
    sharing = sharing_of("abc", costs, 1)
    alone = [own.in_pipeline(1).cost(0, len(own.graph.operators)) for own in costs]
    assert sharing.seconds_together((0, 1)) == pytest.approx(alone[:2])
    together = sharing.seconds_together((0, 1, 2))
    assert sum(sharing.off_chip_bytes((0, 1, 2))) > 0
    assert all(shared >= own * (1 - 1e-9) for shared, own in zip(together, alone)) and sum(together) > sum(alone)


def test_more_devices_serve_the_worst_served_model_no_worse_and_parting_beats_streaming() -> None:
    costs = [SegmentCosts(layers(7), X86), SegmentCosts(layers(7), X86)]
    sharing = sharing_of("ab", costs, 4, (10.0, 10.0))
    rows = [sharing.on(devices) for devices in (1, 2, 3, 4)]
    served = [min(row.best.throughput / 10.0 for row in every) for every in rows]
    assert served == sorted(served)
    assert {row.shares_with for row in rows[0]} == {("a",), ("b",)}
    assert all(row.best.shape == "shared" for row in rows[0])
    assert all(row.shares_with == () and row.best.devices == 1 for row in rows[1])
    assert sum(row.best.stages[0].use for row in rows[0]) == pytest.approx(1.0)
