"""Costs, targets and partitioners of a researcher's own: the documentation's example, and what is promised of them."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pytest

import atoll
from atoll.errors import PartitionError, UsageError
from atoll.hardware.host import profile
from atoll.model import Model
from atoll.model.tflite import write_model
from atoll.networks import build
from builders import branched, chain

DOCS = Path(__file__).parents[2] / "docs" / "partitioning.md"


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(build("mobilenet_v1_0.25_128"), "mobilenet.tflite")
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, str(DOCS), "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 and "ms between results" in printed[0]
    ours, theirs = names["ours"], names["theirs"]
    assert ours.interval_ms <= theirs.interval_ms * (1 + 1e-9)  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", [chain(6), branched()], ids=["chain", "branched"])
def test_the_cuts_are_the_best_of_all_under_a_cost_function(model: Model) -> None:
    """Which is asked once for each segment, and may say that one is impossible."""
    count, asked = len(model.main.operators), []

    def cost(operators: range) -> float:
        asked.append(operators)
        return math.inf if len(operators) == count else sum((n * 7) % 5 + 1 for n in operators) / 1e3

    report = atoll.partition(model, tpus=3, cost=cost)
    searched = list(asked)
    assert len(searched) == len(set(searched))
    ways = [c for k in (1, 2) for c in itertools.combinations(range(1, count), k)]
    best = min(max(cost(range(a, b)) for a, b in itertools.pairwise([0, *cuts, count])) for cuts in ways)
    assert report.interval_ms == pytest.approx(best * 1e3)
    assert report.search is not None and report.search.exact and report.accuracy is None
    assert "cost function" in " ".join(report.basis())
    assert max(segment.ms for segment in report.segments) == pytest.approx(report.interval_ms)


def test_a_partitioner_gets_the_costs_and_its_cuts_are_taken() -> None:
    costs: list[float] = []

    def halves(graph: object, tpus: int, cost: object) -> list[int]:
        costs.extend(cost(range(n, n + 3)) for n in (0, 3))  # type: ignore[operator]
        return [3]

    report = atoll.partition(chain(6), tpus=2, partitioner=halves)
    assert [cut.before_operator for cut in report.cuts] == [3] and report.search is None
    assert [segment.ms / 1e3 for segment in report.segments] == pytest.approx(costs)
    given = atoll.partition(chain(6), tpus=2, partitioner=halves, cost=lambda operators: float(len(operators)))
    assert [segment.ms for segment in given.segments] == [3000.0, 3000.0]


def test_what_is_no_cost_no_cut_and_no_request_is_refused() -> None:
    model = chain(6)
    for wrong in (-1.0, math.nan):
        with pytest.raises(UsageError, match="cost function says"):
            atoll.partition(model, tpus=2, cost=lambda _operators, wrong=wrong: wrong)  # type: ignore[misc]
    with pytest.raises(PartitionError, match="cannot be cut before operator 9"):
        atoll.partition(model, tpus=2, partitioner=lambda *_: [9])
    with pytest.raises(PartitionError, match="makes 3 segments, there are 2"):
        atoll.partition(model, tpus=2, partitioner=lambda *_: [2, 4])
    with pytest.raises(UsageError, match="nothing to search"):
        atoll.partition(model, tpus=2, partitioner=lambda *_: [2], objective="latency")
    with pytest.raises(UsageError, match="of one kind"):
        atoll.partition(model, mixed="pcie:1,usb3:1", cost=lambda operators: float(len(operators)))


def test_every_segment_impossible() -> None:
    with pytest.raises(PartitionError, match="one whose cost is infinite"):
        atoll.partition(chain(4), tpus=2, cost=lambda _operators: math.inf)


def test_a_target_is_an_object_a_name_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('base = "pi4-usb3"\n')
    given = ("pi4-usb3", tmp_path / "my.toml", profile("pi4-usb3"))
    intervals = {atoll.partition(chain(6), tpus=2, target=target).interval_ms for target in given}
    assert len(intervals) == 1 and intervals != {atoll.partition(chain(6), tpus=2).interval_ms}


@pytest.mark.parametrize(
    ("given", "said"),
    [({"cost": lambda _operators: None}, "None of operators"), ({"partitioner": lambda *_: [1.5]}, "partitioner says")],
)
def test_functions_that_say_nonsense(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        atoll.partition(chain(4), tpus=2, **given)
