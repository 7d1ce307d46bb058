"""The code → docs/reference: operators, commands, exit codes, the Python API; LiteRT's code → our tables of options.

``--check`` only compares.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import litert_tables

import atoll
from atoll import errors
from atoll.cli import cli
from atoll.device.leasing.command import EXIT_NOT_FOUND
from atoll.products.result import Result
from atoll.support.operators import support_table_markdown

REFERENCE = Path(__file__).parent / "reference"
OPTION_TABLES = Path(__file__).parents[1] / "src/atoll/model/tflite/tables.py"
API_INTRODUCTION = """\
There is one function for each command, with the same words. Models are paths or models in memory; options are keyword
arguments. The result of a command's function is frozen. It has `answer()`, `tables()` and `basis()` (sentences, tables,
and what they rest on), `to_dict()` and `to_json()`; its `repr` has ten lines at most. Every error that a user can do
something about is an `atoll.AtollError` ([exit codes](exit-codes.md)). `on_progress(title, done, total)` is called with
what is being done, `on_message(text)` with a sentence for a person.
"""


def pages() -> dict[str, str]:
    """File name → content."""
    return {
        "operators.md": f"# Operators of the Edge TPU\n\n{support_table_markdown()}",
        "exit-codes.md": "\n".join(exit_codes()) + "\n",
        "commands.md": "\n".join(["# Commands\n", *commands(cli, "atoll")]) + "\n",
        "api.md": "\n".join(api()) + "\n",
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


def api() -> Iterator[str]:
    """The public functions and classes, from their signatures and docstrings."""
    yield f"# The Python API\n\n{API_INTRODUCTION}"
    found = [(name, getattr(atoll, name)) for name in atoll.__all__ if not name.startswith("_")]
    functions = [(name, item) for name, item in found if not inspect.isclass(item)]
    classes = [(name, item) for name, item in found if inspect.isclass(item)]
    yield from (f"- [`atoll.{name}`](#atoll{name.lower()}): {_summary(item)}" for name, item in functions + classes)
    for name, item in functions:
        yield f"\n## `atoll.{name}`\n\n```python\n{_signature(f'atoll.{name}', item)}\n```\n"
        yield from _docstring(item)
        yield from _result(item)
    for name, item in classes:
        yield f"\n## `atoll.{name}`\n\n```python\n{_signature(f'atoll.{name}', item)}\n```\n"
        yield from _docstring(item)
        yield from _members(item)


def _signature(name: str, item: Callable[..., Any]) -> str:
    """On one line where that is short, else a line for each parameter."""
    signature = inspect.signature(item)
    given = []
    bare = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not bare:
            given.append("*")
            bare = True
        default = "" if parameter.default is parameter.empty else f" = {_default(parameter.default)}"
        given.append(f"{parameter.name}: {_type(parameter.annotation)}{default}")
    returns = "" if inspect.isclass(item) else f" -> {_type(signature.return_annotation)}"
    line = f"{name}({', '.join(given)}){returns}"
    return line if len(line) <= 100 else "\n".join([f"{name}(", *(f"    {each}," for each in given), f"){returns}"])


def _type(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _default(value: object) -> str:
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__name__
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    return str(value) if type(value).__module__ not in ("builtins", "atoll") and "." in str(value) else repr(value)


def _summary(item: object) -> str:
    text = inspect.cleandoc(item.__doc__ or "").split("\n\n")[0]
    return _links(" ".join(text.split()))


def _links(text: str) -> str:
    """The docstrings' own markup → Markdown."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text)
    return text.replace("``", "`")


def _docstring(item: object) -> Iterator[str]:
    """Paragraphs as they are; the sections of arguments and errors as lists; examples as code."""
    for part in inspect.cleandoc(item.__doc__ or "").split("\n\n"):
        title, _, rest = part.partition("\n")
        if title in ("Args:", "Raises:"):
            yield f"**{'Arguments' if title == 'Args:' else 'Raises'}**\n\n" + "\n".join(_entries(rest)) + "\n"
        elif part.startswith(">>> "):
            yield "```python\n" + re.sub(r" *# doctest: \+SKIP", "", part) + "\n```\n"
        else:
            yield _links(part) + "\n"


def _entries(text: str) -> Iterator[str]:
    """``name: text`` with indented further lines → a list; other paragraphs of the section behind it."""
    for entry in re.split(r"\n(?! )", inspect.cleandoc(text)):
        name, colon, what = entry.partition(": ")
        what = what[:1].upper() + what[1:] if what[:1] != "`" else what
        names = ", ".join(f"`{each}`" for each in name.split(", "))
        yield f"- {names}: {_links(' '.join(what.split()))}" if colon else f"\n{_links(' '.join(entry.split()))}"


def _result(item: Callable[..., Any]) -> Iterator[str]:
    """The fields of what a function returns, where that is a report."""
    kind = inspect.unwrap(item).__globals__.get(str(inspect.signature(item).return_annotation))
    if inspect.isclass(kind) and issubclass(kind, Result):
        fields = [name for name in kind.__annotations__ if name != "schema"]
        derived = [name for name, value in vars(kind).items() if isinstance(value, property)]
        yield f"**Result** `{kind.__name__}` (JSON: `atoll.{kind.schema}`): {_summary(kind)}\n"
        yield f"Fields: {', '.join(f'`{name}`' for name in (*fields, *derived))}.\n"


def _members(kind: type) -> Iterator[str]:
    """Public methods and properties, a line each."""
    lines = []
    for name, value in vars(kind).items():
        if name.startswith("_") or not (inspect.isfunction(value) or isinstance(value, property)):
            continue
        if value.__doc__:
            shown = name if isinstance(value, property) else f"{name}()"
            lines.append(f"- `{shown}`: {_summary(value)}")
    if lines:
        yield "**Members**\n\n" + "\n".join(lines) + "\n"


def main() -> int:
    stale = [name for name, text in pages().items() if _read(REFERENCE / name) != text]
    if "--check" in sys.argv:
        print("out of date:", ", ".join(stale) or "nothing")
        return bool(stale)
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    # Not compared: another LiteRT than the one they were made from is no fault (tests/model/test_option_tables.py).
    OPTION_TABLES.write_text(litert_tables.page(), encoding="utf-8")
    return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
