"""``atoll run`` as a user meets it: what it prints, what it writes, and what it says when it cannot."""

from __future__ import annotations

import importlib
import importlib.resources
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atoll import errors, toolchain
from atoll.device.inventory import edge_tpus
from atoll.model.tflite import read_model, write_model
from builders import branched

Run = Callable[..., Any]


def flat(text: str) -> str:
    """Without the breaks of lines that were folded."""
    return " ".join(text.split())


def shipped_target(name: str) -> str:
    return (importlib.resources.files("atoll.hardware") / "hosts" / f"{name}.toml").read_text()


def test_the_table_shows_each_segment_and_the_proof(atoll: Run, chain_file: Path) -> None:
    result = atoll("run", chain_file, "--tpus", 3, "--inferences", 5)
    assert result.code == 0 and result.err == ""
    table = result.out.partition("Segments\n")[2]
    rows = [line.split() for line in table.splitlines() if line.strip()[:1].isdigit()]
    assert [row[:4] for row in rows[:3]] == [[str(i), "2", "of", "2"] for i in range(3)]
    assert "first 3 inferences equal those of the uncut model bit for bit" in flat(result.out)


def test_json_holds_the_same_with_a_schema(atoll: Run, branched_file: Path) -> None:
    result = atoll("run", branched_file, "--tpus", 3, "--inferences", 4, "--json")
    report = json.loads(result.out)
    assert report["schema"] == "atoll.run/1"
    assert report["verified"] == 3 and report["inferences"] == 4
    assert sum(segment["operators"] for segment in report["segments"]) == 6
    assert {segment["device"] for segment in report["segments"]} == {f"virtual:pci:{i}" for i in range(3)}
    slowest = max(report["segments"], key=lambda segment: segment["mean_ms"])
    assert slowest["share_of_bottleneck"] == 1 and report["segments"][report["bottleneck"]] == slowest


