"""``atoll bench`` and the vendor's tools under their own names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from atoll import toolchain
from atoll.cli import invoke
from atoll.errors import DeviceError, FileMissingError, UsageError
from atoll.model.tflite import read_model, write_model
from atoll.vendor_tools import entry_points as vendor_tools
from atoll.vendor_tools.bench import command
from builders import chain

PIPELINE, MULTIPLE = "model_pipelining_performance_analysis", "multiple_tpus_performance_analysis"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three virtual devices, ``net.tflite``, and ``cut`` which exists compiled, in two segments, only."""
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "pci:2,usb:1")
    monkeypatch.setenv("ATOLL_LEASE_DIR", str(tmp_path / "leases"))
    monkeypatch.chdir(tmp_path)
    write_model(chain(), tmp_path / "net.tflite")
    toolchain.compile_model(chain(), 2, name="cut").write(tmp_path)
    return tmp_path


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert invoke(command, [*arguments, "--json"]) == 0, capsys.readouterr().err
    result: dict[str, object] = json.loads(capsys.readouterr().out)
    return result


def results(found: dict[str, object], model: int = 0) -> list[dict[str, object]]:
    return found["models"][model]["results"]  # type: ignore[index,no-any-return]


def test_pipelines_of_several_lengths(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data_dir", ".", "--model_list=net", "--num_segments_list", "1,2,3", "--num_inferences", "7")
    found = report(capsys, PIPELINE, *arguments, "--segment_latencies_path=ns.txt")
    assert "not those of an Edge TPU" in str(found["times"])
    assert [(r["devices"], r["requests"], len(r["segment_ms"])) for r in results(found)] == [  # type: ignore[arg-type]
        (1, 7, 1),
        (2, 7, 2),
        (3, 7, 3),
    ]
    assert results(found)[0]["speed_up"] == 1
    lines = [int(line) for line in (work / "ns.txt").read_text().split()]
    assert [lines[0], lines[2], lines[5]] == [1, 2, 3] and len(lines) == 9 and min(lines) > 0


def test_compiled_segments_are_taken_as_they_are(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys, PIPELINE, "--data_dir=.", "--model_list=cut", "--num_segments_list=2", "--num_inferences=3")
    assert results(found)[0]["devices"] == 2
    code = invoke(command, [PIPELINE, "--data_dir=.", "--model_list=cut", "--num_segments_list=1,2"])
    assert code == FileMissingError.exit_code
    assert "neither cut_edgetpu.tflite nor cut.tflite" in capsys.readouterr().err


def test_side_by_side_runs_every_request_once(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from atoll.api import bench

    seen: list[int] = []
    original = bench.side_by_side
    monkeypatch.setattr(bench, "side_by_side", lambda *a: original(*a[:3], seen.append))
    found = report(capsys, MULTIPLE, "--test_data_dir", ".", "--model_list", "net.tflite", "--num_requests=10")
    assert [r["devices"] for r in results(found)] == [1, 2, 3]
    assert sorted(seen) == sorted([*range(1, 11)] * 3)
    assert report(
        capsys, MULTIPLE, "--test_data_dir=.", "--model_list=net", "--num_requests=2", "--device_type=usbonly"
    )


def test_the_vendors_defaults() -> None:
    defaults = {p.name: p.default for c in command.commands.values() for p in c.params}
    assert (defaults["num_requests"], defaults["num_inferences"]) == (30_000, 100)
    assert (defaults["data_dir"], defaults["num_segments_list"]) == ("/tmp/models/", "1,2,3,4")
    assert str(defaults["model_list"]).count("_quant") == 8


def test_modelled_answers_need_no_device_and_are_the_same_each_time(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "0")
    arguments = (MULTIPLE, "--test_data_dir=.", "--model_list=net", "--modelled", "--target", "pi4-usb3")
    found = report(capsys, *arguments, "--num_tpus_list", "1,2,4")
    assert found == report(capsys, *arguments, "--num_tpus_list", "1,2,4")
    assert "pi4-usb3" in str(found["times"])
    assert [round(float(str(r["speed_up"])), 2) for r in results(found)] == [1, 2, 4]
    assert results(found)[0]["requests"] == 30_000
    piped = report(capsys, PIPELINE, "--data_dir=.", "--model_list=net,cut", "--num_segments_list=2", "--modelled")
    first, second = (results(piped, i)[0] for i in (0, 1))
    assert first == second  # the same network, once compiled for this and once before


def test_networks_of_the_zoo_need_no_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert results(report(capsys, MULTIPLE, "--model_list=mobilenet_v1_0.25_128", "--modelled"))[3]["devices"] == 4


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((PIPELINE, "--model_list=net,cut", "--segment_latencies_path=x"), UsageError, "goes with one model"),
        ((PIPELINE, "--model_list=net", "--num_segments_list=0,1"), UsageError, "--num_segments_list is 0,1"),
        ((PIPELINE, "--model_list=net", "--num_segments_list=1,b"), UsageError, "whole numbers"),
        ((PIPELINE, "--model_list=net", "--num_segments_list=4"), DeviceError, "4 Edge TPUs are needed, there are 3"),
        ((PIPELINE, "--model_list=net", "--device_type=usbonly"), DeviceError, "4 Edge TPUs (usbonly)"),
        ((PIPELINE, "--model_list=net", "--device_type=usbonly", "--modelled"), UsageError, "uses no device"),
        ((PIPELINE, "--model_list=", "--num_segments_list=1"), UsageError, "no model is named"),
        ((PIPELINE, "--model_list=nothing", "--num_segments_list=1"), FileMissingError, "nothing.tflite"),
        ((MULTIPLE, "--model_list=net", "--target=pi4-usb3"), UsageError, "--modelled"),
        ((MULTIPLE, "--model_list=net", "--num_requests=0"), UsageError, "num_requests"),
        ((MULTIPLE,), FileMissingError, "mobilenet_v1_1.0_224_quant"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    arguments: tuple[str, ...], error: type, words: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "--data_dir=." if arguments[0] == PIPELINE else "--test_data_dir=."
    assert invoke(command, [arguments[0], where, *arguments[1:]]) == error.exit_code  # type: ignore[attr-defined]
    captured = capsys.readouterr()
    assert words in captured.err and not captured.out and not (work / "x").exists()


@pytest.mark.parametrize("form", ["--{}={}", "--{} {}", "-{}={}", "-{} {}"])
def test_vendor_flags_in_every_form(form: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = {"model_path": "net.tflite", "output_dir": "parts", "num_ops": "2,3,1"}
    arguments = [word for flag, value in flags.items() for word in form.format(flag, value).split()]
    with pytest.raises(SystemExit) as end:
        vendor_tools.partition_with_num_ops(arguments)
    assert end.value.code == 0
    assert len(read_model(work / "parts/tmp_segment_1_of_3.tflite").main.operators) == 3


@pytest.mark.parametrize(
    "name",
    ["append_recurrent_links", "join_tflite_models", "split_fc", "partition_with_num_ops", PIPELINE, MULTIPLE],
)
def test_every_vendor_tool_starts_under_its_name(name: str) -> None:
    code = f"import sys; sys.argv = ['{name}', '--help']; from atoll.vendor_tools import entry_points as v; v.{name}()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: {name} [OPTIONS]")
