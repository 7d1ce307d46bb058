"""The code → docs/reference: operators, commands, exit codes; LiteRT's code → our tables of options.

``--check`` only compares.
"""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import litert_tables

import atoll
from atoll import errors
from atoll.cli import cli
from atoll.device.leasing.command import EXIT_NOT_FOUND
from atoll.support.operators import support_table_markdown

REFERENCE = Path(__file__).parent / "reference"


def pages() -> dict[str, str]:
    """File name → content."""
    return {
        "operators.md": f"# Operators of the Edge TPU\n\n{support_table_markdown()}",
        "exit-codes.md": "\n".join(exit_codes()) + "\n",
        "commands.md": "\n".join(["# Commands\n", *commands(cli, "atoll")]) + "\n",
        "../../src/atoll/model/tflite/tables.py": litert_tables.page(),
    }


def exit_codes() -> Iterator[str]:
    yield "# Exit codes\n\n| code | error | when |\n| --- | --- | --- |\n| 0 | | it worked |"
    for module in pkgutil.walk_packages(atoll.__path__, "atoll."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [errors.AtollError]
    for kind in found:
        found += [sub for sub in kind.__subclasses__() if sub not in found and sub.__module__.startswith("atoll")]
    own = [kind for kind in found if "exit_code" in vars(kind)]  # the others share their parent's
    for kind in sorted(own, key=lambda kind: kind.exit_code):
        yield f"| {kind.exit_code} | `{kind.__name__}` | {(kind.__doc__ or '').splitlines()[0]} |"
    yield f"| {EXIT_NOT_FOUND} | | `atoll lease`: there is no such command |"
    yield f"| {errors.INTERRUPTED} | | Ctrl-C (`atoll devices --watch` ends so: 0) |"
    yield f"| {128 + signal.SIGTERM} | | stopped by SIGTERM |"
    yield "\n`atoll lease` has the exit code of the command that it runs."


def commands(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
    yield f"## `{name}`\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None, sub
            yield from commands(found, f"{name} {sub}")


def main() -> int:
    stale = [name for name, text in pages().items() if _read(REFERENCE / name) != text]
    if "--check" in sys.argv:
        print("out of date:", ", ".join(stale) or "nothing")
        return bool(stale)
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
