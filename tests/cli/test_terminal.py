"""On a (pseudo) terminal: one line of progress where it can be redrawn, no escape codes where they are unwanted."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from atoll.products.layout import width

if sys.platform != "win32":
    import fcntl
    import pty
    import struct
    import termios
else:
    pytest.skip("no pseudo terminals", allow_module_level=True)

PROGRESS = """
from atoll.cli.output import progress, say
import time
with progress(quiet={quiet}) as told:
    told("waiting")
    for done in range(4):
        told("[bold]compiling[/bold] 'model/\\x1b[2J" + 30 * "name/" + "' for pcie:0", done, 1_000)
        time.sleep(0.15)
    say("pcie:0 was free")
print("the result")
"""


def on_terminal(command: list[str], columns: int, **variables: str) -> tuple[int, str]:
    """Exit code and everything that the terminal got."""
    own, other = pty.openpty()
    fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    clean = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "CI")
    }
    environment = {**clean, "TERM": "xterm-256color", **variables}
    process = os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, other, 0),
            (os.POSIX_SPAWN_DUP2, other, 1),
            (os.POSIX_SPAWN_DUP2, other, 2),
        ],
    )
    os.close(other)
    output = b""
    while True:
        try:
            part = os.read(own, 65536)
        except OSError:  # Linux: everyone has closed the other end
            break
        if not part:
            break
        output += part
    os.close(own)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), output.decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_progress_is_one_line(columns: int) -> None:
    code, output = on_terminal([sys.executable, "-c", PROGRESS.format(quiet=False)], columns)
    assert code == 0 and "\x1b[2J" not in output and "[bold]compiling" in output
    coloured = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = re.split(r"(?:[\r\n]|\x1b\[[0-9;?]*[A-Za-z])+", coloured)
    assert all(width(line) <= columns for line in lines)
    (last,) = {line for line in lines if " 3/1,000 " in line}
    assert last.startswith("[bold]compiling") and "pcie:0" in last
    assert "pcie:0 was free" in lines and "the result" in lines


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"CI": "true"}])
def test_plain_terminals_get_no_escape_codes(variables: dict[str, str]) -> None:
    code, output = on_terminal([sys.executable, "-c", PROGRESS.format(quiet=False)], 80, **variables)
    assert (code, output) == (0, "pcie:0 was free\r\nthe result\r\n")


def test_quiet_is_quiet() -> None:
    code, output = on_terminal([sys.executable, "-c", PROGRESS.format(quiet=True)], 80)
    assert code == 0 and "compiling" not in output and "\x1b" not in output


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"CI": "true"}])
@pytest.mark.parametrize(
    "arguments",
    ["--help", "check chain.tflite", "zoo list", "partition chain.tflite --tpus 2", "run chain.tflite --inferences 20"],
)
def test_commands_on_plain_terminals(
    chain_file: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, variables: dict[str, str]
) -> None:
    monkeypatch.chdir(chain_file.parent)
    code, output = on_terminal([sys.executable, "-m", "atoll", *arguments.split()], 80, **variables)
    assert code == 0 and output and "\x1b" not in output
