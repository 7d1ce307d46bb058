"""How commands speak: results on standard output, progress and messages on standard error."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator

import click

from atoll.products.layout import brief
from atoll.products.progress import OnProgress, ignore
from atoll.products.result import Result


def show(result: Result, output_format: str) -> None:
    """Print a result, as wide as the terminal; 80 columns where there is none."""
    from atoll.reporting.formats import render

    click.echo(render(result, output_format, shutil.get_terminal_size((80, 24)).columns))


def say(text: str) -> None:
    """A message for people, beside the result."""
    click.echo(brief(text), err=True)


@contextlib.contextmanager
def progress(quiet: bool = False) -> Iterator[OnProgress]:
    """A progress bar on standard error, when that is a terminal: it begins with the first thing that it is told."""
    if quiet or not sys.stderr.isatty():
        yield ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    counted = MofNCompleteColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*counted, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def told(title: str, done: int = 0, total: int | None = None) -> None:
            if title not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                tasks[title] = bar.add_task(brief(title), total=total)
            bar.update(tasks[title], completed=done, total=total)

        yield told
