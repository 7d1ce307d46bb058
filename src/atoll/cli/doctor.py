"""``atoll doctor``: this machine → what works, what does not, and what to do, in order."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from atoll.cli.old_output import json_option, print_json

if TYPE_CHECKING:
    from atoll.device.doctor import Check

EXIT_UNHEALTHY = 1


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check the whole installation and say what to do, in order; --json for bug reports.

    Opens no device. The exit code is 1 when there is something to repair.
    """
    from atoll.device.doctor import diagnose

    diagnosis = diagnose(also=[_compiler()])
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


def _compiler() -> Check:
    """The vendor's compiler, without which real devices run only files that were compiled elsewhere."""
    from atoll.compiler.external.installed import INSTALL, find_compiler
    from atoll.device.doctor import Check
    from atoll.device.real import sysfs
    from atoll.errors import AtollError

    try:
        found = find_compiler()
    except AtollError as error:
        return Check("compiler", "problem", error.message, error.hint)
    if found is None:
        finding = "there is no vendor's compiler; virtual devices need none, real ones run only files that it made"
        return Check("compiler", "note", finding, INSTALL if sysfs.attached_devices() else "")
    return Check("compiler", "ok", f"{found.path}: {found.version}")


_SIGNS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
