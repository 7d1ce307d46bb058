"""``atoll partition``: a model and a number of Edge TPUs → where to cut it, why there, and a file of it."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from atoll.cli.output import json_option, print_json, progress, quiet_option, table
from atoll.cli.plan import TARGETS, how, load_costs, load_host
from atoll.errors import PartitionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.cut import Cutting, Partition, Stage
    from atoll.ir.graph import Graph
    from atoll.planning import SegmentCosts


@click.command("partition")
@click.argument("model", type=click.Path(readable=False))
@click.option("--tpus", type=click.IntRange(1), help="At most so many segments, one Edge TPU for each.")
@click.option("--objective", type=click.Choice(["throughput", "latency"]), help="[default: throughput]")
@click.option("--max-latency", metavar="MS", type=click.FloatRange(0, min_open=True), help="From input to output.")
@click.option("--pin", "pins", multiple=True, metavar="TENSOR", help="Cut behind the operator that writes it.")
@click.option("--bus", type=click.Choice([*TARGETS]), help="What the Edge TPUs hang on.  [default: pcie]")
@click.option("--target", metavar="NAME|FILE", help="Host: one of the package, or a .toml file, instead of --bus.")
@click.option("-o", "--output", metavar="FILE.json", help="Write the partition there.")
@click.option("--check", "check_file", metavar="FILE.json", help="Check a partition, edited maybe, instead.")
@json_option
@quiet_option
def command(
    model: str,
    tpus: int | None,
    objective: Literal["throughput", "latency"] | None,
    max_latency: float | None,
    pins: tuple[str, ...],
    bus: str | None,
    target: str | None,
    output: str | None,
    check_file: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say where to cut MODEL so that the slowest segment is as quick as can be, and why there.

    The cuts are the best of all cuts of the execution order, under the timing model; no Edge TPU is used.
    """
    searching = (tpus, objective, max_latency, output, *pins)
    if check_file is not None and any(option is not None for option in searching):
        raise UsageError("--check searches for nothing", "Give it only the model, and --bus or --target.")
    if check_file is None and tpus is None:
        raise UsageError("the number of Edge TPUs is not given", "atoll partition MODEL --tpus 4.")
    host = load_host(bus, target)
    if check_file is not None:
        _check(model, load_costs(model, host), check_file, as_json)
        return
    from atoll.cut import Goal, partition_at, write_partition
    from atoll.planning import best_cuts, cut_places

    assert tpus is not None
    costs = load_costs(model, host)
    positions = cut_places(costs.graph, tpus)
    pinned = [_place(costs.graph, name, positions) for name in pins]
    goal = Goal(objective or "throughput", max_latency=math.inf if max_latency is None else max_latency / 1e3)
    with progress(f"cutting {model}", quiet=quiet):
        found = best_cuts(costs, positions, tpus, goal, pinned)
    partition = partition_at(costs.graph, found.cuts, f"best {goal.objective} on {host.name}")
    if output is not None:
        write_partition(output, costs.graph, partition)
    report = {
        "model": model,
        "target": host.name,
        "objective": goal.objective,
        **_stages(costs, partition, found.stages),
        "neighbours": _neighbours(costs, found, positions),
        **_provenance(costs, len(found.stages)),
    }
    if as_json:
        print_json("partition_report", **report, file=output)
        return
    _show(report)
    if len(found.stages) < tpus:
        click.echo(f"More than {len(found.stages)} segments bring nothing.")
    if output is not None:
        click.echo(f"Partition: {output}")


def _place(graph: Graph, name: str, positions: Sequence[int]) -> int:
    """The place behind the operator that writes a tensor."""
    writer = {graph.tensors[i].name: n for n, operator in enumerate(graph.operators) for i in operator.outputs}
    if name not in writer:
        near = difflib.get_close_matches(name, writer, n=1, cutoff=0.0)
        raise UsageError(
            f"no operator of the model writes a tensor '{name}'", f"The nearest name is '{near[0]}'." if near else ""
        )
    place = writer[name] + 1
    if place not in positions[1:-1]:
        raise PartitionError(
            f"the model cannot be cut behind '{name}'",
            "It is the end of the model, or what follows shares a state with what is before it.",
        )
    return place


def _stages(costs: SegmentCosts, partition: Partition, stages: Sequence[Stage]) -> dict[str, Any]:
    """Where the cuts are and what the stages take; times in ms."""
    from atoll.cut import cut_tensors
    from atoll.planning import host_rate, interval

    sizes = {tensor.name: tensor.nbytes for tensor in costs.graph.tensors}
    between = interval(costs, stages)
    each = [stage.seconds / stage.replicas for stage in stages]
    return {
        "cuts": [
            {"before_operator": stage.start, "tensors": names, "bytes": sum(sizes[name] for name in names)}
            for stage, names in zip(stages[1:], cut_tensors(partition))
        ],
        "segments": [
            {
                "operators": [stage.start, stage.end],
                "replicas": stage.replicas,
                "ms": stage.seconds * 1e3,
                "use": own / between,
                "off_chip_bytes": costs.streamed_bytes(stage.start, stage.end),
            }
            for stage, own in zip(stages, each)
        ],
        "bottleneck": None if 1 / host_rate(costs, stages) > max(each) else each.index(max(each)),
        "interval_ms": between * 1e3,
        "throughput": 1 / between,
        "latency_ms": sum(stage.seconds for stage in stages) * 1e3,
    }


