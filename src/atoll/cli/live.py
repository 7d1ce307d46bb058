"""A run → what it is doing, redrawn on the terminal meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from atoll.cli.streams import may_redraw
from atoll.products.layout import brief

if TYPE_CHECKING:
    from rich.console import Group

    from atoll.pipeline import Pipeline

REDRAWN_PER_S = 4


class LiveView:
    """The statistics of a run, as a picture."""

    def __init__(self) -> None:
        self._title = ""
        self._done = self._total = 0
        self._pipeline: Pipeline | None = None
        self._begin = 0.0

    def on_progress(self, title: str, done: int = 0, total: int | None = None) -> None:
        """Take note of what is being done."""
        self._title, self._done, self._total = title, done, total or 0

    @contextlib.contextmanager
    def watch(self, pipeline: Pipeline) -> Iterator[None]:
        """Show the devices of the pipeline until the block ends."""
        self._pipeline, self._begin = pipeline, time.perf_counter()
        try:
            yield
        finally:
            self._pipeline = None

    def picture(self, cells: int = 80) -> Group:
        """The progress, and of a pipeline its devices and what limits it."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        title = Text(brief(self._title))
        pipeline = self._pipeline
        if pipeline is None:
            return Group(title)
        from atoll.pipeline.monitoring.snapshot import PipelineSnapshot
        from atoll.reporting.formats import render

        snapshot = PipelineSnapshot(self._done, self._total, time.perf_counter() - self._begin, pipeline.stats())
        bar = ProgressBar(total=self._total, completed=self._done, width=60)
        return Group(title, bar, Text(render(snapshot, "text", cells)))


@contextlib.contextmanager
def live_view(quiet: bool) -> Iterator[LiveView]:
    """Show it on standard error until the block ends, if that is a terminal."""
    view = LiveView()
    if quiet or not may_redraw():
        yield view
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(
        get_renderable=lambda: view.picture(console.width),
        console=console,
        refresh_per_second=REDRAWN_PER_S,
        transient=True,
    ):
        yield view
