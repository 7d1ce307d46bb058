"""The shares that `atoll check` gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll import networks
from atoll.api.check import check
from atoll.model.tflite import read_model
from atoll.reporting.check_report import multiply_accumulates
from builders import branched


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128", "mobilenet_v2_0.35_96", "unet_small"])
def test_multiply_accumulates_are_those_of_the_published_network(name: str) -> None:
    (published,) = (entry.macs for entry in networks.entries() if entry.name == name)
    graph = networks.build(name).main
    assert sum(multiply_accumulates(graph, operator) for operator in graph.operators) == published


def test_shares_are_whole_when_everything_is_mapped() -> None:
    report = check(branched())
    assert (report.mapped_operators, report.mapped_macs, report.mapped_parameters) == (6, 1.0, 1.0)


def test_shares_lie_between_nothing_and_everything(original_model: Path) -> None:
    report = check(read_model(original_model))
    assert 0 <= report.mapped_macs <= 1
    assert 0 <= report.mapped_parameters <= 1
    assert report.total_operators - report.mapped_operators == 0 or report.findings
