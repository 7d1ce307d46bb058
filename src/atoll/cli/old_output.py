"""How commands speak: tables and JSON on standard output, progress on standard error when it is a terminal."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

from atoll.cli.streams import may_redraw

_F = TypeVar("_F", bound=Callable[..., Any])


LONGEST_NAME = 80
"""Characters of a quoted name that people are shown; converters make names of hundreds by joining those of all layers
that they fused."""

_LONG_NAME = re.compile(rf"'([^'\s]{{{LONGEST_NAME + 1},}})'")


def brief(text: str) -> str:
    """A message with the middle of every long name in quotes left out; programs get the whole name, with --json."""
    half = LONGEST_NAME // 2
    return _LONG_NAME.sub(lambda found: f"'{found[1][: half - 1]}…{found[1][-half:]}'", text)


def json_option(function: _F) -> _F:
    """The option ``--json``, passed as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(function)


def quiet_option(function: _F) -> _F:
    """The option ``--quiet``: no progress on standard error."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress.")(function)


def print_json(kind: str, /, **content: Any) -> None:
    """Print the JSON envelope: ``{"schema": "atoll.<kind>/1", ...}``."""
    click.echo(json.dumps({"schema": f"atoll.{kind}/1", **content}, indent=2))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; a column whose title starts with ``>`` is aligned to the right.

    As wide as its content: a number or a name that is folded, or cut, cannot be read or copied. (Without rich, whose
    import takes as long as half of what commands like ``atoll check`` do.)
    """
    titles = [title.removeprefix(">") for title in columns]
    widths = [max(map(_cells, column)) for column in zip(titles, *rows)]

    def line(row: Sequence[str]) -> str:
        parts = []
        for title, text, width in zip(columns, row, widths):
            blank = " " * (width - _cells(text))
            parts.append(blank + text if title.startswith(">") else text + blank)
        return "  ".join(parts).rstrip()

    click.secho(line(titles), bold=True)
    click.echo("─" * (sum(widths) + 2 * (len(widths) - 1)))
    for row in rows:
        click.echo(line(row))


def _cells(text: str) -> int:
    """How wide a terminal shows it: East Asian characters take two cells, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )


@contextlib.contextmanager
def progress(title: str, total: int | None = None, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; the value is a function that sets how much of ``total`` is done."""
    if quiet or not may_redraw():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    counted = (MofNCompleteColumn(),) if total is not None else ()
    columns = (TextColumn("{task.description}"), BarColumn(), *counted, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
