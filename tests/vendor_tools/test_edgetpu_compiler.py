"""`edgetpu_compiler`: options, output, exit status and files as with the vendor's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.compiler.external.report_parser import ParsedAttempt, parse_vendor
from atoll.model.tflite import read_model, write_model
from builders import branched, chain
from command_fixtures import Result
from compiler_fixtures import VERSION, files, uncompilable


def test_version_and_help(compiler: Callable[..., Result]) -> None:
    for flag in ("-v", "--version"):
        assert compiler(flag) == Result(0, f"{VERSION}\n", "")
    for flag in ("-h", "--help"):
        result = compiler(flag)
        assert result.code == 0
        assert result.out.startswith(f"{VERSION}\n\nUsage:\nedgetpu_compiler [options] model...\n")
    for option in ("-i", "-m", "-n", "-o", "-s", "-d", "-k", "-t", "-v", "-a", "-h"):
        assert f"  {option}, --" in result.out


def test_a_model_is_compiled_and_its_report_is_read_back(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("net.tflite")
    assert result.code == 0
    assert result.err == ""
    assert files(tmp_path) == {"net.tflite", "net_edgetpu.tflite", "net_edgetpu.log"}
    lines = result.out.splitlines()
    assert lines[:3] == [VERSION, "Started a compilation timeout timer of 180 seconds.", ""]
    assert lines[-2:] == ["Compilation child process completed within timeout period.", "Compilation succeeded! "]
    (model,) = parse_vendor(result.out).models
    assert (model.input_model, model.output_model) == ("net.tflite", "net_edgetpu.tflite")
    assert model.operation_log == "net_edgetpu.log"
    assert (model.subgraphs, model.total_operators) == (1, 6)
    assert "See the operation log file for individual operation details." in lines
    (logged,) = parse_vendor((tmp_path / "net_edgetpu.log").read_text()).models
    assert [(row.operator, row.count, row.status) for row in logged.operators] == [("CONV_2D", 6, "Mapped to Edge TPU")]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-sa", "net.tflite"),
        ("-aaas", "net.tflite"),
        ("net.tflite", "-s"),
        ("--show_operations", "net.tflite", "-t", "60"),
        ("net.tflite", "--timeout_sec=60", "-s", "-s"),
    ],
)
def test_flags_bundle_repeat_and_follow_models(
    compiler: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler(*arguments)
    assert result.code == 0
    (model,) = parse_vendor(result.out).models
    assert sum(row.count for row in model.operators) == 6


@pytest.mark.parametrize("directory", ["out", "out/deep", "."])
def test_the_output_directory_is_made_and_printed_as_given(
    compiler: Callable[..., Result], tmp_path: Path, directory: str
) -> None:
    (tmp_path / "in").mkdir()
    write_model(chain(), tmp_path / "in" / "net.tflite")
    result = compiler("in/net.tflite", "-o", directory)
    assert result.code == 0
    (model,) = parse_vendor(result.out).models
    assert model.input_model == "in/net.tflite"
    assert model.output_model == f"{directory}/net_edgetpu.tflite"
    assert (tmp_path / directory / "net_edgetpu.tflite").exists()
    assert (tmp_path / directory / "net_edgetpu.log").exists()


def test_segments_have_a_block_each(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("--num_segments=3", "net.tflite")
    assert result.code == 0
    assert result.out.count(VERSION) == 1
    assert result.out.count("Started a compilation timeout timer") == 3
    assert result.out.count("Compilation succeeded! \n") == 3
    names = [f"net_segment_{i}_of_3" for i in range(3)]
    models = parse_vendor(result.out).models
    assert [m.input_model for m in models] == [f"{name}.tflite" for name in names]
    assert [m.output_model for m in models] == [f"{name}_edgetpu.tflite" for name in names]
    assert sum(m.total_operators or 0 for m in models) == 6
    assert files(tmp_path) == {"net.tflite"} | {f"{n}_edgetpu.{e}" for n in names for e in ("tflite", "log")}


def test_several_models_share_a_token(compiler: Callable[..., Result], tmp_path: Path) -> None:
    from atoll.compiler.package_format import read_package

    for seed, name in enumerate("ab"):
        write_model(chain(seed=seed), tmp_path / f"{name}.tflite")
    result = compiler("a.tflite", "b.tflite", "-s")
    assert result.code == 0
    assert "\nModels compiled successfully in " in result.out
    first, second = parse_vendor(result.out).models
    assert first.on_chip_remaining == second.on_chip_remaining
    tokens = set()
    for name in "ab":
        (operator,) = read_model(tmp_path / f"{name}_edgetpu.tflite").main.operators
        tokens |= {item.token for item in read_package(operator.custom_options).executables}
    assert len(tokens) == 1


def test_compiling_twice_gives_the_same_files(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(branched(), tmp_path / "net.tflite")
    contents = []
    for _ in range(2):
        assert compiler("net.tflite").code == 0
        contents.append([(tmp_path / f"net_edgetpu.{end}").read_bytes() for end in ("tflite", "log")])
    assert contents[0] == contents[1]


def test_mapping_stops_at_the_named_tensors(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("-s", "-i", "conv_2", "net.tflite")
    (model,) = parse_vendor(result.out).models
    assert (model.mapped_operators, model.cpu_operators) == (3, 3)
    compiled = read_model(tmp_path / "net_edgetpu.tflite").main
    assert [compiled.tensors[i].name for i in compiled.outputs] == ["conv_5"]
    assert compiled.tensors[compiled.operators[0].outputs[0]].name == "conv_2"


def test_lists_of_co_compiled_models_have_colons_between_and_in_their_names(
    compiler: Callable[..., Result], tmp_path: Path
) -> None:
    first = chain()
    renamed = tuple(replace(t, name="Call:1") if t.name == "conv_1" else t for t in first.main.tensors)
    write_model(replace(first, graphs=(replace(first.main, tensors=renamed),)), tmp_path / "a.tflite")
    write_model(chain(seed=1), tmp_path / "b.tflite")
    result = compiler("-i", "Call:1:conv_3", "a.tflite", "b.tflite")
    assert result.code == 0
    assert [m.mapped_operators for m in parse_vendor(result.out).models] == [2, 4]
    result = compiler("-i", ":conv_3", "a.tflite", "b.tflite")
    assert [m.mapped_operators for m in parse_vendor(result.out).models] == [None, 4]
    assert compiler("-i", "conv_0:conv_3:conv_4", "a.tflite", "b.tflite").code == 1


@pytest.mark.parametrize(("options", "tried"), [(("-d",), (6, 5, 4)), (("-d", "-k", "2"), (6, 4)), (("-dk5",), (6, 1))])
def test_the_search_steps_back_until_it_compiles(
    compiler: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], tried: tuple[int, ...]
) -> None:
    write_model(uncompilable(), tmp_path / "net.tflite")
    result = compiler(*options, "net.tflite")
    assert result.code == 0
    report = parse_vendor(result.out)
    assert report.attempts == tuple(ParsedAttempt(n, () if n == 6 else (f"conv_{n - 1}",)) for n in tried)
    assert result.out.count("Compilation failed! \n") == len(tried) - 1
    assert (report.succeeded, report.models[0].mapped_operators) == (True, tried[-1])


def test_nothing_maps_and_it_still_compiles(compiler: Callable[..., Result], tmp_path: Path) -> None:
    write_model(chain(), tmp_path / "net.tflite")
    result = compiler("-m", "10", "net.tflite")
    assert result.code == 0
    (model,) = parse_vendor(result.out).models
    assert model.subgraphs == 0
    for size in (model.on_chip_used, model.on_chip_remaining, model.off_chip_used):
        assert size is not None and size.text == "0.00B"
    assert model.cpu_operators == 6
