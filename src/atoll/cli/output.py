"""How commands speak: results on standard output, progress and messages on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from atoll.cli.failures import say_on_stderr
from atoll.cli.streams import may_redraw, terminal_columns, write_out
from atoll.products.layout import brief, shortened
from atoll.products.progress import OnProgress, ignore
from atoll.products.result import Result


def show(result: Result, output_format: str) -> None:
    """Print a result, as wide as the terminal; 80 columns where there is none."""
    from atoll.reporting.formats import render

    write_out(render(result, output_format, terminal_columns()) + "\n")


def say(text: str) -> None:
    """A message for people, beside the result."""
    say_on_stderr(brief(text))


def say_each(quiet: bool = False) -> OnProgress:
    """Every step of work that takes minutes as a line on standard error, into files too."""
    return ignore if quiet else lambda title, _done=0, _total=None, /: say(title)


@contextlib.contextmanager
def progress(quiet: bool = False) -> Iterator[OnProgress]:
    """One line on standard error that says what is being done and how much of it, when that is a terminal.

    It appears with the first progress, and is gone in the end. Terminals that know no escape codes get
    nothing.
    """
    if quiet or not may_redraw():
        yield ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = None
        room = max(bar.console.width - 45, 15)  # beside the bar, 1,000/1,000 and the time

        def told(title: str, done: int = 0, total: int | None = None) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task("", total=None, count="")
            counted = "" if total is None else f"{done:,}/{total:,}"
            bar.update(task, description=shortened(brief(title), room), completed=done, total=total, count=counted)

        yield told
