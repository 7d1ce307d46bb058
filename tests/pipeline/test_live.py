"""The live view of ``atoll run`` shows every device of a running pipeline."""

from __future__ import annotations

import io

from pipeline_fakes import chain, frame
from rich.console import Console

from atoll.cli.live import picture
from atoll.pipeline import Pipeline


def test_every_device_the_rate_and_the_progress() -> None:
    with Pipeline(chain(2), devices=["pci:0", "usb:1"]) as pipeline:
        console = Console(width=200, record=True, file=io.StringIO())
        console.print(picture(pipeline, "running net", 10, 0.0))
        list(pipeline.map(frame(i) for i in range(5)))
        console.print(picture(pipeline, "running net", 10, 0.5))
    text = console.export_text()
    assert "running net: 0 of 10" in text
    assert "running net: 5 of 10, 10.0/s" in text
    assert all(sum(name in line for line in text.splitlines()) == 2 for name in ("pci:0", "usb:1"))
