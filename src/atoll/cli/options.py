"""What the options of several commands share → numbers that are numbers, and outputs that can be written."""

from __future__ import annotations

import math
from typing import Any

import click


class FiniteFloat(click.FloatRange):
    """A number within bounds, like :class:`click.FloatRange`, but never nan or infinite: every float option has it."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number

    def _describe_range(self) -> str:
        """For --help; without bounds click would write "x<=None"."""
        return "" if self.min is None and self.max is None else super()._describe_range()


SECONDS = FiniteFloat(0, 10**9)
"""A time to wait: beyond it, which is 30 years, clocks overflow."""
POSITIVE = FiniteFloat(0, 10**9, min_open=True)
SEED = click.IntRange(0)
INFERENCES = click.IntRange(1, 10**9)


class OutputFile(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer clicks
    """A file that will be written: that it cannot be is said before any work is done."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        from atoll.files import require_writable

        if value and not (ctx and ctx.resilient_parsing):
            require_writable(value)
        return value


class OutputDirectory(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer clicks
    """A directory that files will be written to, made if it is missing."""

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        from atoll.files import require_writable_directory

        if value and not (ctx and ctx.resilient_parsing):
            require_writable_directory(value)
        return value


OUTPUT_FILE = OutputFile()
OUTPUT_DIRECTORY = OutputDirectory()
