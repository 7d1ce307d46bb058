"""A profile adds up: operators to segments, parts to totals, and its trace to the simulated run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from atoll import toolchain
from atoll.api.cpu_times import cpu_operator_times
from atoll.api.profile import modelled_profile
from atoll.estimate import ParameterUse, pipeline_timing, timing_of
from atoll.estimate.accuracy import held_out_error
from atoll.estimate.simulation import TICKS_PER_SLOWEST_STAGE
from atoll.estimate.workload import Workload, workload
from atoll.hardware.host import Target, parse_target, profile, profile_names
from atoll.model import Model
from atoll.products.trace_events import trace_events
from atoll.reporting.profile_parts import PARTS
from atoll.reporting.profile_report import ProfileReport
from builders import branched, chain

PCIE = profile("x86-pcie")


def workloads(model: Model, segments: int = 1) -> list[Workload]:
    return [workload(item) for item in toolchain.compile_model(model, segments, name="m").segments]


def streamed(work: Workload, indices: tuple[int, ...], nbytes: int = 1 << 20) -> Workload:
    """With so many streamed bytes at some operators."""
    uses = {i: ParameterUse(streamed=nbytes) for i in indices}
    return replace(work, parameters={**work.parameters, **uses})


def only(work: Workload, operators: tuple[int, ...]) -> Workload:
    """With one region, all other operators on the CPU."""
    uses = {i: use for i, use in work.parameters.items() if i in operators}
    return replace(work, regions=(operators,), parameters=uses)


def variants() -> dict[str, list[Workload]]:
    (whole,) = workloads(chain(6))
    return {
        "cached": [whole],
        "streamed": [streamed(whole, (1, 4))],
        "stream hides behind compute": [streamed(whole, (1,), 1)],
        "operators on the CPU": [only(whole, (0, 1, 2))],
        "nothing on the Edge TPU": [replace(whole, regions=(), parameters={})],
        "two inputs, two outputs": workloads(branched()),
        "pipeline": workloads(chain(6), 3),
        "uneven pipeline": [streamed(w, (0,)) if n == 1 else w for n, w in enumerate(workloads(chain(6), 4))],
    }


@pytest.fixture(params=variants())
def works(request: pytest.FixtureRequest) -> list[Workload]:
    return variants()[request.param]


@pytest.mark.parametrize("target", [PCIE, profile("pi3-usb2")], ids=lambda target: target.name)
def test_operators_and_parts_add_up_to_the_total(works: list[Workload], target: Target) -> None:
    result, _ = modelled_profile("m", works, target)
    timings = [timing_of(work.demand, target) for work in works]
    for number, (segment, timing) in enumerate(zip(result.segments, timings)):
        assert segment.total_ms == timing.total_ms
        assert sum(map(segment.part, PARTS)) == pytest.approx(segment.total_ms)
        mine = [item for item in result.operators if item.segment == number]
        assert [item.index for item in mine] == list(range(len(works[number].graph.operators)))
        rest = segment.fixed_ms + segment.instructions_ms
        assert sum(item.ms for item in mine) + rest == pytest.approx(segment.total_ms)
        assert sum(item.transfer_ms for item in mine) == pytest.approx(segment.transfer_ms)
        assert sum(item.parameter_bytes for item in mine) == segment.cached_bytes + segment.streamed_bytes
    assert result.interval_ms == pipeline_timing(timings, target).interval_ms


def test_what_bounds_an_operator_is_its_largest_time(works: list[Workload]) -> None:
    for item in modelled_profile("m", works, PCIE)[0].operators:
        if not item.on_tpu:
            assert item.bound == "cpu" and item.how == "estimated"
            continue
        times = {"compute": item.compute_ms, "stream": item.stream_ms, "transfer": item.transfer_ms}
        if item.bound == "nothing":
            assert not any(times.values())
        else:
            assert times[item.bound] == max(times.values()) > 0


def test_a_streamed_operator_of_some_size_is_bound_by_the_stream() -> None:
    result, _ = modelled_profile("m", variants()["streamed"], PCIE)
    assert [item.index for item in result.operators if item.bound == "stream"] == [1, 4]
    assert {item.index for item in result.operators if item.placement == "streamed"} == {1, 4}
    assert result.segments[0].bound == "stream"


def slices(works: list[Workload]) -> tuple[ProfileReport, list[dict[str, Any]], dict[tuple[int, int], str]]:
    result, found = modelled_profile("m", works, PCIE)
    events = trace_events(found)["traceEvents"]
    lanes = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    return result, [e for e in events if e["ph"] == "X"], lanes


def test_no_two_slices_of_a_lane_overlap(works: list[Workload]) -> None:
    _, events, lanes = slices(works)
    by_lane: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        assert event["dur"] > 0
        by_lane[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert set(by_lane) == set(lanes) and len(set(lanes.values())) == len(lanes)
    for spans in by_lane.values():
        for (_, end), (begin, _) in pairwise(sorted(spans)):
            assert begin >= end - 1e-6  # µs


def test_the_trace_shows_what_each_inference_takes(works: list[Workload]) -> None:
    """In each stage as long as the pipeline model says (but for ticks of the simulation)."""
    result, events, lanes = slices(works)
    stages = pipeline_timing([timing_of(work.demand, PCIE) for work in works], PCIE).stages
    first = [e for e in events if e["args"]["item"] == 0]
    tick = max(stage.device_ms + stage.host_ms for stage in stages) / TICKS_PER_SLOWEST_STAGE
    for number, stage in enumerate(stages):
        mine = [e for e in first if e["args"]["segment"] == number]
        begin, end = min(e["ts"] for e in mine), max(e["ts"] + e["dur"] for e in mine)
        assert (end - begin) / 1e3 == pytest.approx(stage.device_ms + stage.host_ms, abs=tick)
    assert {e["args"]["item"] for e in events} == set(range(16))
    for number, work in enumerate(works):
        shown = {e["name"] for e in first if e["args"]["segment"] == number}
        timed = [o for o in result.operators if o.segment == number and max(o.compute_ms, o.stream_ms) > 0]
        assert {work.graph.where(o.index) for o in timed} <= shown
        if work.regions:
            assert {f"Edge TPU {number}", f"bus {number}"} <= set(lanes.values())


def test_streaming_and_computing_overlap_in_the_trace() -> None:
    works = variants()["streamed"]
    _, events, lanes = slices(works)
    name = works[0].graph.where(1)
    bus, device = (
        next(e for e in events if e["name"] == name and lanes[e["pid"], e["tid"]] == f"{lane} 0")
        for lane in ("bus", "Edge TPU")
    )
    assert bus["ts"] == pytest.approx(device["ts"])


def test_measured_times_of_the_cpu_take_the_place_of_estimates() -> None:
    works = variants()["operators on the CPU"]
    measured = {3: 5.0, 4: 7.0, 5: 1.0}
    result, _ = modelled_profile("m", works, PCIE, measured_cpu=[measured])
    assert {item.index: item.ms for item in result.operators if item.how == "measured"} == measured
    assert result.segments[0].cpu_ms == 13.0
    assert any("measured here" in text for text in result.how) and not any("estimated from" in t for t in result.how)


def test_measuring_runs_each_operator_of_the_cpu_once_at_least() -> None:
    (whole,) = workloads(branched())
    for work in (only(whole, (0, 1)), replace(whole, regions=(), parameters={})):
        times = cpu_operator_times(work)
        assert tuple(times) == work.hosted and all(ms > 0 for ms in times.values())
    assert cpu_operator_times(whole) == {}


def test_every_profile_of_the_package_has_a_known_error() -> None:
    for name in profile_names():
        for tpus in (1, 2):
            found = held_out_error(profile(name), tpus)
            assert found is not None and found.points > 0 and 0 < found.median <= found.p90
    assert held_out_error(PCIE) == held_out_error(replace(PCIE, name="renamed"))


def test_nobody_knows_the_error_of_other_numbers() -> None:
    mine = parse_target('base = "x86-pcie"\n[host]\nfloor_ms = 0.5\n', "mine.toml")
    assert held_out_error(mine) is None
    result, _ = modelled_profile("m", variants()["cached"], mine)
    assert "not known" in result.basis()[-1]


def test_cited_errors_are_those_of_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "timing.md").read_text()
    for group in ("all single devices", "all pipelines", "real networks, all hosts"):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| **{group}**, memory planned by atoll")]
        tpus, name = (2, "x86-pcie") if "pipelines" in group else (1, "x86-pcie")
        found = held_out_error(profile(name), tpus)
        assert found is not None
        if found.group == group:
            assert f"| {found.points} | {found.median:.1%} | {found.p90:.1%} |" in row


@pytest.mark.parametrize(("clock", "tpus", "words"), [(250.0, 1, "500 MHz"), (500.0, 5, "2 to 4 devices")])
def test_what_the_measurements_did_not_cover_is_said(clock: float, tpus: int, words: str) -> None:
    found = held_out_error(PCIE, tpus, clock)
    assert found is not None and words in found.caveat
