"""``atoll partition --measure``: a model, a compiler and one device → cuts that are best as measured."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atoll.cli.measuring import (
    choose_compiler,
    choose_devices,
    device_option,
    effort,
    effort_sentences,
    measuring,
    store_option,
    timeout_option,
    times_of,
)
from atoll.cli.old_output import print_json, table
from atoll.cli.options import POSITIVE, FiniteFloat
from atoll.errors import UsageError

if TYPE_CHECKING:
    from atoll.api.measuring import Measuring, Meter
    from atoll.partitioning.measured.refine import Refined
    from atoll.partitioning.measured.store import Measured
    from atoll.partitioning.segment_costs import SegmentCosts

_F = TypeVar("_F", bound=Callable[..., Any])

_WITH_MEASURE = ("device", "budget", "tolerance", "compiler", "store", "timeout")
_ALSO = ("measure", "model", "tpus", "exactly", "bus", "target", "output", "output_format", "json", "quiet")


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
            _partition(**{name: given[name] for name in _ALSO if name not in ("measure", "json")}, **own)
        else:
            function(**given)

    budget = "Minutes to measure; one complete way to cut is measured in any case."
    options = [
        click.option("--measure", is_flag=True, help="Compile and measure the segments that the search asks for."),
        device_option,
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


def _partition(
    model: str,
    tpus: int | None,
    exactly: bool,
    bus: str | None,
    target: str | None,
    output: str | None,
    output_format: str,
    quiet: bool,
    device: str | None,
    budget: float | None,
    tolerance: float,
    compiler: str | None,
    timeout: int,
    store: str | None,
) -> None:
    if tpus is None:
        raise UsageError("the number of Edge TPUs is not given", "atoll partition MODEL --tpus 4 --measure.")
    from atoll.hardware.buses import BUSES as TARGETS
    from atoll.hardware.host import host_of as load_host
    from atoll.partitioning import partition_at, write_partition
    from atoll.partitioning.best_cuts import cut_places
    from atoll.partitioning.measured.refine import refined_cuts
    from atoll.partitioning.search.fleet import Goal
    from atoll.partitioning.segment_costs import SegmentCosts
    from atoll.support import require_compilable
    from atoll.toolchain import load

    devices = choose_devices(device)
    if devices and not bus and not target:
        bus = devices[0].bus if devices[0].bus in TARGETS else None
    host = load_host(bus, target)
    whole = load(model)
    require_compilable(whole)
    positions = cut_places(whole.main, tpus if exactly else 1)
    asked, tpus = tpus, min(tpus, len(positions) - 1)
    costs = SegmentCosts(whole.main, host)
    chosen = choose_compiler(compiler, devices, timeout)
    with measuring(whole, chosen, devices, host, store, tpus, quiet) as measure:
        begin = time.monotonic()
        deadline = None if budget is None else begin + budget * 60
        modelled, seconds = in_pipeline(costs, measure, tpus)
        found = refined_cuts(
            positions,
            modelled,
            costs.operators.tolist(),
            seconds,
            tpus,
            Goal(at_least=tpus if exactly else 1, tolerance=tolerance / 100),
            is_over=lambda _calls: deadline is not None and time.monotonic() > deadline,
        )
        minutes = (time.monotonic() - begin) / 60
    if output is not None:
        strategy = f"best as measured, {_name(measure.meter)}"
        write_partition(output, costs.graph, partition_at(costs.graph, found.cuts, strategy))
    report = {
        "model": model,
        "target": host.name,
        "times": times_of(measure.meter),
        **_segments(costs, modelled, [0, *found.cuts, positions[-1]], found),
        "stage_ms": host.host.stage_ms if len(found.seconds) > 1 else 0.0,
        **_outcome(found, tolerance / 100),
        **effort(measure, found.measurements, found.failures),
        "tpus": asked,
        "places_to_cut": len(positions) - 2,
        "budget_minutes": budget,
        "minutes": minutes,
    }
    if output_format == "json":
        print_json("partition_measured", **report, file=output)
        return
    _show(report)
    if output is not None:
        click.echo(f"Partition: {output}")


def _outcome(found: Refined, tolerance: float) -> dict[str, Any]:
    return {
        "bottleneck_ms": found.bottleneck * 1e3,
        "lower_bound_ms": found.lower_bound * 1e3,
        "proven": found.proven,
        "tolerance": tolerance,
    }


def _name(meter: Meter) -> str:
    from atoll.api.measuring import DeviceMeter

    return meter.device.path if isinstance(meter, DeviceMeter) else f"timing model of {meter.bus}"


def in_pipeline(
    costs: SegmentCosts, measure: Measuring, stages: int
) -> tuple[Callable[[int, int], float], Callable[[int, int], Measured]]:
    """The modelled and the measured seconds of a segment with what a pipeline adds: the host's work for each stage.

    A device is measured by itself, so that this work is added to what it says; the timing model has it.
    """
    from atoll.api.measuring import ModelMeter
    from atoll.partitioning.measured.store import Failure

    is_modelled = isinstance(measure.meter, ModelMeter)
    whole, added = (0, len(costs.graph.operators)), 0.0 if is_modelled else costs.target.host.stage_ms / 1e3
    alone, own = costs.in_pipeline(1), costs.in_pipeline(stages if is_modelled else 1)

    def modelled(start: int, end: int) -> float:
        return alone.cost(start, end) if (start, end) == whole else own.cost(start, end) + added

    def measured(start: int, end: int) -> Measured:
        found = measure(start, end)
        return found if isinstance(found, Failure) or (start, end) == whole else found + added

    return modelled, measured


def _segments(
    costs: SegmentCosts, modelled: Callable[[int, int], float], bounds: Sequence[int], found: Refined
) -> dict[str, Any]:
    from atoll.model.subgraph import boundary

    names = [tensor.name for tensor in costs.graph.tensors]
    pieces = list(itertools.pairwise(bounds))
    return {
        "cuts": [
            {"before_operator": end, "tensors": [names[i] for i in boundary(costs.graph, range(end))[1]]}
            for _, end in pieces[:-1]
        ],
        "segments": [
            {"operators": [start, end], "measured_ms": seconds * 1e3, "modelled_ms": modelled(start, end) * 1e3}
            for (start, end), seconds in zip(pieces, found.seconds)
        ],
    }


def _show(report: Mapping[str, Any]) -> None:
    crossing = [", ".join(cut["tensors"]) for cut in report["cuts"]]
    table(
        (">segment", "operators", ">measured ms", ">modelled ms", ">ratio", "cut behind it crosses"),
        [
            (
                str(number),
                f"{segment['operators'][0]}-{segment['operators'][1] - 1}",
                f"{segment['measured_ms']:.3f}",
                f"{segment['modelled_ms']:.3f}",
                f"{segment['measured_ms'] / segment['modelled_ms']:.2f}",
                name,
            )
            for number, (segment, name) in enumerate(zip(report["segments"], [*crossing, ""]))
        ],
    )
    slowest, bound = report["bottleneck_ms"], report["lower_bound_ms"]
    if report["proven"]:
        verdict = f"proven to be within {100 * report['tolerance']:g} % of the best cuts in execution order"
    elif bound:
        verdict = f"not proven: the best may be as quick as {bound:.3f} ms. With more --budget it goes on from here"
    else:
        verdict = "not proven: the measurements were too few for a bound. With more --budget it goes on from here"
    click.echo(f"The slowest segment takes {slowest:.3f} ms; {verdict}.")
    if report["tpus"] > (places := report["places_to_cut"]) + 1:
        click.echo(f"The model has {places} places to cut, which make {places + 1} segments at most.")
    if report["budget_minutes"] is not None and report["minutes"] > 1.1 * report["budget_minutes"]:
        click.echo(
            f"It took {report['minutes']:.2g} minutes, not {report['budget_minutes']:.2g}: one complete way to cut is "
            "measured in any case, and what is begun is completed."
        )
    staging, host = report["stage_ms"], report["stage_ms"] * len(report["segments"])
    if staging:
        click.echo(f"Each includes {staging:.3f} ms of the host's work for a stage (profile {report['target']}).")
    if host > slowest:
        click.echo(f"The host is slower: it serves all stages in {host:.3f} ms. Fewer segments may do as well.")
    for sentence in effort_sentences(report):
        click.echo(sentence)
