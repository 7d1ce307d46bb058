"""``atoll.learn``, ``atoll.classify``, ``atoll.inspect`` and ``atoll.zoo`` as a Python program calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

import atoll
from atoll.compiler.inspect_report import InspectReport
from atoll.errors import CorruptPackageError, OutputError, UnsupportedModelError, UsageError
from atoll.model.tflite import read_model, write_model
from atoll.reporting.formats import names, render
from atoll.toolchain import compile_model
from builders import branched
from extractors import extractor
from pictures import CLASSES, write_folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("PIL", reason="images need Pillow")
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "images", 4, seed=1)
    return tmp_path


def test_from_a_model_in_memory_to_answers(work: Path) -> None:
    told: list[tuple[str, int, int | None]] = []

    def on_progress(title: str, done: int = 0, total: int | None = None) -> None:
        told.append((title, done, total))

    report = atoll.learn(
        extractor(), "images", output=work / "new.tflite", append_tail=True, devices=("cpu",), on_progress=on_progress
    )
    assert report.labels == CLASSES and report.trained_on + report.tested_on == 20
    assert report.top1 == sum(report.confusion[i][i] for i in range(5)) / report.tested_on
    assert told[0] == ("embedding", 1, 20) and told[-1] == ("testing", report.tested_on, report.tested_on)
    found = atoll.classify(report.output, [work / "images/noise/008.png"], labels=report.labels_file, devices=("cpu",))
    best, *others = found.results
    assert best.label == "noise" and len(others) == 2
    assert best.score >= others[0].score >= others[1].score
    for result in (report, found):
        assert len(repr(result).splitlines()) <= 10
        assert all(render(result, name) for name in names())


def test_images_that_show_none_of_the_classes_are_named(work: Path) -> None:
    atoll.learn(extractor(), "images", output="new.tflite", append_tail=True, devices=("cpu",))
    images = ["images/noise/008.png", "images/checks/000.png"]
    found = atoll.classify("new.tflite", images, threshold=2, devices=("cpu",))
    assert found.results == () and [image in text for image, text in zip(images, found.answer())] == [True, True]


def test_options_of_the_other_method_are_refused_before_anything_is_done(work: Path) -> None:
    with pytest.raises(UsageError, match="keep_classes does not go with the method softmax"):
        atoll.learn("none.tflite", "images", output="new.tflite", method="softmax", keep_classes=True)
    with pytest.raises(UsageError, match="iterations does not go with the method imprint"):
        atoll.learn("none.tflite", "images", output="new.tflite", iterations=3)
    with pytest.raises(UsageError, match="method is 'guess'"):
        atoll.learn("none.tflite", "images", output="new.tflite", method="guess")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="two results"):
        atoll.learn("none.tflite", "images", output="new.tflite", labels="new.tflite")
    with pytest.raises(OutputError):
        atoll.learn("none.tflite", "images", output="images")
    for wrong in ({"top": 0}, {"threshold": float("nan")}, {"segments": 0}):
        with pytest.raises(UsageError):
            atoll.classify(extractor(), ["images/noise/008.png"], **wrong)  # type: ignore[arg-type]


def test_inspection_of_models_in_memory() -> None:
    compiled = compile_model(branched(), name="net").segments[0].model
    report = atoll.inspect(compiled, original=branched())
    assert isinstance(report, InspectReport) and not report.problems
    report.require_whole()
    assert {placed.placement for region in report.regions for placed in region.placed} == {"cached"}
    assert len(repr(report).splitlines()) <= 10
    with pytest.raises(UnsupportedModelError):
        atoll.inspect(branched())


def test_a_report_with_problems_is_not_whole() -> None:
    report = InspectReport("net.tflite", "", (), (), (), 10, (), (), ("tile 3 is missing",))
    assert report.tables()[0].rows == (("tile 3 is missing",),)
    with pytest.raises(CorruptPackageError, match="tile 3"):
        report.require_whole()


def test_the_zoo_is_listed_and_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entries = atoll.zoo().networks
    assert len(entries) > 30
    report = atoll.zoo("mobilenet_v1_0.25_128", seed=3)
    assert report.answer() == ("mobilenet_v1_0.25_128.tflite",)
    assert read_model(report.answer()[0]).description.endswith("seed 3: random weights")
    assert report.networks == tuple(entry for entry in entries if entry.name == "mobilenet_v1_0.25_128")
    with pytest.raises(UsageError):
        atoll.zoo(output="x.tflite")


def test_an_extractor_that_is_a_file(work: Path) -> None:
    write_model(extractor(), "plain.tflite")
    report = atoll.learn(
        "plain.tflite", "images", output="new.tflite", method="softmax", devices=("cpu",), iterations=20, curve="c.svg"
    )
    assert (report.iterations, report.curve) == (20, "c.svg") and Path("c.svg").exists()
