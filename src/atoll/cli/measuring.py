"""A device, a compiler and a store, as options name them → what measures segments; and what it took, in words."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atoll.cli.options import OUTPUT_FILE
from atoll.errors import UsageError

if TYPE_CHECKING:
    from atoll.api.measuring import Look, Measuring, Meter
    from atoll.compiler.interface import Compiler
    from atoll.device import EdgeTpu
    from atoll.hardware.host import Target
    from atoll.model.graph import Model
    from atoll.partitioning.measured.store import Failure

_F = TypeVar("_F", bound=Callable[..., Any])

MODEL = "model"
"""The device that is none: the timing model."""
_SHOWN_FAILURES = 5


def device_option(function: _F) -> _F:
    """``--device``, as :func:`choose_devices` understands it."""
    text = f"usb, pci:0, a path, or {MODEL}: the timing model.  [default: a real one if there is one, else {MODEL}]"
    return click.option("--device", metavar="SPEC", help=text)(function)


def store_option(function: _F) -> _F:
    """``--store``."""
    text = "Where measurements are kept.  [default: ~/.cache/atoll/measurements.json]"
    return click.option("--store", metavar="FILE", type=OUTPUT_FILE, help=text)(function)


def timeout_option(function: _F) -> _F:
    """``--timeout``."""
    text = "Seconds that --compiler may take for one segment."
    seconds = click.IntRange(1, 10**6)
    return click.option("--timeout", metavar="S", type=seconds, default=180, show_default=True, help=text)(function)


def effort(measure: Measuring, asked: int, failures: Mapping[tuple[int, int], Failure]) -> dict[str, Any]:
    """What finding the cuts took, for a report."""
    return {
        "asked": asked,
        "measured": len(measure.fresh),
        "compiler": measure.compiler.identity,
        "failures": [
            {"operators": [start, end], "reason": failure.reason} for (start, end), failure in sorted(failures.items())
        ],
    }


def effort_sentences(report: Mapping[str, Any]) -> Iterator[str]:
    """The same for people, and what the times are times of."""
    remembered = report["asked"] - report["measured"]
    known = f", {remembered} were known from before" if remembered else ""
    yield f"{report['measured']} segments were compiled and measured{known}. Times: {report['times']}."
    failures = report["failures"]
    for failure in failures[:_SHOWN_FAILURES]:
        yield f"Operators {_span(*failure['operators'])} failed: {failure['reason']}"
    if len(failures) > _SHOWN_FAILURES:
        yield f"{len(failures) - _SHOWN_FAILURES} more segments failed: --json has them all."


def times_of(meter: Meter) -> str:
    """What its times are times of."""
    from atoll.api import benching
    from atoll.api.measuring import DeviceMeter, ModelMeter

    if isinstance(meter, DeviceMeter):
        return benching.times_of([meter.device])
    assert isinstance(meter, ModelMeter)
    return f"modelled for {meter.target.name} ({meter.target.description}); nothing was run"


def choose_devices(spec: str | None, kinds: Sequence[str] = ("pci", "usb")) -> Sequence[EdgeTpu]:
    """The devices of one kind of which one is to measure; none: the timing model.

    Virtual devices take the times of CPU kernels: they are used when they are named only.

    Raises:
        DeviceError: there is no such device.
    """
    from atoll.device import inventory

    if spec == MODEL:
        return ()
    found = inventory.edge_tpus() if spec is None else inventory.fitting(spec)
    found = [item for item in found if item.type in kinds and not (spec is None and item.virtual)]
    if spec is not None and not found:
        raise UsageError(f"--device {spec} is not of the type {' or '.join(kinds)}", "Leave one of the two out.")
    return [item for item in found if (item.virtual, item.bus) == (found[0].virtual, found[0].bus)]


def choose_compiler(path: str | None, devices: Sequence[EdgeTpu], seconds: int, step: int = 0) -> Compiler:
    """The compiler that is named, or ours; for real devices the vendor's that is installed.

    Raises:
        CompilerMissingError, CompilerInvalidError: it is not there, or is none.
    """
    from atoll.compiler.choosing import choose_compiler as choose
    from atoll.compiler.interface import CompileOptions
    from atoll.errors import CompilerMissingError

    real = bool(devices) and not devices[0].virtual
    options = CompileOptions(search_step=step, seconds=seconds)
    try:
        return choose("vendor" if real else "auto", path, real_devices=real, options=options, any_program=True)
    except CompilerMissingError as error:
        if path is not None:
            raise
        raise CompilerMissingError(
            f"{devices[0].path} runs only what the vendor's compiler made, and that is not installed",
            f"{error.hint} --device {MODEL} uses the timing model instead.",
        ) from error


@contextmanager
def measuring(
    model: Model,
    compiler: Compiler,
    devices: Sequence[EdgeTpu],
    host: Target,
    store: str | None,
    stages: int,
    quiet: bool,
    kept_bytes: int = 0,
) -> Iterator[Measuring]:
    """What measures segments of the model, on one of the devices, which is leased until the block ends.

    Raises:
        DeviceError, PartitionError, OutputError: see ``lease``, ``MeasurementFile``, ``Measuring``.
    """
    from atoll.api.measuring import DeviceMeter, Measuring, ModelMeter
    from atoll.device import lease
    from atoll.partitioning.measured.store import MeasurementFile

    path = default_store() if store is None else Path(store)
    with contextlib.ExitStack() as stack:
        meter: Meter = ModelMeter(host, stages)
        whole: Meter = ModelMeter(host)
        if devices:
            wait = functools.partial(click.echo, err=True)
            meter = whole = DeviceMeter(stack.enter_context(lease(1, devices=devices, on_wait=wait))[0])
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atoll-")))
        said = (lambda _look: None) if quiet else _say
        kept = MeasurementFile(path)
        try:
            yield Measuring(model, compiler, meter, kept, scratch, whole=whole, kept_bytes=kept_bytes, on_look=said)
        except (KeyboardInterrupt, SystemExit):
            click.echo(f"What was measured is in {path}: run it again, and it goes on from there.", err=True)
            raise


def _say(look: Look) -> None:
    if look.fresh:
        what = f"{look.found * 1e3:.3f} ms" if isinstance(look.found, float) else "failed"
        click.echo(f"operators {_span(look.start, look.end)}: {what}", err=True)


def _span(start: int, end: int) -> str:
    return f"{start}-{end - 1}"


def default_store() -> Path:
    """The user's own file of measurements."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "atoll", "measurements.json")
