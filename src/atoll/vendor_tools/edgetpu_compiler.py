"""``edgetpu_compiler``, as scripts written for the vendor's compiler 16 call it: same options, output, exit status.

Standard output is the vendor's; what only atoll knows (the reason, and what to do) goes to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from atoll.api.compile import compile  # noqa: A004 - the command's name
from atoll.cli.entry import exit_on_sigterm
from atoll.cli.entry import invoke as invoke_command
from atoll.cli.streams import write_out
from atoll.compiler.external import report_text as vendor
from atoll.compiler.interface import Attempt
from atoll.errors import (
    INTERRUPTED,
    AtollError,
    CompilationTimeoutError,
    CompilerFaultError,
    DynamicShapeError,
    InvalidModelError,
    NotQuantizedError,
    UsageError,
)
from atoll.hardware.generations import DEFAULT, RUNTIMES
from atoll.products.layout import printable

HELP = f"""{vendor.VERSION}

Usage:
edgetpu_compiler [options] model...

Options:
  -h, --help                        Print this help and exit.
  -v, --version                     Print the compiler version and exit.
  -o, --out_dir dir                 Output the compiled models and log files to directory dir.
                                    Default: the current directory.
  -s, --show_operations             Print the log showing operations that mapped to the Edge TPU.
  -m, --min_runtime_version num     The lowest Edge TPU runtime version the models have to be compatible with,
                                    {RUNTIMES[0]} to {RUNTIMES[-1]}. Default: {DEFAULT.default_runtime}
  -i, --intermediate_tensors names  Tensors that become outputs of the Edge TPU custom op, separated by commas;
                                    operators following them run on the CPU. Lists of several models are
                                    separated by colons.
  -n, --num_segments num            Compile the model into num segments, each for an Edge TPU of its own.
                                    Not with several models or -i.
  -a, --enable_multiple_subgraphs   Map every supported part of the model, each as its own custom op.
  -d, --search_delegate             When compilation fails, try again with a stopping point earlier in the graph.
                                    Not with several models or -i.
  -k, --delegate_search_step num    How many operators each try of -d steps back, 1 or more. Default: 1
  -t, --timeout_sec num             Time limit of the compilation in seconds. Default: 180

With several models, they are co-compiled: they share the on-chip memory of one Edge TPU.
This is atoll's compiler for virtual Edge TPUs: real ones refuse its output.
"""

_HELP_OPTION = click.Option(["-h", "--help", "show_help"], is_flag=True)
_PARAMETERS: list[click.Parameter] = [
    _HELP_OPTION,
    click.Option(["-v", "--version", "show_version"], is_flag=True),
    click.Option(["-o", "--out_dir", "directory"], default=""),
    click.Option(["-s", "--show_operations", "show_operations"], is_flag=True),
    click.Option(["-m", "--min_runtime_version", "min_runtime"], type=int),
    click.Option(["-i", "--intermediate_tensors", "stop_at"], default=""),
    click.Option(["-n", "--num_segments", "segments"], type=click.IntRange(1)),
    click.Option(["-a", "--enable_multiple_subgraphs", "all_regions"], is_flag=True),
    click.Option(["-d", "--search_delegate", "search"], is_flag=True),
    click.Option(["-k", "--delegate_search_step", "step"], type=click.IntRange(1), default=1),
    click.Option(["-t", "--timeout_sec", "timeout"], type=click.IntRange(1, 10**6), default=180),
    click.Argument(["models"], nargs=-1, type=click.Path(readable=False)),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with the vendor's status: 0 when it compiled, 1 when it did not."""
    exit_on_sigterm()  # so that the child and its files go
    sys.exit(invoke(sys.argv[1:] if arguments is None else arguments))


def invoke(arguments: Sequence[str]) -> int:
    """The exit status; a message for every failure, a traceback for none."""
    command = click.Command(
        "edgetpu_compiler", params=_PARAMETERS, callback=_run, add_help_option=False, no_args_is_help=False
    )
    code = invoke_command(command, arguments)
    return code if code in (0, INTERRUPTED) else 1


def _say(*lines: str) -> None:
    """On standard output, as the vendor's compiler: names come from files that anyone may have made."""
    write_out("".join(f"{printable(line)}\n" for line in lines))


