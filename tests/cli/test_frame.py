"""What surrounds every command: suggestions, help, exit codes, errors of the system, ends of pipes, encodings."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from atoll.cli import cli, invoke, overview
from atoll.errors import AtollError, FileAccessError, FileMissingError, NoPermissionError, OutputError

Run = Callable[..., Any]


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def buffering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


ATOLL = [sys.executable, "-m", "atoll"]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["chek"], "check"),
        (["partitoin", "x"], "partition"),
        (["help", "lern"], "learn"),
        (["help", "learn", "imprnt"], "imprint"),
        (["check", "--jsno", "x"], "--json"),
        (["learn", "sofmax"], "softmax"),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(atoll: Run, arguments: list[str], meant: str) -> None:
    result = atoll(*arguments)
    assert result.code == 2 and result.out == ""
    first = result.err.splitlines()[0]
    assert first.startswith("error: ") and "Did you mean" in first and meant in first


def test_what_is_like_nothing_gets_none(atoll: Run) -> None:
    result = atoll("quux")
    assert result.code == 2 and "Did you mean" not in result.err and "atoll --help" in result.err


def test_help_is_the_same_by_every_way(atoll: Run) -> None:
    assert atoll("help").out == atoll("--help").out == atoll("-h").out
    assert atoll("help", "check").out == atoll("check", "--help").out
    assert atoll("help", "learn", "imprint").out == atoll("learn", "imprint", "-h").out
    assert atoll("help", "check", "x").code == 2
    assert atoll("version").out == atoll("--version").out


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_overview_without_click_is_the_one_with_it(atoll: Run, columns: int) -> None:
    environment = {**os.environ, "COLUMNS": str(columns)}
    quick = subprocess.run([*ATOLL, "--help"], capture_output=True, text=True, check=True, env=environment).stdout
    program = "from atoll.cli import cli, invoke; invoke(cli, ['-h'])"
    whole = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert quick == whole.stdout and max(map(len, quick.splitlines())) <= min(columns, 80)


def test_the_overview_names_every_option_and_command() -> None:
    context = cli.make_context("atoll", ["version"])
    options = {", ".join(sorted(parameter.opts, key=len)) for parameter in cli.get_params(context)}
    assert options == {*overview.OPTIONS}
    for name, purpose in overview.COMMANDS.items():
        assert cli.get_command(context, name) is not None and purpose.endswith(".")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"), FileMissingError.exit_code, "a/b"),
        (PermissionError(errno.EACCES, "Permission denied", b"a/b"), NoPermissionError.exit_code, "a/b"),
        (OSError(errno.EXDEV, "Invalid link", "a", None, "b"), FileAccessError.exit_code, "a and b: Invalid link"),
        (OSError(errno.ENOSPC, "No space left", "a"), OutputError.exit_code, "a: No space left"),
        (OSError(errno.EMFILE, "Too many open files"), AtollError.exit_code, "probe: Too many open files"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), AtollError.exit_code, "probe: Broken pipe"),
        (OSError("odd"), AtollError.exit_code, "probe: odd"),
        (FileNotFoundError(errno.ENOENT, "No such", "a\x1b[2Jb"), FileMissingError.exit_code, "a\\x1b[2Jb: No such"),
    ],
    ids=str,
)
def test_a_system_error_says_what_failed(
    capsys: pytest.CaptureFixture[str], error: OSError, code: int, said: str
) -> None:
    @click.command("probe")
    def probe() -> None:
        raise error

    assert invoke(probe, []) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and said in captured.err
    assert captured.err.strip().isprintable()


@pytest.mark.parametrize(("cause", "code"), [(SystemExit(143), 143), (KeyboardInterrupt(), 130)])
def test_a_signal_while_a_library_is_imported_is_one(cause: BaseException, code: int) -> None:
    """Native modules raise ImportError for whatever is raised while they begin."""

    @click.command("probe")
    def probe() -> None:
        raise ImportError("initialization failed") from cause

    try:
        assert invoke(probe, []) == code
    except SystemExit as end:
        assert end.code == code


IMPORTING = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
{}
"""


@pytest.mark.parametrize(
    "start",
    [
        "from atoll.cli import main; main(['check'])",
        "from atoll.vendor_tools.entry_points import split_fc; split_fc([])",
        "from atoll.vendor_tools.entry_points import edgetpu_compiler; edgetpu_compiler()",
    ],
)
def test_ctrl_c_while_a_command_begins_is_quiet(start: str) -> None:
    command = [sys.executable, "-c", IMPORTING.format(start)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


TERMINATED = """
import os, signal, sys
class Terminated:
    def find_spec(self, name, *_):
        if name in ("atoll.api.compile", "atoll.vendor_tools.graph"):
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Terminated())
from atoll.vendor_tools import entry_points
entry_points.{}()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.parametrize("tool", ["split_fc", "edgetpu_compiler"])
def test_a_tool_that_is_stopped_while_it_begins_exits_as_later(tool: str) -> None:
    command = [sys.executable, "-c", TERMINATED.format(tool)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


HOSTILE = "a\x1b]0;owned\x07\u202eb"


@pytest.mark.parametrize("arguments", [(HOSTILE,), ("check", HOSTILE), ("check", "--" + HOSTILE), ("help", HOSTILE)])
def test_arguments_are_repeated_without_control_characters(atoll: Run, arguments: tuple[str, ...]) -> None:
    result = atoll(*arguments)
    assert result.code and all(line.isprintable() for line in result.err.split("\n")) and "\\x1b" in result.err


PRINTING = [
    ("--help",),
    ("help",),
    ("version",),
    ("--version",),
    ("check", "--help"),
    ("zoo", "list"),
    ("check", "chain.tflite"),
    ("check", "chain.tflite", "--json"),
]


@pytest.fixture
def here(chain_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chain_file.parent)


@pytest.mark.usefixtures("here", "buffering")
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_goes_is_no_failure(arguments: tuple[str, ...]) -> None:
    for lines in (0, 1):
        process = subprocess.Popen([*ATOLL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None and process.stderr is not None
        if lines:
            process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)
        process.stderr.close()


BIG = """
import sys, click
from atoll.cli import invoke
@click.command("big")
def big():
    for _ in range(200):
        click.echo("x" * int(sys.argv[1]))
code = invoke(big, [])
sys.exit(code)
"""


@pytest.mark.usefixtures("buffering")
@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_neither_is_one_that_goes_in_the_midst_of_it(size: int) -> None:
    for _ in range(3):
        command = [sys.executable, "-c", BIG, str(size)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)
        process.stderr.close()


@pytest.mark.usefixtures("here", "buffering")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_full_disk_is(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*ATOLL, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == OutputError.exit_code and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and "No space left" in done.stderr


def test_errors_that_nobody_reads_keep_their_code() -> None:
    process = subprocess.Popen([*ATOLL, "check", "absent"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stderr.close()
    assert process.stdout.read() == b"" and process.wait() == FileMissingError.exit_code
    process.stdout.close()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_an_encoding_without_our_signs(arguments: tuple[str, ...], encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([*ATOLL, *arguments], capture_output=True, env=environment, check=False)
    assert done.returncode == 0 and done.stderr == b""
    if arguments[:2] == ("check", "chain.tflite") and encoding == "ascii":
        assert done.stdout.isascii()


@pytest.mark.parametrize("module", ["atoll"])
def test_it_runs_as_a_module(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("atoll ")
