"""The options of ``atoll partition --measure``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from atoll.cli.options import (
    POSITIVE,
    FiniteFloat,
    measuring_device_option,
    store_option,
    timeout_option,
)
from atoll.cli.output import say, say_each, show
from atoll.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])

_WITH_MEASURE = ("device", "budget", "tolerance", "compiler", "store", "timeout")
_ALSO = ("measure", "model", "tpus", "exactly", "bus", "target", "output", "as_json", "quiet")


def with_measuring(function: _F) -> _F:
    """``atoll partition`` with the option ``--measure`` and those that go with it: it then does what is done here."""

    @functools.wraps(function)
    def command(**given: Any) -> None:
        own = {name: given.pop(name) for name in _WITH_MEASURE}
        measure = given.pop("measure")
        context = click.get_current_context()
        for name, option in ((p.name, p.opts[-1]) for p in context.command.params):
            chosen = context.get_parameter_source(str(name)) is click.core.ParameterSource.COMMANDLINE
            if chosen and measure and name not in (*_WITH_MEASURE, *_ALSO):
                raise UsageError(
                    f"{option} does not go with --measure",
                    "It looks for the cuts whose slowest segment is the quickest, and for nothing else.",
                )
            if chosen and not measure and name in _WITH_MEASURE:
                raise UsageError(f"{option} is about measuring", "Give --measure too.")
        if measure:
            _partition(**{name: given[name] for name in _ALSO if name != "measure"}, **own)
        else:
            function(**given)

    budget = "Minutes to measure; one complete way to cut is measured in any case."
    options = [
        click.option("--measure", is_flag=True, help="Compile and measure the segments that the search asks for."),
        measuring_device_option,
        click.option("--budget", metavar="MIN", type=POSITIVE, help=budget),
        click.option(
            "--tolerance",
            metavar="PCT",
            type=FiniteFloat(0, 100),
            default=2.0,
            show_default=True,
            help="Measure until the cuts are proven to be within this of the best.",
        ),
        click.option("--compiler", metavar="PATH", help="Any with the vendor's command line.  [default: atoll's]"),
        timeout_option,
        store_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command  # type: ignore[return-value]


def _partition(tpus: int | None, as_json: bool, quiet: bool, **options: Any) -> None:
    if tpus is None:
        raise UsageError("the number of Edge TPUs is not given", "atoll partition MODEL --tpus 4 --measure.")
    from atoll.api.partition_measured import partition_measured

    report = partition_measured(tpus=tpus, **options, on_progress=say_each(quiet), on_message=say)
    show(report, "json" if as_json else "text")
