"""Measured runs in a file become a target; whatever else is in the file is refused with a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll import toolchain
from atoll.errors import FileMissingError, UsageError
from atoll.estimate import ParameterUse, timing_of
from atoll.estimate.calibration import with_numbers
from atoll.estimate.measured_runs import MeasuredRun, fit_target, read_runs
from atoll.estimate.workload import Workload, workload
from atoll.hardware.host import profile
from atoll.model.tflite import write_model
from builders import chain

START = profile("desktop-usb3")


def big(length: int, streamed: int) -> Workload:
    (segment,) = toolchain.compile_model(chain(length), name=f"{length}").segments
    return replace(workload(segment), parameters={0: ParameterUse(streamed=streamed)})


def test_the_fit_explains_runs_that_the_start_does_not() -> None:
    works = {Path(f"{n}"): big(n, n * 10**6) for n in (1, 3, 9)}
    real = with_numbers(START, {"host.floor_ms": 2.0, "bus.parameters_mb_s": 100.0})
    runs = [MeasuredRun(path, timing_of(work.demand, real).total_ms) for path, work in works.items()]
    target, fits = fit_target(runs, [*works.values()], START, "mine")
    assert target.name == "mine" and target.host.floor_ms == pytest.approx(2.0, rel=0.1)
    assert [fit.run for fit in fits] == runs
    for fit in fits:
        assert abs(fit.error) < 0.02 < abs(fit.before_ms / fit.run.ms - 1)


def written(folder: Path, content: Any) -> Path:
    path = folder / "runs.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    write_model(chain(1), tmp_path / "a.tflite")
    entries = [
        {"model": "a.tflite", "ms": 2},
        {"model": "/b", "ms": 1.5, "first_ms": 9, "original": "c", "clock_mhz": 250},
    ]
    assert read_runs(written(tmp_path, entries)) == (
        MeasuredRun(tmp_path / "a.tflite", 2.0),
        MeasuredRun(Path("/b"), 1.5, 9.0, tmp_path / "c", 250.0),
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"model": 1}', "not a list"),
        ([1], "run 0 is 1"),
        ([{"ms": 1}], "'model' is missing"),
        ([{"model": "a"}], "'ms' is missing"),
        ([{"model": "a", "ms": 1, "latency": 2}], "'latency' is not a known key"),
        ([{"model": 3, "ms": 1}], "not a path"),
        ([{"model": "a\0b", "ms": 1}], "not a path"),
        ([{"model": "a", "ms": 0}], "'ms' is 0"),
        ([{"model": "a", "ms": True}], "'ms' is True"),
        ([{"model": "a", "ms": 1e7}], "'ms' is 10000000.0"),
        ('[{"model": "a", "ms": NaN}]', "'ms' is nan"),
        ('[{"model": "a", "ms": 1e999}]', "'ms' is inf"),
        ([{"model": "a", "ms": 10**400}], "'ms' is 1000"),
        ([{"model": "a", "ms": 1, "first_ms": "2"}], "'first_ms' is '2'"),
        ([{"model": "a", "ms": 1, "clock_mhz": 333}], "no clock of 333 MHz"),
    ],
)
def test_what_is_not_a_list_of_runs_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(UsageError, match=words) as caught:
        read_runs(path)
    assert str(path) in caught.value.message and caught.value.hint


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        read_runs(tmp_path / "absent.json")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "ms", "first_ms", "clock_mhz", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(content=values)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = written(tmp_path_factory.getbasetemp(), json.dumps(content))
    try:
        runs = read_runs(path)
    except UsageError:
        return
    assert all(run.ms > 0 for run in runs) and len(runs) == len(content)
