"""``atoll doctor``: this machine → what works, what does not, and what to do, in order."""

from __future__ import annotations

import dataclasses

import click

from atoll.cli.output import json_option, print_json

EXIT_UNHEALTHY = 1


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check the whole installation and say what to do, in order; --json for bug reports.

    Opens no device. The exit code is 1 when there is something to repair.
    """
    from atoll.device.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        checks = [dataclasses.asdict(check) for check in diagnosis.checks]
        print_json("doctor", healthy=diagnosis.healthy, checks=checks, versions=diagnosis.versions)
    else:
        for check in diagnosis.checks:
            click.echo(f"{_SIGNS[check.state]:8} {check.name}: {check.finding}")
        click.echo()
        todo = [check for check in diagnosis.checks if check.remedy]
        if todo:
            click.echo("What to do, in this order:")
        for number, check in enumerate(todo, 1):
            click.echo(f"{number}. {check.finding}\n   {check.remedy}")
        click.echo("There is nothing to repair." if diagnosis.healthy else "Then run atoll doctor again.")
    if not diagnosis.healthy:
        click.get_current_context().exit(EXIT_UNHEALTHY)


_SIGNS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
