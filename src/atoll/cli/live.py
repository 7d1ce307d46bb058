"""A running pipeline → what each of its devices is doing, redrawn on the terminal while it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from atoll.cli.streams import may_redraw

if TYPE_CHECKING:
    from rich.console import Group

    from atoll.pipeline import Pipeline

REDRAWN_PER_S = 4


@contextlib.contextmanager
def live_view(pipeline: Pipeline, title: str, total: int, quiet: bool) -> Iterator[None]:
    """Show the pipeline on standard error until the block ends, if that is a terminal."""
    if quiet or not may_redraw():
        yield
        return
    from rich.console import Console
    from rich.live import Live

    begin = time.perf_counter()
    with Live(
        get_renderable=lambda: picture(pipeline, title, total, time.perf_counter() - begin),
        console=Console(stderr=True),
        refresh_per_second=REDRAWN_PER_S,
        transient=True,
    ):
        yield


def picture(pipeline: Pipeline, title: str, total: int, seconds: float) -> Group:
    """A table of the devices, the rate so far, and what limits it."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    stats = pipeline.stats()
    shown = Table(box=None, pad_edge=False)
    for name in ("segment", "device", "items", "mean", "p95", "busy", "input", "room", "queue"):
        shown.add_column(name, justify="left" if name == "device" else "right", no_wrap=True)
    for stage in stats:
        all_s = max(stage.total_s + stage.wait_input_s + stage.wait_output_s, 1e-9)
        shown.add_row(
            str(stage.segment),
            stage.device or "-",
            str(stage.count),
            f"{stage.mean_s * 1e3:.2f} ms",
            f"{stage.p95_s * 1e3:.2f} ms",
            f"{stage.busy_share:.0%}",
            f"{stage.wait_input_s / all_s:.0%}",
            f"{stage.wait_output_s / all_s:.0%}",
            str(stage.queued),
        )
    limit = pipeline.bottleneck()
    done = sum(stage.count for stage in stats if stage.segment == stats[-1].segment)
    return Group(
        Text(f"{title}: {done} of {total}, {done / max(seconds, 1e-9):.1f}/s"),
        ProgressBar(total=total, completed=done, width=60),
        shown,
        Text("busy, and waiting for input and for room behind it: shares of the time", style="dim"),
        Text(f"{limit.message}. {limit.help}" if limit else ""),
    )
