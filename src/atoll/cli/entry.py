"""The group of all commands, and how one of them is run."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence

import click

from atoll.cli.failures import exit_code, say_on_stderr
from atoll.cli.overview import COMMANDS, PURPOSE, overview
from atoll.cli.startup import import_numpy_without_threads
from atoll.cli.streams import plain, speak_ascii_where_needed, write_out
from atoll.errors import AtollError
from atoll.files import one_command
from atoll.products.layout import printable
from atoll.version import __version__

_HOMES = {"bench": "vendor_tools", "graph": "vendor_tools"}
"""The vendor's tools live in a room of their own."""
_WITHOUT_BLAS = frozenset(("check", "compile", "inspect"))
"""Commands that multiply no matrices."""


class Group(click.Group):
    """Commands that are imported when they are used; a mistyped one gets a suggestion."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of the module of its name."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in _WITHOUT_BLAS:
            import_numpy_without_threads()
        command: click.Command = importlib.import_module(f"atoll.{_HOMES.get(cmd_name, 'cli')}.{cmd_name}").command
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The overview, which is printed without click where that is possible."""
        formatter.write(overview(formatter.width))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name."""
        if self.get_command(ctx, args[0]) is None:
            raise no_such_command(ctx, self, args[0])
        return super().resolve_command(ctx, args)


def no_such_command(context: click.Context, group: click.Group, name: str) -> click.UsageError:
    """An error that names what was meant, as far as that can be guessed."""
    import difflib  # late: of no use to those who type well

    near = difflib.get_close_matches(name, group.list_commands(context))
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return click.UsageError(f"There is no command '{name}'.{meant}", context)


@click.command("atoll", cls=Group, help=PURPOSE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="atoll %(version)s")
def cli() -> None:
    """Nothing to do before the command."""


def exit_on_sigterm() -> None:
    """Leave through the ``with`` blocks, so that a stopped container leaves no temporary files behind."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def invoke(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, with its error, if any, said on standard error.

    (Without ``command.main``, which exits by itself where a pipe is broken, with 1, if it notices.)
    """
    name = command.name or "atoll"
    if f"_{name.upper()}_COMPLETE" in os.environ:
        command.main(args=arguments, prog_name=name)  # the shell asks for completions
    speak_ascii_where_needed()
    given = sys.argv[1:] if arguments is None else [*arguments]
    doing = " ".join([name, *given[:1]]) if isinstance(command, Group) else name
    try:
        with one_command(), warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # called with positional arguments
            with command.make_context(name, given, color=False if plain() else None) as context:
                code = int(command.invoke(context) or 0)
        write_out("")
        return code
    except click.exceptions.Exit as end:
        write_out("")
        return end.exit_code
    except (AtollError, click.ClickException, KeyboardInterrupt, click.Abort, OSError) as error:
        return exit_code(error, printable(doing))
    except ImportError as error:  # what a native library makes of a signal that comes while it is imported
        if isinstance(error.__cause__, SystemExit):
            raise error.__cause__ from None
        if isinstance(error.__cause__, KeyboardInterrupt):
            return exit_code(error.__cause__, printable(doing))
        raise


def _show_warning(message: Warning | str, *_where: object) -> None:
    """One line: where in the source a warning was raised is nothing to the user."""
    say_on_stderr(f"warning: {printable(str(message))}")
