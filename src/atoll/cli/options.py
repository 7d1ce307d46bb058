"""The options of the command line, each declared once: whatever two commands share has one name, type and text."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from atoll.errors import UsageError
from atoll.hardware.buses import BUSES
from atoll.reporting import formats

_F = TypeVar("_F", bound=Callable[..., Any])


class FiniteFloat(click.FloatRange):
    """A number within bounds, like :class:`click.FloatRange`, but never nan or infinite: every float option has it."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; a usage error for nan and infinity."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number

    def _describe_range(self) -> str:
        """For --help; without bounds click would write "x<=None"."""
        return "" if self.min is None and self.max is None else super()._describe_range()


class WritableFile(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer clicks
    """A file that will be written: that it cannot be is said before any work is done."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """The path as given, reserved for this command."""
        from atoll.files import require_writable

        if not (ctx and ctx.resilient_parsing):
            require_writable(value)
        return value


class WritableDirectory(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer clicks
    """A directory that files will be written to, made if it is missing."""

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """The path as given, found to be writable."""
        from atoll.files import require_writable_directory

        if value and not (ctx and ctx.resilient_parsing):
            require_writable_directory(value)
        return value


SECONDS = FiniteFloat(0, 10**9)
"""A time to wait: beyond it, which is 30 years, clocks overflow."""
POSITIVE = FiniteFloat(0, 10**9, min_open=True)
SEED = click.IntRange(0)
INFERENCES = click.IntRange(1, 10**9)
MODEL = click.Path(readable=False)
OUTPUT_FILE = WritableFile()
OUTPUT_DIRECTORY = WritableDirectory()

model_argument = click.argument("model", type=MODEL)
models_argument = click.argument("models", nargs=-1, required=True, type=MODEL, metavar="MODEL...")
bus_option = click.option(
    "--bus", type=click.Choice([*BUSES]), help="The bus of the Edge TPUs, as on its measured host.  [default: pcie]"
)
target_option = click.option(
    "--target", metavar="NAME|FILE", help="The host, instead of that of --bus: one of the package, or a .toml file."
)
mixed_option = click.option(
    "--mixed", metavar="BUS:N,...", help="Edge TPUs of different kinds: pcie:2,usb3:2. Instead of --tpus and --bus."
)
memory_limit_option = click.option(
    "--memory-limit",
    metavar="SIZE|fit",
    help="Most bytes of parameters in a segment (6MiB); or fit: all must fit on the chip.",
)
device_option = click.option("--device", metavar="DEVICE", help="The device: usb, pci, usb:0, pci:1, :2, or a path.")
devices_option = click.option(
    "--device", "devices", multiple=True, metavar="DEVICE", help="Use only these: usb, pci, usb:0, :2, or a path."
)
devices_or_cpu_option = click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="Use only these: usb, pci:1, :2, a path, or cpu; repeatable.  [default: every Edge TPU]",
)
pipeline_segments_option = click.option(
    "--segments",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Cut the model into a pipeline over so many devices.",
)
wait_option = click.option(
    "--wait",
    metavar="SECONDS",
    type=SECONDS,
    help="How long to wait for busy devices.  [default: as ATOLL_LEASE_TIMEOUT says, else for ever]",
)
clock_option = click.option(
    "--clock", type=click.Choice(["max", "standard", "reduced"]), help="The clock of the Edge TPUs.  [default: max]"
)
original_option = click.option("--original", metavar="MODEL", help="The uncompiled model of a vendor-compiled file.")
codegen_option = click.option(
    "--codegen",
    type=click.Choice(["auto", "virtual", "vendor"]),
    default="auto",
    show_default=True,
    help="Whose compiler writes the files: ours (for virtual devices), or the vendor's; auto: the vendor's if it is "
    "installed and real devices will run them.",
)
compiler_option = click.option(
    "--compiler", metavar="PATH", help="The vendor's compiler.  [default: the first in PATH]"
)
inferences_option = click.option(
    "--inferences", default=100, show_default=True, type=INFERENCES, help="How many inferences to run."
)
seed_option = click.option("--seed", default=0, show_default=True, type=SEED, help="Seed of the random values.")
trace_option = click.option(
    "--trace", metavar="FILE", type=OUTPUT_FILE, help="Write what ran when, for ui.perfetto.dev."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")


_JSON = "atoll.json"


def _format(context: click.Context, _option: click.Parameter, value: str) -> str:
    if _JSON not in context.meta:
        return value
    if value != "json" and context.get_parameter_source("output_format") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(f"--json and --format {value} exclude each other.", context)
    return "json"


def format_option(function: _F) -> _F:
    """``--format``, and ``--json`` for the one that programs want most; passed as ``output_format``."""
    options = (
        click.option(
            "--format",
            "output_format",
            type=click.Choice(formats.names()),
            default="text",
            show_default=True,
            callback=_format,
            help="How to print the result.",
        ),
        click.option(
            "--json",
            is_flag=True,
            is_eager=True,  # known before --format is looked at
            expose_value=False,
            callback=lambda context, _option, chosen: context.meta.update({_JSON: chosen}) if chosen else None,
            help="The same as --format json.",
        ),
    )
    return functools.reduce(lambda made, option: option(made), reversed(options), function)


measuring_device_option = click.option(
    "--device",
    metavar="SPEC",
    help="usb, pci:0, a path, or model: the timing model.  [default: a real one if there is one, else model]",
)
store_option = click.option(
    "--store",
    metavar="FILE",
    type=OUTPUT_FILE,
    help="Where measurements are kept.  [default: ~/.cache/atoll/measurements.json]",
)
timeout_option = click.option(
    "--timeout",
    metavar="S",
    type=click.IntRange(1, 10**6),
    help="Seconds that the compiler may take for one segment.  [default: 180]",
)


def require_none_given(message: str, *names: str) -> None:
    """Refuse parameters of the running command that somebody gave: they would be ignored.

    Raises:
        UsageError: ``message``, with the first that was given.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is click.core.ParameterSource.COMMANDLINE:
            named = parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.make_metavar(context)
            raise UsageError(message, f"Leave {named} out.")
