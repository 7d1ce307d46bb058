"""``atoll learn`` and ``atoll classify``: from folders of images to answers."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from atoll.cli import invoke
from atoll.cli.classify import command as classify
from atoll.cli.learn import command as learn
from atoll.errors import FileMissingError, InputError, OutputError, UnsupportedModelError, UsageError
from atoll.learning import ImprintingEngine, with_imprinting_tail
from atoll.learning.labels import read_labels
from atoll.model.tflite import parse_model, read_model, write_model
from atoll.toolchain import compile_model
from extractors import extractor
from pictures import CLASSES, write_folder

pytest.importorskip("PIL", reason="images need Pillow")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an extractor, an imprintable model and pictures; three virtual devices."""
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "3")
    monkeypatch.chdir(tmp_path)
    write_model(extractor(), tmp_path / "plain.tflite")
    write_model(with_imprinting_tail(extractor()), tmp_path / "model.tflite")
    write_folder(tmp_path / "images", 8, seed=1)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, command: object = learn) -> dict[str, object]:
    assert invoke(command, [*arguments, "--json"]) == 0, capsys.readouterr().err  # type: ignore[arg-type]
    result: dict[str, object] = json.loads(capsys.readouterr().out)
    return result


BASICS = ("--images", "images", "--output", "new.tflite", "--held-out", "0.4")