def test_segments_are_named_as_the_vendor_names_them(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    result = atoll("run", chain_file, "--tpus", 2, "--inferences", 1, "--segments-dir", tmp_path / "new/dir")
    assert result.code == 0 and "The compiled segments are in" in result.out
    names = [f"chain_segment_{i}_of_2_edgetpu.tflite" for i in range(2)]
    assert sorted(os.listdir(tmp_path / "new/dir")) == names
    assert read_model(tmp_path / "new/dir" / names[0]).main.operators[0].custom_code == "edgetpu-custom-op"


def test_inputs_come_from_a_file(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(-128, 128, (4, 8, 8, 4)).astype(np.int8)
    np.save(tmp_path / "inputs.npy", stack)
    assert atoll("run", chain_file, "--inferences", 6, "--input", tmp_path / "inputs.npy").code == 0


def test_several_inputs_come_from_an_npz_file(atoll: Run, branched_file: Path, tmp_path: Path) -> None:
    one = np.zeros((1, 8, 8, 4), np.int8)
    np.savez(tmp_path / "inputs.npz", left=one, right=np.repeat(one, 3, 0))
    assert atoll("run", branched_file, "--inferences", 3, "--input", tmp_path / "inputs.npz").code == 0


def test_an_image_is_resized_to_the_input(atoll: Run, tmp_path: Path, shared: Path) -> None:
    model = shared / "data/models/uncompiled/mobilenet_v1_0.25_128_quant.tflite"
    assert atoll("run", model, "--inferences", 1, "--input", shared / "data/models/cat.bmp").code == 0


def test_ctrl_c_ends_it_at_once_and_leaves_nothing(
    atoll_process: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    write_model(branched(), tmp_path / "m.tflite")
    process = atoll_process("run", tmp_path / "m.tflite", "--inferences", 10**9, "--segments-dir", tmp_path / "out")
    while not (tmp_path / "out").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == errors.INTERRUPTED
    assert "Traceback" not in err and out == ""
    left = os.listdir(tmp_path / "out")
    assert sorted(left) in ([], [f"m_segment_{i}_of_2_edgetpu.tflite" for i in range(2)])


def test_help_imports_neither_numpy_nor_litert(atoll_process: Callable[..., subprocess.Popen[str]]) -> None:
    """What keeps ``atoll --help`` under 0.3 s."""
    code = "import sys, atoll.cli; atoll.cli.invoke(atoll.cli.cli, ['--help']); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'numpy'" not in out and "'ai_edge_litert" not in out and "'rich" not in out


def test_a_run_gives_its_devices_back(atoll: Run, chain_file: Path) -> None:
    """Twice all eight devices in one process: the second run must not wait for the first."""
    for _ in range(2):
        assert atoll("run", chain_file, "--tpus", 6, "--inferences", 1, "--wait", 0).code == 0


@pytest.mark.parametrize("cells", [70, 80, 200])
def test_the_report_fits_the_terminal(
    atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(cells))
    out = atoll("run", chain_file, "--tpus", 2, "--inferences", 1).out
    assert all(len(line) <= cells for line in out.splitlines())
    assert "Segments" in out and "100%" in out
    assert ("chain_segment_1_of_2_edgetpu.tflite" in out) == (cells == 200)


def test_sigterm_leaves_no_temporary_files(
    atoll_process: Callable[..., subprocess.Popen[str]],
    chain_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    process = atoll_process("run", chain_file, "--inferences", 10**9)
    while not os.listdir(tmp_path / "temporary") and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and os.listdir(tmp_path / "temporary") == []


def test_in_real_time_a_device_takes_as_long_as_modelled(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow.toml"
    slow.write_text(shipped_target("x86-pcie").replace('name = "x86-pcie"', 'name = "slow"'))
    result = atoll("run", chain_file, "--inferences", 8, "--real-time", "--target", slow, "--json")
    report = json.loads(result.out)
    assert report["interpreters_per_device"] == 2 and report["verified"] == 3
    for segment in report["segments"]:
        assert 0 < segment["modelled_ms"] <= segment["mean_ms"] * 1.5  # asleep at least so long, but for rounding
    assert report["times"].startswith("virtual devices in real time") and report["targets"] == ["slow"]
    usb2 = ("run", chain_file, "--inferences", 3, "--bus", "usb2", "--clock", "reduced", "--per-device", 1)
    assert "Modelled for pi3-usb2: each segment by itself" in flat(atoll(*usb2).out)
    assert "cpu_ms,modelled_ms" in atoll(*usb2, "--format", "csv").out
    quick, slow_clock = (
        json.loads(atoll("run", chain_file, "--inferences", 2, "--bus", "usb2", "--clock", clock, "--json").out)
        for clock in ("max", "reduced")
    )
    for left, right in zip(quick["segments"], slow_clock["segments"]):
        assert left["modelled_ms"] < right["modelled_ms"]


def test_devices_are_as_before_after_a_run_in_real_time(atoll: Run, chain_file: Path) -> None:
    before = [(device.latency, device.real_time, device.clock) for device in edge_tpus()]  # type: ignore[attr-defined]
    assert atoll("run", chain_file, "--inferences", 2, "--bus", "usb3", "--clock", "standard").code == 0
    after = [(device.latency, device.real_time, device.clock) for device in edge_tpus()]  # type: ignore[attr-defined]
    assert after == before


def test_a_partition_file_says_where_to_cut_and_on_what(atoll: Run, branched_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "cuts.json"
    assert atoll("partition", branched_file, "--tpus", 2, "-o", file).code == 0
    document = json.loads(file.read_text())
    segments = document["segments"]
    segments[0]["replicas"] = 3
    file.write_text(json.dumps(document))
    report = json.loads(atoll("run", branched_file, "--partition", file, "--inferences", 9, "--json").out)
    assert [segment["operators"] for segment in report["segments"]] == [len(item["operators"]) for item in segments]
    assert [segment["device"].count("virtual") for segment in report["segments"]] == [3] + [1] * (len(segments) - 1)
    assert report["verified"] == 3
    assert atoll("run", branched_file, "--partition", file, "--tpus", 2).code == errors.UsageError.exit_code


def test_segments_get_the_kind_of_device_that_the_partition_file_names(
    atoll: Run, branched_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cuts.json"
    assert atoll("partition", branched_file, "--tpus", 3, "--exactly", "-o", file).code == 0
    document = json.loads(file.read_text())
    for segment, kind in zip(document["segments"], ("any", "usb2", "pcie")):
        segment["device"] = kind
    file.write_text(json.dumps(document))
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "pci:1,usb:1,usb2:1")
    result = atoll("run", branched_file, "--partition", file, "--inferences", 6, "--real-time", "--json")
    report = json.loads(result.out)
    assert [segment["device"] for segment in report["segments"]] == ["virtual:usb:0", "virtual:usb:1", "virtual:pci:0"]
    assert report["targets"] == ["desktop-usb3", "pi3-usb2", "x86-pcie"] and report["verified"] == 3
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "pci:3")
    refused = atoll("run", branched_file, "--partition", file)
    assert refused.code == errors.DeviceError.exit_code and "segment 1 is for 1 usb2 Edge TPUs" in refused.err


def test_a_device_that_hangs_is_given_up(atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = edge_tpus()[0]
    monkeypatch.setenv("ATOLL_FAULTS", f"pci:0=stall@{first.inferences + 3}")  # type: ignore[attr-defined]
    result = atoll("run", chain_file, "--inferences", 9, "--stall", 0.5)
    first.reset()  # type: ignore[attr-defined] # so that the thread ends
    assert result.code == errors.PipelineError.exit_code
    assert "segment 0 (virtual:pci:0) failed on item 2: no result within 0.5 s" in result.err


def test_compiled_segments_run_as_they_are(atoll: Run, branched_file: Path, tmp_path: Path) -> None:
    assert atoll("compile", branched_file, "-n", 3, "-o", tmp_path).code == 0
    files = [tmp_path / f"branched_segment_{i}_of_3_edgetpu.tflite" for i in range(3)]
    result = atoll("run", *files, "--inferences", 5, "--original", branched_file)
    assert result.code == 0 and "equal those of the uncut model bit for bit" in flat(result.out)
    assert "Outputs were not compared" in atoll("run", *files, "--inferences", 2).out
    wrong = atoll("run", *reversed(files), "--inferences", 2)
    assert wrong.code == errors.PipelineError.exit_code and "Traceback" not in wrong.err
    assert atoll("run", files[0], branched_file).code == errors.UsageError.exit_code
    assert atoll("run", *files, "--tpus", 3).code == errors.UsageError.exit_code
    assert atoll("run", branched_file, "--original", branched_file).code == errors.UsageError.exit_code


def test_compiled_segments_give_what_their_original_gives(atoll: Run, branched_file: Path, tmp_path: Path) -> None:
    """Also an output that a later segment reads; and a model with other outputs is not their original."""
    model = toolchain.load(branched_file)
    early = model.main.operators[0].outputs[0]
    both = replace(model, graphs=(replace(model.main, outputs=(early, *model.main.outputs)),), signatures=())
    write_model(both, tmp_path / "both.tflite")
    files = toolchain.compile_model(both, 2, name="both").write(tmp_path)
    result = atoll("run", *files, "--inferences", 3, "--original", tmp_path / "both.tflite", "--json")
    assert result.code == 0 and json.loads(result.out)["verified"] == 3
    shown = {tensor.name for file in files for tensor in read_model(file).main.tensors}
    inner = next(i for op in model.main.operators for i in op.outputs if model.main.tensors[i].name not in shown)
    write_model(replace(both, graphs=(replace(both.main, outputs=(inner,)),)), tmp_path / "other.tflite")
    result = atoll("run", *files, "--inferences", 3, "--original", tmp_path / "other.tflite")
    assert result.code == errors.DeviceError.exit_code
    assert f"only one side takes or gives the tensor '{model.main.tensors[inner].name}'" in result.err


def test_a_file_of_the_vendors_compiler_runs_with_its_original(atoll: Run, shared: Path) -> None:
    models = shared / "data/models"
    compiled = models / "v16/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    original = models / "uncompiled/mobilenet_v1_0.25_128_quant.tflite"
    result = atoll("run", compiled, "--original", original, "--inferences", 3, "--bus", "pcie")
    assert result.code == 0 and "bit for bit" in flat(result.out)
    refused = atoll("run", compiled, "--inferences", 1)
    assert refused.code == errors.DeviceError.exit_code and "--original" in refused.err
    other = models / "uncompiled/mobilenet_v1_0.5_160_quant.tflite"
    assert atoll("run", compiled, "--original", other, "--inferences", 1).code == errors.DeviceError.exit_code


def test_metrics_are_served_while_it_runs(atoll_process: Callable[..., Any], chain_file: Path) -> None:
    with atoll_process("run", chain_file, "--inferences", 10**6, "--metrics", 0) as process:
        try:
            for line in process.stderr:
                if line.startswith("metrics: "):
                    break
            with urllib.request.urlopen(line.removeprefix("metrics: ").strip(), timeout=30) as page:
                text = page.read().decode()
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert 'segment="1"' in text and "atoll_stage_inferences_total" in text


def test_a_trace_has_every_item_of_every_segment(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    assert atoll("run", chain_file, "--tpus", 3, "--inferences", 7, "--trace", file).code == 0
    slices = [event for event in json.loads(file.read_text())["traceEvents"] if event["ph"] == "X"]
    assert len(slices) == 3 * 7
    assert atoll("run", chain_file, "--inferences", 1, "--trace", tmp_path).code == errors.OutputError.exit_code
