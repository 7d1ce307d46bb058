"""The ``atoll`` command: arguments → one call of the toolchain → text or JSON, or one message and an exit code."""

from __future__ import annotations

import importlib
import signal
import sys
import warnings
from collections.abc import Sequence

import click

from atoll.errors import INTERRUPTED, AtollError, OutputError
from atoll.version import __version__

COMMANDS = {
    "bench": "Measure or model how much several Edge TPUs gain: the vendor's analysis tools.",
    "check": "Say which operators of a model would run on the Edge TPU, and why the others would not.",
    "classify": "Name what is in pictures.",
    "compile": "Compile models for the Edge TPU, in segments or together, as the vendor's compiler does.",
    "devices": "List the Edge TPUs of this machine, real and virtual, and who holds them.",
    "doctor": "Check the whole installation and say what to do, in order.",
    "graph": "Join models, split layers and close loops: the vendor's graph tools.",
    "inspect": "Explain a compiled file, ours or the vendor's.",
    "learn": "Train the last layer of a classifier on a folder of pictures.",
    "lease": "Run a command with Edge TPUs that no other process gets meanwhile.",
    "partition": "Say where to cut a model into segments, why there, and check a partition.",
    "plan": "Say what each number of Edge TPUs can do with a model, and whether more would help.",
    "profile": "Say where the time of an inference goes, operator by operator, without an Edge TPU.",
    "run": "Cut a model into segments and run them as a pipeline on several Edge TPUs.",
    "zoo": "List and build standard networks with random weights.",
}
"""Each command lives in the module of its name and is imported when it is used: ``atoll --help`` stays quick."""


_HOMES = {"bench": "vendor_tools", "graph": "vendor_tools"}
"""The vendor's tools live in a room of their own."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"atoll.{_HOMES.get(cmd_name, 'cli')}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="atoll %(version)s")
def cli() -> None:
    """Pipeline neural networks over several Coral Edge TPUs, with the hardware and without it.

    Results go to standard output, progress and messages to standard error. Every kind of failure has an exit code of
    its own: see docs/reference/exit-codes.md.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the only place where exceptions become messages and exit codes."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(invoke(cli, arguments))


def _terminated(number: int, _frame: object) -> None:
    """Leave through the ``with`` blocks, so that a stopped container leaves no temporary files behind."""
    sys.exit(128 + number)


def _show_warning(message: Warning | str, *_where: object) -> None:
    """One line: where in the source a warning was raised is nothing to the user."""
    click.echo(f"warning: {message}", err=True)


def invoke(command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, with its error, if any, said on standard error."""
    from atoll.files import one_command

    try:
        with one_command(), warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # called with positional arguments
            return command.main(args=arguments, standalone_mode=False) or 0
    except AtollError as error:
        from atoll.products.layout import brief

        click.echo(f"error: {brief(error.message)}", err=True)
        if error.hint:
            click.echo(brief(error.hint), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough; what is still buffered has no place to go.
        sys.stdout = None
        return 0
    except OSError as error:
        click.echo(f"error: the output cannot be written: {error.strerror or error}", err=True)
        return OutputError.exit_code
