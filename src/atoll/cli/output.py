"""How commands speak: tables and JSON on standard output, progress on standard error when it is a terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


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

    As wide as its content: a number or a name that is folded, or cut, cannot be read or copied.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in columns:
        grid.add_column(title.lstrip(">"), justify="right" if title.startswith(">") else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    Console(width=10_000, highlight=False).print(grid)


@contextlib.contextmanager
def progress(title: str, total: int | None = None, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; the value is a function that sets how much of ``total`` is done."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    counted = (MofNCompleteColumn(),) if total is not None else ()
    columns = (TextColumn("{task.description}"), BarColumn(), *counted, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
