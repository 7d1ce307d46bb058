"""What the timing model must show (../shared/facts/timing.md), and that its parts add up."""

from __future__ import annotations

import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.estimate import ChipUnit, ParameterUse, Timing, time_model
from atoll.hardware.host import Target, profile, profile_names
from atoll.model.graph import DType, Graph, Operator, Tensor
from timing_graphs import Builder, chain, convolutions, uses, work

X86 = profile("x86-pcie")
MIB = 1 << 20


def timed(graph: Graph, streamed: tuple[int, ...] = (), target: Target = X86, clock_mhz: float = 500.0) -> Timing:
    region = range(len(graph.operators))
    return time_model(graph, (region,), uses(graph, streamed), target, clock_mhz=clock_mhz)


def test_parts_add_up_to_the_total() -> None:
    region = timed(convolutions(128), (2, 3)).regions[0]
    parts = [getattr(region, f.name) for f in fields(region) if f.name.endswith("_ms") and f.name != "load_ms"]
    assert len(parts) == 7 and all(part > 0 for part in parts)
    assert region.total_ms == pytest.approx(sum(parts))


def test_first_inference_adds_the_loading_of_the_cache() -> None:
    timing = timed(convolutions(256))
    assert timing.first_ms - timing.total_ms == pytest.approx(timing.load_ms)
    cached = sum(use.cached for use in uses(convolutions(256)).values())
    assert timing.load_ms == pytest.approx(X86.bus.load_fixed_ms + cached / X86.bus.load_mb_s / 1e3)
    assert timed(chain(64, 1), (0,)).load_ms == 0


@pytest.mark.parametrize(("mib", "ms"), [(66 / 1024, 1.04), (1, 5.26), (4, 13.4), (4.58, 14.8)])
def test_cache_loading_over_usb_is_near_the_measured(mib: float, ms: float) -> None:
    graph = chain(8, 1)
    parameters = {0: ParameterUse(cached=round(mib * MIB))}
    loading = time_model(graph, ((0,),), parameters, profile("sbc10w-usb3")).load_ms
    assert abs(loading - ms) < 1.5


def test_convolution_cycles_are_those_of_the_formula() -> None:
    """Sustained on 7x7 32->32 convolutions: 0.985 to 0.991 TMAC/s, measured."""
    item = work(Builder(1, 128, 128, 32).conv(32, 7))
    assert item.cycles == 32 * 32 * 49 * 8
    assert item.macs == 128 * 128 * 32 * 49 * 32
    timing = timed(Builder(1, 128, 128, 32).conv(32, 7).graph()).operators[0]
    # in that sweep input + output of a layer (with halo) fit a tile
    assert not item.spills and item.macs / timing.compute_ms / 1e9 == pytest.approx(0.988, rel=0.06)


def test_compute_steps_at_multiples_of_64_output_channels() -> None:
    cycles = {o: work(Builder(1, 16, 16, 64).conv(o)).cycles for o in (1, 63, 64, 65, 128, 129)}
    assert cycles[1] == cycles[63] == cycles[64]
    assert cycles[65] == cycles[128] == 2 * cycles[64]
    assert cycles[129] == 3 * cycles[64]


def test_a_layer_that_is_streamed_costs_at_once() -> None:
    """Spilling by whole layers: 442 -> 452 filters, measured 41.3 -> 61.6 ms."""
    before, after = timed(convolutions(442)), timed(convolutions(452), (4,))
    assert after.total_ms / before.total_ms == pytest.approx(61.607 / 41.343, rel=0.08)


@pytest.mark.parametrize(("filters", "passes"), [(312, 1), (452, 4), (512, 4), (642, 6), (702, 6), (732, 9)])
def test_streamed_convolution_weights_cross_the_bus_once_per_spatial_pass(filters: int, passes: int) -> None:
    assert work(Builder(1, 64, 64, filters).conv(filters)).passes == passes


def test_streamed_convolutions_cost_more_than_their_size_and_dense_layers_do_not() -> None:
    dense = timed(chain(2048, 2), (0, 1)).regions[0]
    per_mib = dense.streamed_ms / (2 * 2048 * 2048 / MIB)
    assert per_mib == pytest.approx(2.709, rel=0.03)  # measured, ms per MiB
    region = timed(convolutions(642), (2, 3, 4)).regions[0]
    assert region.streamed_ms / (3 * 642 * 642 * 9 / MIB) > 4 * per_mib


def test_streaming_and_computing_overlap() -> None:
    graph = Builder(1, 128, 128, 32).conv(32, 7).conv(32, 7).graph()
    cached, streamed = timed(graph), timed(graph, (1,))
    assert streamed.total_ms == pytest.approx(cached.total_ms)  # hidden behind the compute
    slow = replace(X86, bus=replace(X86.bus, parameters_mb_s=10.0))
    region = timed(graph, (1,), slow).regions[0]
    assert region.streamed_ms == pytest.approx(32 * 49 * 32 / 10e3)  # the bus is slower: the compute is hidden
    assert region.cached_compute_ms == pytest.approx(cached.regions[0].cached_compute_ms / 2)


def test_what_bounds_an_operator() -> None:
    graph = convolutions(128)
    assert {o.bound for o in timed(graph).operators} == {"compute"}
    assert timed(chain(1024, 2), (1,)).operators[1].bound == "stream"
    assert timed(Builder(1, 8, 8, 4).add("RESHAPE", (1, 256)).graph()).operators[0].bound == "nothing"
    assert time_model(graph, (), {}, X86).operators[0].bound == "cpu"


