"""``atoll profile`` as a user meets it."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atoll import errors
from atoll.hardware.host import load_target, profile

Run = Callable[..., Any]


def profiled(atoll: Run, *arguments: object) -> dict[str, Any]:
    result = atoll("profile", *arguments, "--json")
    assert result.code == 0 and result.err == "", result.err
    content: dict[str, Any] = json.loads(result.out)
    assert content["schema"] == "atoll.profile/1"
    return content


def test_the_table_shows_operators_parts_and_the_error(atoll: Run, branched_file: Path) -> None:
    result = atoll("profile", branched_file)
    assert result.code == 0 and result.err == ""
    rows = [line.split() for line in result.out.splitlines() if line.strip().startswith("#")]
    assert [row[:4] for row in rows] == [
        [f"#{n}", kind, "Edge", "TPU"] for n, kind in enumerate(["CONV_2D"] * 3 + ["ADD"] * 2 + ["CONV_2D"])
    ]
    for words in ("bound by", "ms per inference on x86-pcie", "held out from the fit", "no Edge TPU was used"):
        assert words in " ".join(result.out.split())


def test_a_slower_bus_and_a_slower_clock_take_longer(atoll: Run, chain_file: Path) -> None:
    pcie, usb2 = profiled(atoll, chain_file), profiled(atoll, chain_file, "--bus", "usb2")
    assert (pcie["bus"], usb2["bus"]) == ("pcie", "usb2")
    assert usb2["latency_ms"] > pcie["latency_ms"]
    reduced = profiled(atoll, chain_file, "--clock", "reduced")
    assert reduced["clock_mhz"] == 125
    assert reduced["segments"][0]["compute_ms"] == pytest.approx(4 * pcie["segments"][0]["compute_ms"])


def test_segments_make_a_pipeline(atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = profiled(atoll, chain_file, "--tpus", 3)
    assert [item["segment"] for item in report["operators"]] == [0, 0, 1, 1, 2, 2]
    stages = [segment["stage_ms"] for segment in report["segments"]]
    assert report["interval_ms"] >= max(stages) and report["latency_ms"] > sum(stages)
    monkeypatch.setenv("COLUMNS", "200")  # file names are left out where there is less room
    text = atoll("profile", chain_file, "--tpus", 3).out
    assert "3 x x86-pcie" in text and "chain_segment_2_of_3_edgetpu.tflite" in text


def test_a_compiled_file_gives_the_same_as_its_model(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    assert atoll("compile", chain_file, "-o", tmp_path / "out").code == 0
    model, file = profiled(atoll, chain_file), profiled(atoll, tmp_path / "out/chain_edgetpu.tflite")
    assert file["operators"] == model["operators"] and file["segments"] == model["segments"]


def test_files_are_written(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    report = profiled(atoll, chain_file, "--tpus", 2, "--csv", tmp_path / "p.csv", "--trace", tmp_path / "t.json")
    with (tmp_path / "p.csv").open() as file:
        assert [float(row["ms"]) for row in csv.DictReader(file)] == [item["ms"] for item in report["operators"]]
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    groups = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert groups == {"host", "Edge TPUs", "buses"}


def test_operators_of_the_cpu_are_measured_on_request(atoll: Run, shared: Path) -> None:
    model = shared / "data/models/uncompiled/deeplabv3_mnv2_dm05_pascal_quant.tflite"
    report = profiled(atoll, model, "--measure-cpu")
    hosted = [item for item in report["operators"] if not item["on_tpu"]]
    assert hosted and all(item["how"] == "measured" and item["ms"] > 0 for item in hosted)
    assert "detections" in report["accuracy"]["caveat"]


def test_a_vendor_file_needs_its_original(atoll: Run, shared: Path) -> None:
    models = shared / "data/models"
    file = models / "v16/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    result = atoll("profile", file)
    assert result.code == errors.DeviceError.exit_code and "--original" in result.err
    report = profiled(atoll, file, "--original", models / "uncompiled/mobilenet_v1_0.25_128_quant.tflite")
    assert any("compiled file has them" in text for text in report["how"])
    assert report["segments"][0]["instruction_bytes"] > 100_000


def calibration(atoll: Run, tmp_path: Path, files: list[Path], factor: float, *more: object) -> Any:
    runs = [{"model": str(path), "ms": factor * profiled(atoll, path, *more)["latency_ms"]} for path in files]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    return atoll("profile", "--calibrate", tmp_path / "runs.json", *more, "-o", tmp_path / "my.toml")


def test_measured_runs_make_a_target_that_can_be_used(
    atoll: Run, chain_file: Path, branched_file: Path, tmp_path: Path
) -> None:
    result = calibration(atoll, tmp_path, [chain_file, branched_file], 3.0, "--bus", "usb3")
    assert result.code == 0 and ("+0." in result.out or "-0." in result.out)
    mine = load_target(tmp_path / "my.toml")
    assert mine.name == "my" and mine.chip == profile("desktop-usb3").chip
    before, after = (profiled(atoll, chain_file, "--target", t) for t in ("desktop-usb3", tmp_path / "my.toml"))
    assert after["latency_ms"] == pytest.approx(3 * before["latency_ms"], rel=0.02)
    assert after["accuracy"] is None and before["accuracy"] is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bus", "pcie", "--target", "pi4-usb3", "M"], "both name a host"),
        ([], "no model is named"),
        (["M", "-o", "x.toml"], "--output goes with --calibrate"),
        (["--calibrate", "M"], "needs --output"),
        (["--calibrate", "M", "-o", "x.json"], "not be recognised"),
        (["--calibrate", "M", "-o", "x.toml", "M"], "profiles no model"),
        (["--calibrate", "M", "-o", "x.toml"], "is not JSON"),
        (["M", "--original", "M"], "not compiled, so it has no original"),
        (["M", "--wait", "3"], "--wait goes with --device"),
        (["M", "--inferences", "3"], "--inferences goes with --device"),
        (["M", "--target", "nowhere"], "no host profile 'nowhere'"),
    ],
)
def test_options_that_contradict_each_other(atoll: Run, chain_file: Path, arguments: list[str], words: str) -> None:
    result = atoll("profile", *(chain_file if item == "M" else item for item in arguments))
    assert result.code == errors.UsageError.exit_code and result.out == ""
    assert words in result.err and "Traceback" not in result.err
    assert os.listdir(chain_file.parent) == ["chain.tflite"]


def test_a_compiled_file_cannot_be_cut(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    atoll("compile", chain_file, "-o", tmp_path / "out")
    result = atoll("profile", tmp_path / "out/chain_edgetpu.tflite", "--tpus", 2)
    assert result.code == errors.UsageError.exit_code and "cannot be cut" in result.err


def test_one_run_is_too_few(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    result = calibration(atoll, tmp_path, [chain_file], 2.0)
    assert result.code == errors.UsageError.exit_code and "too few" in result.err
    assert not (tmp_path / "my.toml").exists()
