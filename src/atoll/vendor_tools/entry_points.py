"""The vendor's developer tools under their own names: ``split_fc --input_graph x ...`` is ``atoll graph split_fc``."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Sequence

from atoll.errors import INTERRUPTED


def _tool(module: str, name: str = "") -> Callable[..., None]:
    """What runs a command of this room, or a sub-command of it, and exits; by default with the process's arguments."""

    def run(arguments: Sequence[str] | None = None) -> None:
        try:
            _run(module, name, arguments)
        except KeyboardInterrupt:  # while what it needs is imported
            sys.exit(INTERRUPTED)

    return run


def _run(module: str, name: str, arguments: Sequence[str] | None) -> None:
    import click

    from atoll.cli.entry import exit_on_sigterm, invoke

    if arguments is None:  # the process is ours: leave through the ``with`` blocks
        exit_on_sigterm()
    command: click.Command = importlib.import_module(f"atoll.vendor_tools.{module}").command
    if isinstance(command, click.Group):
        command = command.commands[name]
    given = sys.argv[1:] if arguments is None else arguments
    # The vendor's flag library takes ``-input_graph`` for ``--input_graph`` too.
    sys.exit(invoke(command, [re.sub(r"^-(?=[a-z]+_)", "--", argument) for argument in given]))


append_recurrent_links = _tool("graph", "append_recurrent_links")
join_tflite_models = _tool("graph", "join_tflite_models")
model_pipelining_performance_analysis = _tool("bench", "model_pipelining_performance_analysis")
multiple_tpus_performance_analysis = _tool("bench", "multiple_tpus_performance_analysis")
partition_with_num_ops = _tool("graph", "partition_with_num_ops")
partition_with_profiling = _tool("partition_with_profiling")
split_fc = _tool("graph", "split_fc")


def edgetpu_compiler() -> None:
    """The drop-in for the vendor's compiler; Ctrl-C while it is being imported is Ctrl-C too."""
    try:
        from atoll.cli.entry import exit_on_sigterm

        exit_on_sigterm()
        from atoll.vendor_tools.edgetpu_compiler import main
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    main()
