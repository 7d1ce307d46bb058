"""``atoll doctor``: this machine → what works, what does not, and what to do, in order."""

from __future__ import annotations

import click

from atoll.cli.options import format_option
from atoll.cli.output import show

EXIT_UNHEALTHY = 1


@click.command("doctor")
@format_option
def command(output_format: str) -> None:
    """Check the whole installation and say what to do, in order; --json for bug reports.

    Opens a free device once, to try the library with this LiteRT. The exit code is 1 when there is something to repair.
    """
    from atoll.api.doctor import doctor

    report = doctor()
    show(report, output_format)
    if not report.healthy:
        click.get_current_context().exit(EXIT_UNHEALTHY)
