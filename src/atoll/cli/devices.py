"""``atoll devices``: this machine → a table of its Edge TPUs, real and virtual."""

from __future__ import annotations

import time

import click

from atoll.cli.options import FiniteFloat, format_option, require_none_given
from atoll.cli.output import show
from atoll.cli.streams import write_out


@click.command("devices")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--interval", default=1.0, show_default=True, type=FiniteFloat(0.1, 1e6), help="Seconds between two looks."
)
@format_option
def command(watch: bool, interval: float, output_format: str) -> None:
    """List the Edge TPUs: bus and speed, path, identity, temperature and clock, and who holds them.

    With --watch and --json, one line of JSON for each look.
    """
    from atoll.api.devices import devices

    if not watch:
        require_none_given("--interval goes with --watch", "interval")
        show(devices(), output_format)
        return
    try:
        while True:
            found = devices()
            if output_format == "json":
                write_out(found.to_json(indent=None) + "\n")
            else:
                click.clear()
                show(found, output_format)
            time.sleep(interval)
    except KeyboardInterrupt:
        return
