"""``atoll help``: the name of a command → what it does and which options it has."""

from __future__ import annotations

import click

from atoll.cli.entry import no_such_command
from atoll.cli.streams import write_out


@click.command("help")
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def command(context: click.Context, names: tuple[str, ...]) -> None:
    """Explain COMMAND, or all of them in a line each; "atoll help learn imprint" is a command within another."""
    at = context.find_root()
    for name in names:
        group = at.command
        found = group.get_command(at, name) if isinstance(group, click.Group) else None
        if found is None:
            if isinstance(group, click.Group):
                raise no_such_command(at, group, name)
            raise click.UsageError(f"'{at.command_path}' has no commands of its own.", at)
        at = click.Context(found, parent=at, info_name=name)
    write_out(at.get_help() + "\n")
