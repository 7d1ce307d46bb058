"""Every kind of result, from a real call: short to look at, the same in JSON as in ``to_dict``, printable.

A new function of the library is one line in ``CALLS``.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import atoll
from atoll.api.bench import pipelining_performance
from atoll.api.partition_with_profiling import partition_with_profiling
from atoll.cli import cli, invoke
from atoll.model.tflite import write_model
from atoll.products.layout import width
from atoll.products.result import Result
from atoll.reporting import formats
from builders import chain

CALLS: dict[str, Callable[[Path], Result]] = {
    "BenchReport": lambda model: pipelining_performance(
        ["chain"], directory=model.parent, segments=[1, 2], modelled=True
    ),
    "CalibrationReport": lambda model: atoll.calibrate(_runs(model), output=model.with_name("my.toml")),
    "CheckReport": lambda model: atoll.check(model),
    "CompileReport": lambda model: atoll.compile(model, output_dir=model.parent / "compiled"),
    "DevicesReport": lambda _model: atoll.devices(),
    "DoctorReport": lambda _model: atoll.doctor(),
    "InspectReport": lambda model: atoll.inspect(_compiled(model)),
    "MeasureReport": lambda model: atoll.measure(model, device="pci", inferences=2),
    "PartitionReport": lambda model: atoll.partition(model, tpus=3),
    "PlanReport": lambda model: atoll.plan(model, tpus=3),
    "ProfileReport": lambda model: atoll.profile(model, tpus=2),
    "ProfiledPartitionReport": lambda model: partition_with_profiling(
        model, segments=2, output=model.parent / "parts", device="model", store=model.with_name("store.json")
    ),
    "RunReport": lambda model: atoll.run(model, tpus=2, inferences=3),
    "ZooReport": lambda _model: atoll.zoo(),
}
"""Class of the result -> a call that returns one, with the path of a small model."""

ELSEWHERE = frozenset(
    (
        "ClassifyReport",  # needs pictures
        "LearnReport",  # needs pictures
        "PipelineSnapshot",  # of a pipeline that runs
    )
)
"""Results that are too dear for here, and are looked at where they are tested."""


def _runs(model: Path) -> Path:
    path = model.with_name("runs.json")
    path.write_text(json.dumps([{"model": model.name, "ms": ms} for ms in (1, 2)]))
    return path


def _compiled(model: Path) -> Path:
    assert invoke(cli, ["compile", str(model), "-q", "-o", str(model.parent)]) == 0
    return model.with_name(f"{model.stem}_edgetpu.tflite")


def _kinds(base: type[Result] = Result) -> Iterator[type[Result]]:
    for kind in base.__subclasses__():
        # A dataclass with slots is made twice: the first one is no module's.
        if getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind and kind.__module__[:6] == "atoll.":
            yield kind
            yield from _kinds(kind)


def test_every_result_is_tried_here() -> None:
    for module in pkgutil.walk_packages(atoll.__path__, "atoll."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds = {*_kinds()}
    assert {kind.__name__ for kind in kinds} == {*CALLS} | ELSEWHERE
    assert len({kind.schema for kind in kinds}) == len(kinds)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "chain.tflite"
    write_model(chain(40), path)
    return path


@pytest.mark.parametrize("kind", CALLS)
def test_a_result(kind: str, model: Path) -> None:
    result = CALLS[kind](model)
    assert type(result).__name__ == kind
    assert 1 < len(repr(result).splitlines()) <= 10 and repr(result).startswith(f"<{kind}>")
    read = json.loads(result.to_json())
    assert read.pop("schema") == f"atoll.{result.schema}" and read == json.loads(json.dumps(result.to_dict()))
    assert (result.answer() or result.tables()) and "<" in result._repr_html_()
    for name in formats.names():
        assert all(line.isprintable() for line in formats.render(result, name).split("\n"))
    for cells in (40, 80, 120):
        lines = formats.render(result, "text", cells).split("\n")
        assert all(width(line) <= cells for line in lines if max(map(width, line.split()), default=0) <= cells // 3)
