"""``atoll partition --measure`` and ``partition_with_profiling`` as a user meets them, without an Edge TPU."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from atoll import errors, toolchain
from atoll.api.segment_measurer import devices_to_measure, segment_model
from atoll.device import inventory
from atoll.errors import CompilerMissingError, DeviceLostError
from atoll.model.tflite import model_bytes, read_model, write_model
from atoll.networks import build
from atoll.partitioning import read_partition
from atoll.vendor_tools import entry_points as vendor_tools
from atoll.vendor_tools.partition_with_profiling import command as profiling_command

Run = Callable[..., Any]

COMPILER = """#!/bin/sh
echo "$*" >> "$0.calls"
for last; do model=$last; done
case "$*" in
*--version*) echo "Edge TPU Compiler version 16.0"; exit 0;;
{case}) echo "Internal error: too large"; exit 1;;
esac
cp "$model" "$3/$(basename "$model" .tflite)_edgetpu.tflite"
"""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ATOLL_EDGETPU_COMPILER", "none")
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "pci:1,usb:1")


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "mobilenet.tflite"
    write_model(build("mobilenet_v1_0.25_128"), path)
    return path


@pytest.fixture
def profiling(capsys: pytest.CaptureFixture[str]) -> Run:
    """The vendor's command: its exit code, what it printed, and what it said."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            vendor_tools.partition_with_profiling([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def measured(atoll: Run, *arguments: object) -> dict[str, Any]:
    result = atoll("partition", *arguments, "--measure", "--json", "--quiet")
    assert result.code == 0 and result.err == "", result.err
    content: dict[str, Any] = json.loads(result.out)
    assert content["schema"] == "atoll.partition_report/2"
    return content


def compiler(tmp_path: Path, case: str = "nothing") -> Path:
    """A compiler that maps nothing, and fails on command lines of a pattern."""
    path = tmp_path / "compiler"
    path.write_text(COMPILER.format(case=case))
    path.chmod(0o755)
    return path


def compilations(path: Path) -> list[str]:
    lines = path.with_name(f"{path.name}.calls").read_text().splitlines()
    return [match[0] for line in lines if (match := re.search(r"operators_\S+", line))]


