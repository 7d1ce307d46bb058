"""``atoll version``."""

from __future__ import annotations

import click

from atoll.cli.streams import write_out
from atoll.version import __version__


@click.command("version")
def command() -> None:
    """Say which version this is."""
    write_out(f"atoll {__version__}\n")
