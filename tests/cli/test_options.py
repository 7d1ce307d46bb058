"""What holds for the options of every command, those that are yet to be written included."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from atoll.cli import cli, invoke
from atoll.cli.options import FiniteFloat
from atoll.errors import OutputError, UsageError
from atoll.vendor_tools import edgetpu_compiler, model_pipelining, partition_with_profiling

Run = Callable[..., Any]


def _parameters(command: click.Command, name: str) -> Iterator[tuple[str, click.Parameter]]:
    for parameter in command.params:
        yield f"{name} {parameter.opts[-1]}", parameter
    if isinstance(command, click.Group):
        context = click.Context(command)
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            yield from _parameters(found, f"{name} {sub}")


EVERY = dict(
    [
        *_parameters(cli, "atoll"),
        *_parameters(partition_with_profiling.command, "partition_with_profiling"),
        *_parameters(model_pipelining.command, "model_pipelining"),
        *(("edgetpu_compiler " + parameter.opts[-1], parameter) for parameter in edgetpu_compiler._PARAMETERS),
    ]
)
FLOATS = [name for name, item in EVERY.items() if isinstance(item.type, type(click.FLOAT))]
"""A default of 0.5 alone makes one, too."""


def test_the_float_options_are_found() -> None:
    assert {"atoll run --wait", "atoll lease --wait", "atoll plan --fps", "atoll learn softmax --reg"} <= {*FLOATS}


@pytest.mark.parametrize("name", FLOATS)
def test_a_float_option_takes_finite_numbers_only(name: str) -> None:
    kind = EVERY[name].type
    assert isinstance(kind, FiniteFloat), "use atoll.cli.options"
    for text in ("nan", "-nan", "inf", "-inf", "1e999", "infinity"):
        with pytest.raises(click.BadParameter):
            kind.convert(text, EVERY[name], None)


def test_seeds_and_counts_have_bounds() -> None:
    seeds = [item.type for name, item in EVERY.items() if name.endswith("seed")]
    assert len(seeds) >= 3 and all(isinstance(kind, click.IntRange) and kind.min == 0 for kind in seeds)
    counts = [item.type for name, item in EVERY.items() if name.endswith(("inferences", "num_requests"))]
    assert len(counts) >= 4
    assert all(isinstance(kind, click.IntRange) and kind.max and kind.max <= 10**9 for kind in counts)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "x", "--wait", "nan"),
        ("run", "x", "--seed", -1),
        ("run", "x", "--inferences", 10**10),
        ("plan", "x", "--fps", "inf"),
    ],
)
def test_the_command_refuses_them(atoll: Run, arguments: tuple[object, ...]) -> None:
    result = atoll(*arguments)
    assert result.code == 2 and str(arguments[2]) in result.err


def test_an_option_without_the_one_it_belongs_to_is_refused(atoll: Run) -> None:
    result = atoll("devices", "--interval", 3)
    assert result.code == 2 and result.out == "" and "--interval goes with --watch" in result.err


@pytest.mark.parametrize("other", ["csv", "text"])
def test_two_formats_are_refused_in_any_order(atoll: Run, other: str) -> None:
    for arguments in (["--json", "--format", other], ["--format", other, "--json"]):
        result = atoll("zoo", "list", *arguments)
        assert result.code == 2 and result.out == "" and f"--json and --format {other}" in result.err
    assert atoll("zoo", "list", "--json", "--format", "json").out == atoll("zoo", "list", "--json").out


def test_an_output_without_a_name_is_refused(atoll: Run) -> None:
    result = atoll("zoo", "build", "x", "-o", "")
    assert result.code == 2 and "empty" in result.err


OUTPUTS: list[tuple[object, ...]] = [
    ("partition", "chain.tflite", "--tpus", 2, "-o"),
    ("partition", "chain.tflite", "--tpus", 2, "--measure", "--store"),
    ("run", "chain.tflite", "--inferences", 1, "--trace"),
    ("profile", "chain.tflite", "--csv"),
    ("profile", "chain.tflite", "--trace"),
    ("compile", "chain.tflite", "--csv"),
    ("graph", "split_fc", "--input_graph", "chain.tflite", "--output_graph"),
]


@pytest.mark.parametrize("link", ["", "symlink", "link"])
@pytest.mark.parametrize("arguments", OUTPUTS, ids=lambda arguments: f"{arguments[0]} {arguments[-1]}")
def test_no_output_replaces_the_model(
    atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], link: str
) -> None:
    monkeypatch.chdir(chain_file.parent)
    content = chain_file.read_bytes()
    name = "other" if link else f"../{chain_file.parent.name}/chain.tflite"
    if link:
        getattr(os, link)("chain.tflite", name)
    before = sorted(os.listdir())
    result = atoll(*arguments, name)
    assert result.code == UsageError.exit_code and "chain.tflite" in result.err and "another name" in result.err
    assert chain_file.read_bytes() == content and sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("profile", "chain.tflite", "--csv", "same", "--trace", "./same"),
        ("partition", "chain.tflite", "--tpus", 2, "--measure", "--store", "same", "-o", "same"),
    ],
)
def test_no_output_replaces_another(
    atoll: Run, chain_file: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]
) -> None:
    monkeypatch.chdir(chain_file.parent)
    result = atoll(*arguments)
    assert result.code == UsageError.exit_code and "same" in result.err and os.listdir() == ["chain.tflite"]


@pytest.mark.parametrize("arguments", OUTPUTS, ids=lambda arguments: f"{arguments[0]} {arguments[-1]}")
def test_an_output_that_cannot_be_written_is_told_before_the_model_is_read(
    atoll: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]
) -> None:
    monkeypatch.chdir(tmp_path)  # no model is here: reading it would be another error
    Path("file").write_text("")
    result = atoll(*arguments, "file/out")
    assert result.code == OutputError.exit_code and os.path.join("file", "out") in result.err


def test_a_store_is_read_and_written_again(atoll: Run, chain_file: Path, tmp_path: Path) -> None:
    search = ("partition", chain_file, "--tpus", 2, "--measure", "--device", "model", "--store", tmp_path / "store")
    for known in (False, True):
        report = atoll(*search, "-o", tmp_path / "cuts.json")
        assert report.code == 0 and ("\n0 segments were compiled" in report.out) == known


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def late() -> None:
        warnings.warn("still inside invoke: pci:0", RuntimeWarning, stacklevel=1)

    shown = warnings.showwarning
    assert invoke(late, []) == 0 and capsys.readouterr().err == "warning: still inside invoke: pci:0\n"
    assert warnings.showwarning is shown