def _neighbours(costs: SegmentCosts, found: Cutting, positions: Sequence[int]) -> list[dict[str, Any]]:
    """Each cut one place to the left or right, and by how much (1 is 100 %) the slowest stage and latency grow."""
    from atoll.cut import neighbours

    own = costs.in_pipeline(len(found.stages))
    return [
        {
            "cut": found.cuts.index(item.cut),
            "before_operator": item.moved_to,
            "tensor": _behind(costs.graph, item.moved_to),
            "slowest_ms": item.bottleneck * 1e3,
            "slowest_worse": item.bottleneck / found.bottleneck - 1,
            "latency_worse": item.latency / found.latency - 1,
        }
        for item in neighbours(found, positions, own.cost)
    ]


def _behind(graph: Graph, place: int) -> str:
    """The last operator before a place, by what it writes."""
    outputs = graph.operators[place - 1].outputs
    return graph.tensors[outputs[0]].name if outputs else f"#{place - 1}"


def _provenance(costs: SegmentCosts, segments: int) -> dict[str, Any]:
    from atoll.profiling import held_out_error
    from atoll.report.profile import error_sentence

    accuracy = held_out_error(costs.target, segments, hosted=len(costs.mapped) < len(costs.graph.operators))
    sentences = [*how(costs), f"Error: {error_sentence(accuracy)}."]
    return {"accuracy": None if accuracy is None else asdict(accuracy), "how": sentences}


def _show(report: dict[str, Any]) -> None:
    names = [", ".join(cut["tensors"]) for cut in report["cuts"]]
    table(
        (">segment", "operators", ">Edge TPUs", ">ms", ">use", ">off-chip bytes", "cut behind it crosses", ">bytes"),
        [
            (
                str(number),
                f"{segment['operators'][0]}-{segment['operators'][1] - 1}",
                str(segment["replicas"]),
                f"{segment['ms']:.3f}",
                f"{segment['use']:.0%}",
                f"{segment['off_chip_bytes']:,}",
                name,
                f"{report['cuts'][number]['bytes']:,}" if name else "",
            )
            for number, (segment, name) in enumerate(zip(report["segments"], [*names, ""]))
        ],
    )
    if report.get("neighbours"):
        table(
            (">cut", "moved behind", ">slowest ms", ">slowest", ">latency"),
            [
                (
                    str(item["cut"]),
                    item["tensor"],
                    f"{item['slowest_ms']:.3f}",
                    f"{item['slowest_worse']:+.1%}",
                    f"{item['latency_worse']:+.1%}",
                )
                for item in report["neighbours"]
            ],
        )
    slowest = "the host" if report["bottleneck"] is None else f"segment {report['bottleneck']}"
    click.echo(
        f"{report['interval_ms']:.3f} ms between results ({report['throughput']:.1f}/s), bound by {slowest}; "
        f"{report['latency_ms']:.3f} ms through the empty pipeline."
    )
    for sentence in report["how"]:
        click.echo(sentence)


def _check(model: str, costs: SegmentCosts, path: str, as_json: bool) -> None:
    """Refuse a file that is no partition of the model; show what the segments of one that is take."""
    from atoll.cut import Stage, read_partition

    file = read_partition(path, costs.graph)
    pieces = [segment.operators for segment in file.partition.segments]
    findings = [f"{finding.where}: {finding.why}. {finding.remedy}" for finding in file.findings]
    report: dict[str, Any] = {"model": model, "file": path, "target": costs.target.name, "findings": findings}
    # Costs are known for what is contiguous in execution order.
    if all(piece[-1] - piece[0] + 1 == len(piece) for piece in pieces):
        own = costs.in_pipeline(len(pieces))
        stages = [
            Stage(piece[0], piece[-1] + 1, kind, replicas, own.cost(piece[0], piece[-1] + 1))
            for piece, kind, replicas in zip(pieces, file.devices, file.replicas)
        ]
        report |= {**_stages(costs, file.partition, stages), **_provenance(costs, len(pieces))}
    if as_json:
        print_json("partition_report", **report)
        return
    if "segments" in report:
        _show(report)
    else:
        click.echo("Segments are not contiguous in execution order: what they take is not modelled.")
    for finding in findings:
        click.echo(finding)
    click.echo(f"{path} is a partition of {model} into {len(pieces)} segments.")
