"""A profile as people and programs read it."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.estimate.accuracy import Accuracy, error_sentence
from atoll.reporting.profile_report import (
    PARTS,
    OperatorProfile,
    Profile,
    Run,
    SegmentProfile,
    bar,
    operators_csv,
    segment_rows,
)

MARKS = "·▒-█▓c"
parts = st.lists(st.floats(0, 1e6), min_size=len(PARTS), max_size=len(PARTS))


@given(parts=parts, more=st.floats(1, 100))
def test_a_bar_has_each_part_to_scale(parts: list[float], more: float) -> None:
    total = sum(parts)
    text = bar(parts, total * more)
    if not total:
        assert text == ""
        return
    assert len(text) == pytest.approx(40 / more, abs=0.51)
    assert [mark for mark in MARKS if mark in text] == sorted(set(text), key=MARKS.index)
    for part, mark in zip(parts, MARKS):
        assert text.count(mark) == pytest.approx(part / total / more * 40, abs=1.01)


def segment(**times: float) -> SegmentProfile:
    values = {f"{part}_ms": times.get(part, 0.0) for part in PARTS}
    total = sum(values.values())
    return SegmentProfile("m", 0, 0, 0, **values, total_ms=total, load_ms=1.0, stage_ms=total)


def test_segments_share_one_scale_and_name_what_bounds_them() -> None:
    fast, slow = segment(fixed=1, compute=1), segment(stream=7, cpu=1)
    first, second = segment_rows([fast, slow])
    assert first[-1] == "·" * 5 + "█" * 5 and second[-1] == "▓" * 35 + "c" * 5
    assert (segment(fixed=1, compute=2).bound, slow.bound) == ("compute", "stream")


def test_csv_and_json_hold_every_operator() -> None:
    item = OperatorProfile(
        0, 3, "CONV_2D", 'a "name", odd', True, 5, 64, "cached", 0.5, 0.0, 0.1, 0.6, "compute", "modelled"
    )
    run = Run(1, 1.0, 1.0, 1.0, (1.0,), 0.0)
    profile = Profile("m", "t", "", "pcie", 500.0, (segment(compute=2),), (item,), 2.0, 2.0, 0, run, ("x.",), None)
    (row,) = csv.DictReader(io.StringIO(operators_csv(profile)))
    assert row["name"] == item.name and float(row["ms"]) == 0.6 and row["bound"] == "compute"
    fields = profile.fields()
    assert fields["operators"][0]["macs"] == 5 and fields["segments"][0]["bound"] == "compute"
    assert fields["throughput"] == 500.0 and fields["accuracy"] is None


def test_a_model_that_takes_no_time_has_no_throughput() -> None:
    run = Run(1, 0.0, 0.0, 0.0, (), 0.0)
    assert Profile("m", "t", "", "pcie", 500.0, (), (), 0.0, 0.0, 0, run, (), None).throughput is None


def test_the_error_is_said_in_words() -> None:
    text = error_sentence(Accuracy("real networks", 21, 0.085, 0.216, "none on this host"))
    for words in ("median 8.5%", "90th percentile 21.6%", "21 measurements", "real networks", "none on this host"):
        assert words in text
    assert "not known" in error_sentence(None)