@pytest.mark.parametrize(
    "how",
    [
        ("imprint", "--extractor", "model.tflite"),
        ("imprint", "--extractor", "plain.tflite", "--append-tail", "--device", "cpu"),
        ("imprint", "--extractor", "model.tflite", "--device", "pci:1"),
        ("imprint", "--extractor", "model.tflite", "--segments", "2"),
        ("softmax", "--extractor", "plain.tflite", "--learning-rate", "0.3", "--curve", "curve.svg"),
        ("softmax", "--extractor", "plain.tflite", "--learning-rate", "0.3", "--patience", "5"),
    ],
    ids=" ".join,
)
def test_what_was_learnt_is_recognised(how: tuple[str, ...], work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(capsys, *how, *BASICS)
    assert report["top1"] >= 0.8  # type: ignore[operator]
    assert (report["trained_on"], report["tested_on"]) == (25, 15)
    assert report["labels"] == list(CLASSES) == read_labels("new_labels.txt")
    if "--curve" in how:
        ET.parse(work / "curve.svg")
    images = [f"images/{name}/{number:03}.png" for number, name in ((0, "checks"), (19, "noise"), (27, "stripes"))]
    arguments = ("new.tflite", *images, "--labels", "new_labels.txt", "--top", "1")
    answers = run(capsys, *arguments, command=classify)["results"]
    assert [(a["image"], a["label"]) for a in answers] == [(i, i.split("/")[1]) for i in images]  # type: ignore[attr-defined]


def test_devices_and_pipelines_learn_the_same(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for name, options in (("a", ("--device", "cpu")), ("b", ()), ("c", ("--segments", "3"))):
        arguments = ("--images", "images", "--output", f"{name}.tflite", *options)
        run(capsys, "imprint", "--extractor", "model.tflite", *arguments)
        files.append((work / f"{name}.tflite").read_bytes())
    assert files[0] == files[1] == files[2]


def test_compiled_extractor(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled = compile_model(extractor(), name="plain").segments[0].model
    write_model(compiled, work / "compiled.tflite")
    report = run(capsys, "imprint", "--extractor", "compiled.tflite", "--append-tail", *BASICS)
    assert report["top1"] >= 0.8  # type: ignore[operator]
    assert any(operator.custom_code for operator in read_model(work / "new.tflite").main.operators)
    for option in (("--segments", "2"), ("--device", "cpu")):
        code = invoke(learn, ["softmax", "--extractor", "compiled.tflite", *BASICS, *option])
        assert code == UsageError.exit_code
        assert "is compiled already" in capsys.readouterr().err


def test_classes_can_be_added_later(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("checks", "circles"):
        (work / "first").mkdir(exist_ok=True)
        (work / "images" / name).rename(work / "first" / name)
    run(capsys, "imprint", "--extractor", "model.tflite", "--images", "first", "--output", "old.tflite")
    (work / "first/checks").rename(work / "images/checks")
    options = ("--extractor", "old.tflite", "--keep-classes", "--base-labels", "old_labels.txt")
    report = run(capsys, "imprint", *options, *BASICS)
    assert report["labels"] == ["checks", "circles", "noise", "stripes", "triangles"]
    description = read_model(work / "new.tflite").description.splitlines()
    norms = {line.split()[0]: float(line.split()[1]) for line in description}
    assert sorted(norms) == ["0", "1", "2", "3", "4"]
    old = {line.split()[0]: float(line.split()[1]) for line in read_model(work / "old.tflite").description.splitlines()}
    assert norms["0"] > old["0"]
    assert norms["1"] == old["1"]


def test_text_report(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(learn, ["imprint", "--extractor", "model.tflite", *BASICS, "--labels", "names.txt"]) == 0
    text = capsys.readouterr().out
    assert "new.tflite: 5 classes, trained on 25 images; labels in names.txt" in text
    assert "Top-1 accuracy on 15 held-out images" in text
    assert all(name in text for name in CLASSES)
    assert read_labels(str(work / "names.txt")) == list(CLASSES)
    assert invoke(classify, ["new.tflite", "images/noise/016.png", "--threshold", "2"]) == 0


def test_unreadable_images_are_named_and_skipped_only_when_asked(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "images/noise/broken.png").write_bytes(b"no picture")
    (work / "images/noise/empty.png").touch()
    assert invoke(learn, ["imprint", "--extractor", "model.tflite", *BASICS]) != 0
    assert "broken.png" in capsys.readouterr().err
    assert not (work / "new.tflite").exists()
    assert invoke(learn, ["imprint", "--extractor", "model.tflite", *BASICS, "--skip-bad"]) == 0
    errors = capsys.readouterr().err
    assert "skipped images/noise/broken.png" in errors and "skipped images/noise/empty.png" in errors


def test_a_class_left_without_images(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (work / "images/noise").iterdir():
        path.write_bytes(b"no picture")
    code = invoke(learn, ["imprint", "--extractor", "model.tflite", *BASICS, "--skip-bad"])
    assert code == InputError.exit_code
    assert "class 'noise' has no image" in capsys.readouterr().err


def test_mistakes(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = invoke(learn, ["imprint", "--extractor", "plain.tflite", *BASICS])
    errors = capsys.readouterr().err
    assert code == UnsupportedModelError.exit_code
    assert "Input model must have an L2Norm layer." in errors and "--append-tail" in errors
    (work / "one.txt").write_text("one\ntwo\n")
    options = ["--extractor", "model.tflite", "--keep-classes", "--base-labels", "one.txt"]
    assert invoke(learn, ["imprint", *options, *BASICS]) == UsageError.exit_code
    assert "has 2 labels, the model keeps 1 classes" in capsys.readouterr().err
    assert invoke(learn, ["imprint", "--extractor", "model.tflite", *BASICS, "--segments", "4"]) == 2
    assert "4 segments need 4 devices, there are 3" in capsys.readouterr().err
    arguments = ["softmax", "--extractor", "plain.tflite", *BASICS, "--held-out", "0", "--patience", "3"]
    assert invoke(learn, arguments) == UsageError.exit_code
    assert "--patience needs held-out images" in capsys.readouterr().err


def test_base_classes_of_other_origin_stay_as_they_are(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--extractor", "model.tflite", "--keep-classes")
    report = run(capsys, "imprint", *options, *BASICS)
    assert report["labels"] == ["class 0", *CLASSES]
    assert ImprintingEngine(parse_model((work / "new.tflite").read_bytes()), True).num_classes == 6


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("cat\nhot dog\n", ["cat", "hot dog"]),
        ("0  cat\n2 hot dog\n", ["cat", "class 1", "hot dog"]),
        ("1984 novel\n2001 film\n", ["1984 novel", "2001 film"]),
        ("background\n1 dog\n", ["background", "1 dog"]),
    ],
)
def test_label_files(content: str, labels: list[str], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(content)
    assert read_labels(str(tmp_path / "labels.txt")) == labels


def test_a_classifier_is_no_extractor(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for how in (("softmax",), ("imprint", "--append-tail")):
        assert invoke(learn, [*how, "--extractor", "model.tflite", *BASICS]) == UnsupportedModelError.exit_code
        assert "ends with SOFTMAX" in capsys.readouterr().err
    assert not (work / "new.tflite").exists()


def test_all_results_are_written_or_none(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "file").touch()
    for option in (("--labels", "file/labels.txt"), ("--curve", "file/curve.svg"), ("--labels", "images")):
        arguments = ["softmax", "--extractor", "plain.tflite", *BASICS, "--iterations", "5", *option]
        assert invoke(learn, arguments) == OutputError.exit_code
        assert not list(work.glob("new*"))
    arguments = ["softmax", "--extractor", "plain.tflite", *BASICS, "--iterations", "5", "--labels", "new.tflite"]
    assert invoke(learn, arguments) == UsageError.exit_code
    assert not list(work.glob("new*"))


def test_a_link_to_nothing_is_an_image_that_cannot_be_read(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "images/noise/gone.png").symlink_to("nowhere.png")
    assert invoke(learn, ["imprint", "--extractor", "model.tflite", *BASICS]) == FileMissingError.exit_code
    assert "gone.png" in (errors := capsys.readouterr().err) and "--skip-bad" in errors
    assert invoke(learn, ["imprint", "--extractor", "model.tflite", *BASICS, "--skip-bad"]) == 0
    assert "skipped images/noise/gone.png" in capsys.readouterr().err