@dataclass(frozen=True)
class _Options:
    """What the user gave."""

    models: tuple[str, ...]
    directory: str
    show_operations: bool
    min_runtime: int | None
    stop_at: str
    segments: int | None
    all_regions: bool
    search: bool
    step: int
    timeout: int

    def require_compatible(self) -> None:
        several = len(self.models) > 1
        pairs = (
            (self.stop_at and self.segments, "--intermediate_tensors", "--num_segments"),
            (self.segments and several, "--num_segments", "several models"),
            (self.search and several, "--search_delegate", "several models"),
            (self.search and self.stop_at, "--search_delegate", "--intermediate_tensors"),
        )
        for clash, one, other in pairs:
            if clash:
                raise UsageError(f"{one} cannot be used with {other}", "Leave one of the two out.")


def _run(show_help: bool, show_version: bool, **given: Any) -> int:
    if show_help or show_version:
        _say(HELP.rstrip("\n") if show_help else vendor.VERSION)
        return 0
    options = _Options(**given)
    if not options.models:
        _say(HELP.rstrip("\n"))
        raise UsageError("no model is given", "Name one or more .tflite files.")
    options.require_compatible()
    _say(vendor.VERSION)
    return _compile(options)


def _compile(options: _Options) -> int:
    attempts: list[Attempt] = []
    transcript = _Transcript(options.timeout, options.show_operations, options.step if options.search else 0)
    try:
        report = compile(
            options.models,
            output_dir=options.directory,
            segments=options.segments,
            min_runtime=options.min_runtime,
            all_regions=options.all_regions,
            stop_at=options.stop_at,
            search=options.search,
            search_step=options.step if options.search else None,
            timeout=options.timeout,
            codegen="virtual",
            on_attempt=attempts.append,
        )
    except UsageError:
        raise
    except AtollError as error:
        _say(*transcript.failed(attempts, error))
        raise
    groups = [[file] for file in report.files] if len(options.models) == 1 else [list(report.files)]
    for number, group in enumerate(groups):
        own = [attempt for attempt in attempts if attempt.segment == number]
        blocks = [file.block(options.directory) for file in group]
        _say(*transcript.succeeded(own, blocks, max(file.milliseconds for file in group)))
    return 0


class _Transcript:
    """The lines of a compilation, in the vendor's order."""

    def __init__(self, timeout: int, show_operations: bool, step: int) -> None:
        self._timer = vendor.timer_line(timeout)
        self._show_operations = show_operations
        self._step = step

    def succeeded(
        self, attempts: Sequence[Attempt], blocks: Sequence[vendor.VendorBlock], milliseconds: int
    ) -> list[str]:
        return [
            *self._attempts(attempts),
            *vendor.success_lines(blocks, milliseconds, self._show_operations),
            vendor.WITHIN_TIMEOUT,
            vendor.SUCCEEDED,
        ]

    def failed(self, attempts: Sequence[Attempt], error: AtollError) -> list[str]:
        if isinstance(error, CompilerFaultError):
            return [*self._attempts(attempts), vendor.ABORTED]
        if isinstance(error, CompilationTimeoutError):
            return [*self._attempts(attempts), vendor.TIMEOUT, vendor.FAILED]
        if isinstance(error, DynamicShapeError):
            return [self._timer, *vendor.DYNAMIC_LINES, vendor.WITHIN_TIMEOUT, vendor.FAILED]
        if error.model:
            reason = "Model could not be parsed"
            if isinstance(error, NotQuantizedError):
                reason = "Model not quantized"
            elif not isinstance(error, InvalidModelError):
                reason = error.message
            return [f"Invalid model: {error.model}", reason]
        if attempts and attempts[-1].failure is error:  # the last attempt says it all
            return self._attempts(attempts)
        return [*self._attempts(attempts), *_failure_lines(error)]

    def _attempts(self, attempts: Sequence[Attempt]) -> list[str]:
        if not attempts:
            return [self._timer]
        lines: list[str] = []
        for attempt in attempts:
            if attempt.failure is not None:
                lines += _failure_lines(attempt.failure)
                continue
            if not attempt.tensors:
                lines.append(vendor.search_line(self._step))
            lines += [*vendor.attempt_lines(attempt.operators, attempt.tensors), self._timer]
        return lines


def _failure_lines(error: AtollError) -> list[str]:
    return [f"Compilation failed: {error.message}", vendor.WITHIN_TIMEOUT, vendor.FAILED]