def test_measured_by_the_timing_model_it_finds_what_the_model_says(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    report = measured(atoll, mobilenet, "--tpus", 3, "--tolerance", 0.01, "-o", tmp_path / "p.json")
    plan = json.loads(atoll("partition", mobilenet, "--tpus", 3, "--json").out)
    found, modelled = report["measured"], max(segment["ms"] for segment in plan["segments"])
    assert found["proven"] and found["bottleneck_ms"] <= modelled * 1.0001
    for segment in found["segments"]:
        assert segment["measured_ms"] == pytest.approx(segment["modelled_ms"])
    file = read_partition(tmp_path / "p.json", toolchain.load(mobilenet).main)
    bounds = [(s.operators[0], s.operators[-1] + 1) for s in file.partition.segments]
    assert bounds == [tuple(segment["operators"]) for segment in report["segments"]]


def test_every_device_is_used_if_that_is_asked_for(atoll: Run, mobilenet: Path) -> None:
    assert len(measured(atoll, mobilenet, "--tpus", 4, "--exactly")["segments"]) == 4


def test_a_second_run_measures_nothing(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    first = measured(atoll, mobilenet, "--tpus", 3, "--store", tmp_path / "m.json")
    second = measured(atoll, mobilenet, "--tpus", 3, "--store", tmp_path / "m.json")
    effort, again = (report["measured"]["effort"] for report in (first, second))
    assert effort["measured"] == effort["asked"] > 0 and again["measured"] == 0
    assert second["segments"] == first["segments"] and not (tmp_path / "cache").exists()


def test_a_compiler_that_fails_is_worked_around_and_quoted(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    path = compiler(tmp_path, "*operators_0_to_[23]?.tflite*|*operators_0_to_1[5-9].tflite*")
    arguments = ("partition", mobilenet, "--tpus", 2, "--measure", "--compiler", path)
    result = atoll(*arguments)
    assert result.code == 0, result.err
    text = " ".join(result.out.split())
    assert "failed: " in text and "Internal error: too large" in text
    assert int(re.search(r"0-(\d+)", result.out)[1]) < 15  # type: ignore[index]
    asked = compilations(path)
    assert len(set(asked)) == len(asked)
    assert atoll(*arguments).code == 0 and compilations(path) == asked


def test_a_compiler_that_always_fails(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    arguments = ("--tpus", 2, "--measure", "--compiler", compiler(tmp_path, "*"))
    result = atoll("partition", mobilenet, *arguments)
    assert result.code == errors.PartitionError.exit_code and "Internal error: too large" in result.err
    result = atoll("partition", mobilenet, "--tpus", 2, "--measure", "--compiler", tmp_path / "nothing")
    assert result.code == CompilerMissingError.exit_code


def test_a_budget_that_is_spent_is_said(atoll: Run, mobilenet: Path, tmp_path: Path) -> None:
    """With a compiler that maps nothing, so that the model is wrong and four measurements prove nothing."""
    arguments = (mobilenet, "--tpus", 4, "--exactly", "--compiler", compiler(tmp_path), "--budget", 1e-9)
    report = measured(atoll, *arguments)
    assert not report["measured"]["proven"] and 4 <= report["measured"]["effort"]["measured"] <= 8
    result = atoll("partition", *arguments, "--measure")
    text = " ".join(result.out.split())
    assert result.code == 0 and "not proven" in text and "--budget" in text
    assert "one complete way to cut is measured in any case" in text


def test_a_virtual_device_is_measured_and_what_its_times_are_is_said(atoll: Run, chain_file: Path) -> None:
    result = atoll("partition", chain_file, "--tpus", 2, "--measure", "--device", "usb:0")
    assert result.code == 0 and "wall-clock times of CPU kernels" in " ".join(result.out.split())
    assert re.search(r"operators \d-\d: [0-9.]+ ms", result.err)


def test_a_device_that_disappears(atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Faults count the inferences of a device since the process began: one that no other test uses.
    monkeypatch.setenv("ATOLL_VIRTUAL_TPUS", "pci:31")
    monkeypatch.setenv("ATOLL_FAULTS", "pci:30=disconnect@1")
    result = atoll("partition", chain_file, "--tpus", 2, "--measure", "--device", "pci:30")
    assert result.code == DeviceLostError.exit_code
    assert "disconnected" in result.err and "run the same command again" in result.err
    monkeypatch.setenv("ATOLL_FAULTS", "")
    assert atoll("devices").code == 0  # the fault is taken from the device again


def test_a_real_device_comes_first_and_needs_the_vendors_compiler(
    atoll: Run, mobilenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SimpleNamespace(path="/sys/bus/usb/devices/2-1", type="usb", bus="usb3", virtual=False, listed=True)
    monkeypatch.setattr(inventory, "edge_tpus", lambda: [real, *inventory.virtual_edge_tpus("pci:1")])
    assert [*devices_to_measure(None)] == [*devices_to_measure("usb")] == [real]
    assert [*devices_to_measure(None, "pci")] == [*devices_to_measure("model")] == []
    result = atoll("partition", mobilenet, "--tpus", 2, "--measure")
    assert result.code == CompilerMissingError.exit_code and "--device model" in result.err
    assert measured(atoll, mobilenet, "--tpus", 2, "--device", "model")["measured"]["proven"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--measure"], "number of Edge TPUs"),
        (["--tpus", "2", "--measure", "--objective", "latency"], "--objective does not go with --measure"),
        (["--check", "p.json", "--measure"], "--check does not go with --measure"),
        (["--tpus", "2", "--budget", "3"], "Give --measure too"),
    ],
)
def test_options_that_contradict_each_other(atoll: Run, mobilenet: Path, arguments: list[str], words: str) -> None:
    result = atoll("partition", mobilenet, *arguments)
    assert result.code == errors.UsageError.exit_code and words in result.err and result.out == ""


def test_every_flag_of_the_vendors_tool_with_its_default() -> None:
    """Table 2 of ../shared/seeds/001_*.txt; the compiler, required there, is ours by default."""
    options = {parameter.opts[0]: parameter for parameter in profiling_command.params}
    required = {"--model_path", "--num_segments"}
    defaults = {
        "--edgetpu_compiler_binary": None,
        "--output_dir": "/tmp/models/",
        "--device_type": "any",
        "--diff_threshold_ns": 1_000_000,
        "--partition_search_step": 1,
        "--delegate_search_step": 1,
        "--initial_lower_bound_ns": -1,
        "--initial_upper_bound_ns": -1,
    }
    assert {name for name, option in options.items() if option.required} == required
    assert {name: options[name].to_info_dict()["default"] for name in defaults} == defaults


@pytest.mark.parametrize("count", [1, 2, 6])
def test_it_writes_segments_and_what_they_compile_to(
    profiling: Run, mobilenet: Path, tmp_path: Path, count: int
) -> None:
    code, out, err = profiling("-model_path", mobilenet, f"--num_segments={count}", "--output_dir", tmp_path / "o")
    assert code == 0 and "The slowest segment takes" in out and re.search(r"operators 0-\d+: [0-9.]+ ms", err)
    names = [f"mobilenet_segment_{i}_of_{count}" for i in range(count)]
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        f"{name}{end}" for name in names for end in (".tflite", "_edgetpu.tflite")
    }
    whole, start = toolchain.load(mobilenet), 0
    for name in names:
        segment = read_model(tmp_path / "o" / f"{name}.tflite")
        end = start + len(segment.main.operators)
        assert bytes(model_bytes(segment_model(whole, start, end))) == (tmp_path / "o" / f"{name}.tflite").read_bytes()
        compiled = read_model(tmp_path / "o" / f"{name}_edgetpu.tflite")
        assert any(operator.custom_code == "edgetpu-custom-op" for operator in compiled.main.operators)
        start = end
    assert start == len(whole.main.operators)


def test_a_start_that_is_balanced_enough_is_written(profiling: Run, mobilenet: Path, tmp_path: Path) -> None:
    arguments = ("--model_path", mobilenet, "--num_segments", 2, "--output_dir", tmp_path / "o", "--json", "-q")
    code, out, err = profiling(*arguments, "--diff_threshold_ns", 10**9)
    report = json.loads(out)
    assert code == 0 and err == "" and report["asked"] == 2 == len(report["segments"])
    assert report["slowest_ms"] == report["start_slowest_ms"] and len(list((tmp_path / "o").iterdir())) == 4


def test_it_drives_any_compiler_with_its_own_step(profiling: Run, mobilenet: Path, tmp_path: Path) -> None:
    path = compiler(tmp_path)
    steps = ("--delegate_search_step", 4, "--partition_search_step", 5)
    arguments = ("--model_path", mobilenet, "--num_segments", 3, "--output_dir", tmp_path / "o", *steps)
    code, out, _ = profiling(*arguments, "--edgetpu_compiler_binary", path)
    asked = compilations(path)
    assert code == 0 and len(set(asked)) == len(asked) > 0, out
    assert all(" -d -k 4 " in line for line in path.with_name("compiler.calls").read_text().splitlines()[1:])


def test_nothing_is_written_when_nothing_works(profiling: Run, mobilenet: Path, tmp_path: Path) -> None:
    arguments = ("--model_path", mobilenet, "--num_segments", 2, "--output_dir", tmp_path / "o")
    code, out, err = profiling(*arguments, "--edgetpu_compiler_binary", compiler(tmp_path, "*"))
    assert code == errors.PartitionError.exit_code and out == "" and "Internal error: too large" in err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--num_segments", "99"], errors.PartitionError.exit_code, "30 places to cut"),
        (["--num_segments", "0"], errors.UsageError.exit_code, "num_segments"),
        (
            ["--num_segments", "2", "--initial_lower_bound_ns", "9", "--initial_upper_bound_ns", "8"],
            errors.UsageError.exit_code,
            "is above",
        ),
        (
            ["--num_segments", "2", "--device_type", "usbonly", "--device", "pci:0"],
            errors.UsageError.exit_code,
            "not of the type usb",
        ),
    ],
)
def test_requests_that_make_no_sense(
    profiling: Run, mobilenet: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    ended, out, err = profiling("--model_path", mobilenet, "--output_dir", tmp_path / "o", *arguments)
    assert ended == code and words in err and out == "" and not (tmp_path / "o").exists()


if sys.platform == "win32":
    pytestmark = pytest.mark.skip(reason="the compilers here are scripts of a shell")