def test_outputs_come_with_padded_channels() -> None:
    """Package: [48, 48, 17] is transferred as 46,080 bytes (../shared/data/goldens.json)."""
    graph = Builder(1, 48, 48, 16).conv(17).graph()
    assert timed(graph).regions[0].output_ms == pytest.approx(46_080 / X86.bus.output_mb_s / 1e3)


def test_operators_outside_every_region_run_on_the_cpu() -> None:
    graph = convolutions(16)
    timing = time_model(graph, (range(3),), uses(graph), X86, cpu_ms={4: 7.5})
    assert [o.on_tpu for o in timing.operators] == [True] * 3 + [False] * 2
    assert timing.operators[4].compute_ms == 7.5
    assert timing.operators[3].compute_ms > 0
    assert timing.cpu_ms == pytest.approx(sum(o.compute_ms for o in timing.operators[3:]))
    assert timing.total_ms == pytest.approx(timing.regions[0].total_ms + timing.cpu_ms)


def test_detection_is_priced_by_anchors_and_hardly_by_classes() -> None:
    def graph(anchors: int, classes: int) -> Graph:
        shapes = ((1, anchors, 4), (1, anchors, classes), (1, 10, 4))
        tensors = tuple(Tensor(f"t{i}", shape, DType.UINT8) for i, shape in enumerate(shapes))
        operator = Operator("CUSTOM", (0, 1), (2,), custom_code="TFLite_Detection_PostProcess")
        return Graph(tensors, (operator,), (0, 1), (2,))

    few, many, more = (time_model(graph(*s), (), {}, X86).cpu_ms for s in ((1917, 2), (1917, 91), (3834, 2)))
    assert many / few == pytest.approx(0.615 / 0.363, rel=0.15)  # LiteRT, one core, measured
    assert more == pytest.approx(2 * few)


def test_each_region_is_an_invocation_of_its_own() -> None:
    graph = convolutions(16, 4)
    one = time_model(graph, (range(4),), uses(graph), X86)
    two = time_model(graph, (range(2), range(2, 4)), uses(graph), X86)
    assert len(two.regions) == 2
    assert sum(r.floor_ms for r in two.regions) == 2 * one.regions[0].floor_ms
    assert two.total_ms > one.total_ms


def test_instruction_bytes_of_a_compiled_file_replace_the_estimate() -> None:
    graph = convolutions(16)
    given_size = time_model(graph, (range(5),), uses(graph), X86, instruction_bytes=(385_000,))
    assert given_size.regions[0].instructions_ms == pytest.approx(385 / X86.bus.parameters_mb_s)
    with pytest.raises(ValueError, match="2 instruction sizes for 1"):
        time_model(graph, (range(5),), {}, X86, instruction_bytes=(1, 2))


def test_impossible_arguments_are_refused() -> None:
    graph = convolutions(16)
    with pytest.raises(ValueError, match="two regions"):
        time_model(graph, (range(3), range(2, 5)), {}, X86)
    for clock in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="clock"):
            timed(graph, clock_mhz=clock)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(profile_names()), st.integers(1, 300), st.sets(st.integers(0, 2)), st.integers(4, 40))
def test_monotone_in_clock_channels_and_streamed_bytes(name: str, filters: int, streamed: set[int], size: int) -> None:
    target, graph = profile(name), convolutions(filters, 3, size)
    some = tuple(sorted(streamed))
    totals = [timed(graph, some, target, clock).total_ms for clock in (500.0, 250.0, 125.0, 62.5)]
    assert totals == sorted(totals)
    assert timed(convolutions(filters + 64, 3, size), some, target).total_ms > totals[0]
    parameters = uses(graph, some)
    more = {i: replace(use, streamed=2 * use.streamed) for i, use in parameters.items()}
    assert time_model(graph, (range(3),), more, target).total_ms >= totals[0]


def test_halving_the_clock_doubles_the_compute_and_nothing_else() -> None:
    fast, slow = timed(convolutions(128)).regions[0], timed(convolutions(128), clock_mhz=250.0).regions[0]
    assert slow.cached_compute_ms == pytest.approx(2 * fast.cached_compute_ms)
    assert slow.total_ms - fast.total_ms == pytest.approx(fast.cached_compute_ms)


def test_unknown_operators_are_priced_by_the_bytes_they_move() -> None:
    item = work(Builder(1, 8, 8, 4).add("NO_SUCH_OPERATOR", (1, 8, 8, 4)))
    assert item.unit is ChipUnit.VECTOR and item.moved_bytes == 512


@pytest.mark.parametrize("shape", [(), (0,), (1, 0, 0, 4)])
def test_empty_and_scalar_tensors_are_no_trouble(shape: tuple[int, ...]) -> None:
    assert timed(Builder(*shape).add("ABS", shape).graph()).total_ms > 0
    if len(shape) == 4:
        assert timed(Builder(*shape).conv(0).graph()).total_ms > 0


def test_the_effort_is_linear_in_the_operators() -> None:
    """Calls of functions are counted, which no clock can upset: 500 operators took 13 ms when measured."""

    def calls(layers: int) -> int:
        builder = Builder(1, 32, 32, 8)
        for _ in range(layers):
            builder.conv(8)
        graph, count = builder.graph(), 0
        parameters = uses(graph)

        def counted(*_: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(counted)
        try:
            time_model(graph, (range(layers),), parameters, X86)
        finally:
            sys.setprofile(None)
        return count

    few, many = calls(100), calls(1000)
    assert 900 < many / few * 100 < 1010
