"""The vendor's developer tools under their own names: ``split_fc --input_graph x ...`` is ``atoll graph split_fc``."""

from __future__ import annotations

import importlib
import re
import signal
import sys
from collections.abc import Sequence

import click

from atoll.cli import invoke
from atoll.errors import INTERRUPTED


def _run(group: str, name: str, arguments: Sequence[str] | None) -> None:
    """Run one sub-command and exit."""
    parent: click.Group = importlib.import_module(f"atoll.vendor_tools.{group}").command
    _exit(parent.commands[name], arguments)


def _exit(command: click.Command, arguments: Sequence[str] | None) -> None:
    """Run a command and exit. The vendor's flag library takes ``-input_graph`` for ``--input_graph`` too."""
    given = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # the process is ours: leave through the ``with`` blocks
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    sys.exit(invoke(command, [re.sub(r"^-(?=[a-z]+_)", "--", argument) for argument in given]))


def edgetpu_compiler() -> None:
    """The drop-in for the vendor's compiler; Ctrl-C while it is being imported is Ctrl-C too."""
    try:
        from atoll.vendor_tools.edgetpu_compiler import main
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    main()


def append_recurrent_links(arguments: Sequence[str] | None = None) -> None:
    """Keep the state of a recurrent model inside it."""
    _run("graph", "append_recurrent_links", arguments)


def join_tflite_models(arguments: Sequence[str] | None = None) -> None:
    """Join two models into one."""
    _run("graph", "join_tflite_models", arguments)


def split_fc(arguments: Sequence[str] | None = None) -> None:
    """Split a fully connected layer in two."""
    _run("graph", "split_fc", arguments)


def partition_with_num_ops(arguments: Sequence[str] | None = None) -> None:
    """Cut a model into segments of given numbers of operators."""
    _run("graph", "partition_with_num_ops", arguments)


def partition_with_profiling(arguments: Sequence[str] | None = None) -> None:
    """Cut a model into segments of about the same measured latency."""
    from atoll.vendor_tools.partition_with_profiling import command

    _exit(command, arguments)


def model_pipelining_performance_analysis(arguments: Sequence[str] | None = None) -> None:
    """Throughput of models as pipelines of several lengths."""
    _run("bench", "model_pipelining_performance_analysis", arguments)


def multiple_tpus_performance_analysis(arguments: Sequence[str] | None = None) -> None:
    """Throughput of models on several devices side by side."""
    _run("bench", "multiple_tpus_performance_analysis", arguments)
