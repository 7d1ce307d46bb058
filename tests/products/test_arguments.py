"""Arguments of public functions that cannot be: a message that names them and says what could be, no traceback."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atoll
from atoll.errors import UsageError
from atoll.model.tflite import write_model
from atoll.products.arguments import require_types
from builders import chain

WRONG: dict[str, dict[str, list[object]]] = {
    "check": {"min_runtime": [99, "14", None]},
    "compile": {"segments": [0, "2"], "timeout": [-1, math.nan, "x"], "order": ["worst"], "codegen": ["x"], "csv": [3]},
    "partition": {
        "tpus": [0, "2", 2.5], "replicas": [0, 65], "objective": ["x"], "max_latency": [-1, "3"],
        "mixed": [{"pcie": "2"}], "memory_limit": [1.5, "x"], "pins": ["a"], "bus": ["x"], "target": [3],
        "cost": [3], "budget": [-1],
    },
    "plan": {"tpus": [0, "x", (3, 1), (1, 2, 3)], "fps": ["3", math.inf, -1], "bus": ["x"]},
    "profile": {"tpus": [0, "2"], "bus": ["x"], "target": [5], "clock": ["x"], "device": [3], "wait": ["x"]},
    "run": {
        "tpus": [0, "2"], "inferences": [0, "3", 2.5], "seed": [-1, "x"], "codegen": ["x"], "devices": [3],
        "stall": [0], "per_device": [0, 9], "verify": [-1], "metrics_port": [99_999], "partition": [3], "input": [3],
    },
    "measure": {"inferences": [0, "2"], "device": [["pci:0"]], "clock": [500], "target": [3]},
    "inspect": {"original": [3]},
    "classify": {"images": [[], "x.jpg", 3], "top": [0, "x"], "threshold": ["x"], "segments": [0]},
}  # fmt: skip
FIRST = {"partition": {"tpus": 2}, "classify": {"images": ["x.jpg"]}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "net.tflite"
    write_model(chain(4), path)
    return path


@pytest.mark.parametrize("function", WRONG)
def test_each_is_refused_by_name(function: str, model: Path) -> None:
    call = getattr(atoll, function)
    for name, values in WRONG[function].items():
        for value in values:
            with pytest.raises(UsageError):
                call(model, **(FIRST.get(function, {}) | {name: value}))
    for wrong in (3, None):
        with pytest.raises(UsageError, match=rf"^models? is {wrong}\n"):
            call(wrong, **FIRST.get(function, {}))


def test_too_few_inputs_are_no_run(model: Path) -> None:
    for given in ([], [{"input": np.zeros((1, 8, 8, 4), np.int8)}]):
        with pytest.raises(atoll.AtollError, match=f"inputs for {len(given)} of 2"):
            atoll.run(model, input=given, inferences=2)


def test_numbers_of_numpy_and_paths_of_any_kind_are_fine(model: Path) -> None:
    def function(a: int, b: float | None, c: str | Path) -> None:
        require_types(function, locals())

    values: list[tuple[Any, ...]] = [(1, None, "x"), (np.int64(1), np.float32(2), Path("x")), (1, 1, model)]
    for arguments in values:
        function(*arguments)
    with pytest.raises(UsageError, match="a is True") as caught:
        function(True, 1, "")
    assert caught.value.hint == "Give a whole number."
