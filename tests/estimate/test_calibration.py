"""Calibration finds the numbers that made the runs."""

from __future__ import annotations

import pytest

from atoll.errors import UsageError
from atoll.estimate import Demand, demand_of, timing_of
from atoll.estimate.calibration import FREE, FREE_LOADING, MeasuredDemand, fit_numbers, number_of, with_numbers
from atoll.hardware.host import dump_target, parse_target, profile
from timing_graphs import chain, convolutions, uses

START = profile("desktop-usb3")
TRUE = {
    "host.floor_ms": 0.9,
    "bus.parameters_mb_s": 210.0,
    "bus.input_mb_s": 150.0,
    "bus.output_mb_s": 20.0,
    "bus.load_fixed_ms": 3.0,
    "bus.load_mb_s": 100.0,
}


def demands() -> list[Demand]:
    graphs = [(convolutions(8, 1, 4), ()), (convolutions(64), ()), (chain(1024, 3), (1, 2)), (chain(256, 2), ())]
    big = convolutions(4, 1, 256)
    return [demand_of(g, (range(len(g.operators)),), uses(g, s)) for g, s in (*graphs, (big, ()))]


def test_recovers_the_host_that_was_measured() -> None:
    real = with_numbers(START, TRUE)
    runs = [MeasuredDemand(d, timing_of(d, real).total_ms, timing_of(d, real).first_ms) for d in demands()]
    found = fit_numbers(runs, START, name="mine")
    for key in (*FREE, *FREE_LOADING):
        assert number_of(found, key) == pytest.approx(TRUE[key], rel=0.1), key
    for run in runs:
        assert timing_of(run.demand, found).total_ms == pytest.approx(run.ms, rel=0.03)
    assert found.name == "mine" and found.chip == START.chip
    assert "5 runs" in found.sources["host.floor_ms"]
    assert parse_target(dump_target(found), "mine.toml") == found


def test_what_the_runs_do_not_tell_stays() -> None:
    real = with_numbers(START, {"host.floor_ms": 2.0})
    runs = [MeasuredDemand(d, timing_of(d, real).total_ms) for d in demands()[:1] * 2]
    found = fit_numbers(runs, START)
    assert found.host.floor_ms == pytest.approx(2.0, rel=0.1)
    assert found.bus.output_mb_s == pytest.approx(START.bus.output_mb_s, rel=0.05)
    assert found.bus.load_mb_s == START.bus.load_mb_s


def test_no_rate_exceeds_the_wires() -> None:
    runs = [MeasuredDemand(d, 0.05) for d in demands()]
    found = fit_numbers(runs, START)
    assert max(found.bus.parameters_mb_s, found.bus.input_mb_s, found.bus.output_mb_s) <= 500
    parse_target(dump_target(found), "x")


def test_useless_measurements_are_refused() -> None:
    one = MeasuredDemand(demands()[0], 1.0)
    with pytest.raises(UsageError, match="too few"):
        fit_numbers([one], START)
    with pytest.raises(UsageError, match="not possible"):
        fit_numbers([one, MeasuredDemand(one.demand, 0.0)], START)
