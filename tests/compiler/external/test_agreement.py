"""Figures of two compilers are compared as the vendor prints them, and only where both are known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from atoll.compiler.external.agreement import Agreement, Figures, differences, sentences, vendor_figures
from atoll.compiler.external.report_parser import ParsedModel, parse_vendor
from atoll.reporting.agreement_table import agreement_table
from shared_data import DATA

LOGS = DATA / "vendor_logs.json"
ENTRIES: list[dict[str, Any]] = json.loads(LOGS.read_text()) if LOGS.exists() else []

FIGURES = Figures(
    operators=134,
    mapped_operators=130,
    subgraphs=1,
    on_chip_bytes=4_047_501,
    remaining_bytes=4_016_046,
    off_chip_bytes=0,
    runtime=13,
    mapped={"ADD": 12, "CONV_2D": 118},
)


def test_bytes_are_equal_when_they_print_alike() -> None:
    assert differences(FIGURES, replace(FIGURES, on_chip_bytes=FIGURES.on_chip_bytes + 900)) == ()  # type: ignore[operator]
    (one,) = differences(FIGURES, replace(FIGURES, on_chip_bytes=2048))
    assert (one.what, one.predicted, one.vendor) == ("on-chip memory", "3.86MiB", "2.00KiB")


def test_every_figure_counts_and_what_is_not_known_does_not() -> None:
    for name in ("operators", "mapped_operators", "subgraphs", "remaining_bytes", "off_chip_bytes", "runtime"):
        (one,) = differences(FIGURES, replace(FIGURES, **{name: getattr(FIGURES, name) + 12_345}))
        assert one.predicted != one.vendor
        assert differences(FIGURES, replace(FIGURES, **{name: None})) == ()
    found = differences(FIGURES, replace(FIGURES, mapped={"ADD": 12, "CONV_2D": 117, "LOGISTIC": 1}))
    assert [(item.what, item.predicted, item.vendor) for item in found] == [
        ("CONV_2D on the Edge TPU", "118", "117"),
        ("LOGISTIC on the Edge TPU", "0", "1"),
    ]
    assert differences(FIGURES, replace(FIGURES, mapped={})) == ()


def test_nothing_said_is_nothing_known() -> None:
    silent = vendor_figures(ParsedModel(), subgraphs=1, runtime=None)
    assert differences(FIGURES, silent) == ()
    rows = agreement_table([Agreement("x", FIGURES, silent, (), searched=False, seconds=0.0)]).rows
    assert rows[0] == ("x", "vendor", *[None] * 6)
    assert rows[1][2:4] == (134, 130)


def test_sentences_say_what_differs_and_what_was_stepped_around() -> None:
    other = replace(FIGURES, mapped_operators=100)
    parts = [
        Agreement("a", FIGURES, FIGURES, (), searched=False, seconds=1.0),
        Agreement("b", FIGURES, other, differences(FIGURES, other), searched=True, seconds=1.0),
    ]
    text = "\n".join(sentences(parts))
    assert "b: the vendor's compiler failed at first" in text
    assert "b: operators on the Edge TPU: predicted 130, the vendor's 100" in text
    assert "agree on every figure of 1 of 2 files" in text
    assert "agree" not in " ".join(sentences(parts[1:]))


@pytest.mark.skipif(not ENTRIES, reason="../shared/data is absent")
def test_figures_of_real_reports_are_consistent() -> None:
    """Whole reports of the vendor: the rows, the two counts and the total say the same."""
    seen = 0
    for entry in ENTRIES:
        for parsed in parse_vendor(entry["raw"]).models:
            figures = vendor_figures(parsed, subgraphs=parsed.subgraphs or 0, runtime=None)
            listed = sum(row.count for row in parsed.operators)
            if listed != parsed.total_operators:
                continue  # torn, or without the table
            seen += 1
            assert sum(figures.mapped.values()) == figures.mapped_operators
            assert figures.mapped_operators + (parsed.cpu_operators or 0) == figures.operators
    assert seen > 20
