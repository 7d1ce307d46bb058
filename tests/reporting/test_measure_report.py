"""Measured latencies: the summary is that of the samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.api.measure import measured_report
from atoll.device import VirtualEdgeTpu
from atoll.reporting.formats import render
from atoll.reporting.measure_report import ModelledLatency

PATH = "virtual:pci:0"


@given(st.lists(st.integers(1, 10**10), min_size=2, max_size=30), st.floats(0.001, 1e4))
def test_the_summary_is_that_of_the_samples(nanoseconds: list[int], modelled_ms: float) -> None:
    spans = [(5 * item, 5 * item + length) for item, length in enumerate(nanoseconds)]
    modelled = ModelledLatency(2 * modelled_ms, modelled_ms, "x86-pcie")
    result = measured_report("m", VirtualEdgeTpu(PATH), spans, modelled)
    first, *others = (length / 1e6 for length in nanoseconds)
    assert (result.first_ms, result.inferences) == (first, len(others))
    assert result.median_ms == pytest.approx(np.median(others)) and result.mean_ms == pytest.approx(np.mean(others))
    assert min(others) <= result.median_ms * (1 + 1e-9) and result.p95_ms <= max(others) * (1 + 1e-9)
    difference = result.to_dict()["difference"]
    assert difference["median"] == pytest.approx(result.median_ms / modelled_ms - 1)
    assert difference["first"] == pytest.approx(first / 2 / modelled_ms - 1)
    assert ("as here" in result.how) == (result.median_ms > 1.1 * modelled_ms)
    assert len(render(result, "csv").splitlines()) - 1 == 3


def test_nothing_modelled_leaves_blanks() -> None:
    spans = [(0, 2_000_000)] * 3
    result = measured_report("m", VirtualEdgeTpu(PATH), spans, None, "Nothing is modelled: a reason.")
    assert [row[2:] for row in result.tables()[0].rows] == [(None, None)] * 3
    assert result.how.endswith("Nothing is modelled: a reason.")
    assert render(result, "csv").splitlines()[2] == "median,2.0,,"
