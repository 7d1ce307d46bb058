"""A profile as people and programs read it."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from atoll.estimate.accuracy import Accuracy, error_sentence
from atoll.products.layout import width
from atoll.reporting.formats import render
from atoll.reporting.profile_parts import PARTS, OperatorProfile, SegmentProfile, operators_csv
from atoll.reporting.profile_report import ProfileReport, SimulatedRun

RUN = SimulatedRun(1, 1.0, 1.0, 1.0, (1.0,), 0.0)
CONVOLUTION = OperatorProfile(
    0, 3, "CONV_2D", 'a "name", odd', True, 5, 64, "cached", 0.5, 0.0, 0.1, 0.6, "compute", "modelled"
)


def segment(name: str = "m", **times: float) -> SegmentProfile:
    values = {f"{part}_ms": times.get(part, 0.0) for part in PARTS}
    total = sum(values.values())
    return SegmentProfile(name, 0, 0, 0, **values, total_ms=total, load_ms=1.0, stage_ms=total)


def report(*segments: SegmentProfile, operators: tuple[OperatorProfile, ...] = ()) -> ProfileReport:
    total = sum(each.total_ms for each in segments)
    return ProfileReport("m", "t", "", "pcie", 500.0, segments, operators, total, total, 0, RUN, ("x.",), None)


def test_segments_name_what_bounds_them() -> None:
    fast, slow = segment(fixed=1, compute=2), segment(stream=7, cpu=1)
    assert (fast.bound, slow.bound) == ("compute", "stream")
    table = report(fast, slow).tables()[0]
    assert [row[-1] for row in table.rows] == ["compute", "stream"]


@given(times=st.lists(st.floats(0.001, 1e4), min_size=len(PARTS), max_size=len(PARTS)), several=st.booleans())
def test_the_text_fits_a_terminal_and_keeps_the_totals(times: list[float], several: bool) -> None:
    parts = dict(zip(PARTS, times))
    segments = [segment("a_long_name_of_a_file_edgetpu.tflite", **parts)] * (1 + several)
    text = render(report(*segments, operators=(CONVOLUTION,)), "text", 80)
    assert all(width(line) <= 80 for line in text.splitlines())
    assert f"{segments[0].total_ms:,.3f}" in text and "CONV_2D" in text


def test_csv_and_json_hold_every_operator() -> None:
    profile = report(segment(compute=2), operators=(CONVOLUTION,))
    (row,) = csv.DictReader(io.StringIO(operators_csv(profile.operators)))
    assert row["name"] == CONVOLUTION.name and float(row["ms"]) == 0.6 and row["bound"] == "compute"
    fields = profile.to_dict()
    assert fields["operators"][0]["macs"] == 5 and fields["segments"][0]["bound"] == "compute"
    assert fields["throughput"] == 500.0 and fields["accuracy"] is None


def test_a_model_that_takes_no_time_has_no_throughput() -> None:
    assert report(segment()).throughput is None


def test_the_error_is_said_in_words() -> None:
    text = error_sentence(Accuracy("real networks", 21, 0.085, 0.216, "none on this host"))
    for words in ("median 8.5%", "90th percentile 21.6%", "21 measurements", "real networks", "none on this host"):
        assert words in text
    assert "not known" in error_sentence(None)
