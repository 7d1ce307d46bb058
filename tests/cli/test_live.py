"""The live view of ``atoll run`` shows every device of a running pipeline."""

from __future__ import annotations

import io

from rich.console import Console

from atoll.cli.live import LiveView
from atoll.pipeline import Pipeline
from pipeline_fakes import chain, frame


def test_every_device_the_rate_and_the_progress() -> None:
    view = LiveView()
    console = Console(width=200, record=True, file=io.StringIO())
    view.on_progress("compiling net")
    console.print(view.picture(120))
    with Pipeline(chain(2), devices=["pci:0", "usb:1"]) as pipeline, view.watch(pipeline):
        view.on_progress("running net", 0, 10)
        console.print(view.picture(120))
        for done, _ in enumerate(pipeline.map(frame(i) for i in range(5)), start=1):
            view.on_progress("running net", done, 10)
        console.print(view.picture(120))
    text = console.export_text()
    assert "compiling net" in text and "running net" in text
    assert "0 results" in text and "5 results of 10, " in text
    assert all(sum(name in line for line in text.splitlines()) == 2 for name in ("pci:0", "usb:1"))
