"""The error on measurements that nothing was fitted to, as docs/timing.md states it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from shared_data import DATA

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SHARED = DATA

pytestmark = pytest.mark.skipif(
    not (SHARED / "latencies.json").exists(), reason="needs the measurements in ../shared/data"
)


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import fit_timing
    finally:
        sys.path.remove(str(BENCHMARKS))
    targets = {name: fit_timing.profile(name) for name in fit_timing.profile_names()}
    return {row.group: row for row in fit_timing.summary(fit_timing.points_of(fit_timing.cases(), targets))}


@pytest.mark.parametrize(
    ("group", "median", "p90", "points"),
    [
        ("**all single devices**", 0.10, 0.25, 150),
        ("**real networks, all hosts**", 0.10, 0.25, 20),
        ("**all pipelines**", 0.15, 0.35, 60),
    ],
)
def test_held_out_error(rows: dict[str, Any], group: str, median: float, p90: float, points: int) -> None:
    row = rows[group]
    assert row.points >= points
    assert row.median <= median and row.p90 <= p90
    assert row.rank > 0.97


def test_the_model_ranks_networks_on_every_host(rows: dict[str, Any]) -> None:
    for name, row in rows.items():
        if "conv" in name and row.rank is not None:
            assert row.rank > 0.95, name
