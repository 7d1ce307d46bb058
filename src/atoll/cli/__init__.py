"""The ``atoll`` command: arguments → one call of the library → a printed result, or one message and an exit code."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from atoll.cli.entry import cli, invoke

__all__ = ["cli", "invoke", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. The overview is printed without importing what commands need."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given in (["--help"], ["-h"], ["help"]):
        from atoll.cli.overview import print_overview

        sys.exit(print_overview())
    try:
        from atoll.cli.entry import cli, exit_on_sigterm, invoke

        exit_on_sigterm()
        sys.exit(invoke(cli, given))
    except KeyboardInterrupt:  # while that is imported
        from atoll.errors import INTERRUPTED

        sys.exit(INTERRUPTED)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'atoll.cli' has no attribute '{name}'")
    from atoll.cli import entry

    return getattr(entry, name)
