"""``atoll partition``: a model and a number of Edge TPUs → where to cut it, why there, and a file of it."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from atoll.cli.fleets import (
    ALIASES,
    CPU_CORES,
    TARGETS,
    fleet_costs,
    hosts_of,
    how,
    load_graph,
    load_host,
    memory_option,
    mixed_option,
)
from atoll.cli.old_output import json_option, print_json, progress, quiet_option, table
from atoll.cli.options import OUTPUT_FILE, POSITIVE
from atoll.cli.partition_measured import with_measuring
from atoll.errors import PartitionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from atoll.hardware.host import Target
    from atoll.model.graph import Graph
    from atoll.partitioning import Partition, Piece
    from atoll.partitioning.best_cuts import Found
    from atoll.partitioning.fleet_costs import FleetCosts
    from atoll.partitioning.segment_costs import MemoryLimit


@click.command("partition")
@click.argument("model", type=click.Path(readable=False))
@click.option("--tpus", type=click.IntRange(1), help="At most so many segments, one Edge TPU for each.")
@mixed_option
@click.option("--exactly", is_flag=True, help="Use every Edge TPU, even where fewer would do.")
@click.option("--replicas", type=click.IntRange(1, 64), metavar="R", help="Up to R Edge TPUs for a slow segment.")
@memory_option
@click.option("--objective", type=click.Choice(["throughput", "latency"]), help="[default: throughput]")
@click.option("--max-latency", metavar="MS", type=POSITIVE, help="From input to output.")
@click.option("--pin", "pins", multiple=True, metavar="TENSOR", help="Cut behind the operator that writes it.")
@click.option("--bus", type=click.Choice([*TARGETS]), help="What the Edge TPUs hang on.  [default: pcie]")
@click.option("--target", metavar="NAME|FILE", help="Host: one of the package, or a .toml file, instead of --bus.")
@click.option("-o", "--output", metavar="FILE.json", type=OUTPUT_FILE, help="Write the partition there.")
@click.option("--check", "check_file", metavar="FILE.json", help="Check a partition, edited maybe, instead.")
@json_option
@quiet_option
@with_measuring
def command(
    model: str,
    tpus: int | None,
    mixed: tuple[str, ...],
    exactly: bool,
    replicas: int | None,
    memory_limit: MemoryLimit,
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

    The cuts are the best there are under the timing model, along branches too; no Edge TPU is used.
    """
    searching = (tpus, objective, max_latency, replicas, memory_limit, output, *mixed, *pins)
    if check_file is not None and (exactly or any(option is not None for option in searching)):
        raise UsageError("--check searches for nothing", "Give it only the model, and --bus or --target.")
    if check_file is not None:
        _check(model, load_host(bus, target), check_file, as_json)
        return
    if (tpus is None) == (not mixed):
        raise UsageError(
            "--tpus and --mixed both say how many Edge TPUs there are"
            if mixed
            else "the number of Edge TPUs is not given",
            "atoll partition MODEL --tpus 4, or --mixed pcie:2,usb3:2.",
        )
    from atoll.partitioning import Fleet, Goal, partition_of, write_partition
    from atoll.partitioning.best_cuts import best_pieces, cut_places, fewer_devices
    from atoll.reporting.plan_report import HELPS

    hosts = hosts_of(mixed, bus, target)
    costs = fleet_costs(load_graph(model), hosts, memory_limit)
    asked, shared = tpus or len(mixed), replicas or 1
    # With replicas there may be more devices than segments; without --exactly they need not all be used.
    positions = cut_places(costs.graph, -(-asked // shared) if exactly else 1)
    useful = min(asked, (len(positions) - 1) * shared)
    fleet = Fleet(mixed or ("any",) * useful, max_replicas=shared, all_used=exactly)
    pinned = [_place(costs.graph, name, positions) for name in pins]
    limit = math.inf if max_latency is None else max_latency / 1e3
    goal = Goal(objective or "throughput", max_latency=limit, at_least=fleet.fewest_segments)
    with progress(f"cutting {model}", quiet=quiet):
        found = best_pieces(costs, positions, fleet, goal, pinned)
        fewer = None
        if goal.objective == "throughput" and not exactly:
            fewer = fewer_devices(costs, positions, found, fleet, goal, HELPS - 1, pinned)
    pieces = found.pieces
    partition = partition_of(costs.graph, [p.operators for p in pieces], f"best {goal.objective} on {costs.name}")
    if output is not None:
        write_partition(output, costs.graph, partition, [p.replicas for p in pieces], [p.kind for p in pieces])
    report = {
        "model": model,
        "target": costs.name,
        "objective": goal.objective,
        "places_to_cut": len(positions) - 2,
        "search": _search(found, goal.objective),
        **_stages(costs, partition, pieces),
        "fewer": None if fewer is None else _fewer(costs, fewer, found),
        "neighbours": _neighbours(costs, found, positions),
        **_provenance(costs, pieces),
    }
    if as_json:
        print_json("partition_report", **report, file=output)
        return
    _show(report)
    for sentence in _left_over(report, asked, shared):
        click.echo(sentence)
    if report["fewer"] is not None:
        click.echo(_enough(report["fewer"]))
    if output is not None:
        click.echo(f"Partition: {output}")


def _left_over(report: dict[str, Any], asked: int, replicas: int) -> Iterator[str]:
    """Why not all of the Edge TPUs asked for are used, and what may use them."""
    places, used = report["places_to_cut"], sum(segment["replicas"] for segment in report["segments"])
    if asked > (places + 1) * replicas:
        yield f"The model has {places} places to cut, which make {places + 1} segments at most."
    if used == asked:
        return
    each = "one Edge TPU" if replicas == 1 else f"up to {replicas} Edge TPUs"
    more = f"more than {used} Edge TPU{'s' * (used != 1)}"
    verdict = f"there is no use for {more}" if report["search"]["exact"] else f"no use for {more} was found"
    yield f"As a pipeline, {each} per segment, {verdict}."
    if report["objective"] == "throughput" and replicas < asked:
        yield (
            "Several Edge TPUs for a segment, or copies of the whole model, may be faster: see --replicas, and "
            "atoll plan."
        )


def _search(found: Found, objective: str) -> dict[str, Any]:
    """What was searched and what is proven; the bound (ms) is of the time between results, or of the latency."""
    return {
        "exact": found.exact,
        "sets_before_a_cut": found.cuttings,
        "contiguous": found.contiguous,
        "bound_of": "latency_ms" if objective == "latency" else "interval_ms",
        "lower_bound_ms": found.lower_bound * 1e3,
        "gap": found.gap,
    }


def _fewer(costs: FleetCosts, fewer: Sequence[Piece], found: Found) -> dict[str, Any]:
    """What fewer devices do; ``worse`` as a share (1 is 100 %)."""
    from atoll.partitioning.best_cuts import interval, latency

    between = interval(costs, fewer)
    return {
        "devices": sum(piece.replicas for piece in fewer),
        "interval_ms": between * 1e3,
        "latency_ms": latency(fewer) * 1e3,
        "worse": between / interval(costs, found.pieces) - 1,
    }


def _enough(fewer: dict[str, Any]) -> str:
    count = fewer["devices"]
    return (
        f"{count} Edge TPU{'s' * (count != 1)} may do as well: {fewer['interval_ms']:.3f} ms between results "
        f"({fewer['worse']:+.1%}), {fewer['latency_ms']:.3f} ms through the empty pipeline. "
        "Predictions are not that exact."
    )


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


def _stages(costs: FleetCosts, partition: Partition, pieces: Sequence[Piece]) -> dict[str, Any]:
    """Where the cuts are and what the stages take; times in ms."""
    from atoll.partitioning import cut_tensors
    from atoll.partitioning.best_cuts import host_rate, interval, latency

    sizes = {tensor.name: tensor.nbytes for tensor in costs.graph.tensors}
    between = interval(costs, pieces)
    each = [piece.seconds / piece.replicas for piece in pieces]
    runs = [_runs(piece.operators) for piece in pieces]
    in_order = all(len(parts) == 1 for parts in runs)
    return {
        "cuts": [
            {
                "before_operator": parts[0][0] if in_order else None,
                "tensors": names,
                "bytes": sum(sizes[name] for name in names),
            }
            for parts, names in zip(runs[1:], cut_tensors(partition))
        ],
        "segments": [
            {
                "operators": parts[0] if len(parts) == 1 else None,
                "runs": parts,
                "device": piece.kind,
                "replicas": piece.replicas,
                "ms": piece.seconds * 1e3,
                "use": own / between,
                "parameter_bytes": int(costs.first.parameter_bytes[list(piece.operators)].sum()),
                "off_chip_bytes": costs.first.piece_streamed_bytes(piece.operators),
            }
            for piece, own, parts in zip(pieces, each, runs)
        ],
        "bottleneck": None if 1 / host_rate(costs, pieces) > max(each) else each.index(max(each)),
        "interval_ms": between * 1e3,
        "throughput": 1 / between,
        "latency_ms": latency(pieces) * 1e3,
    }


def _runs(operators: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as ranges, from and up to: [0, 1, 4] are [[0, 2], [4, 5]]."""
    runs: list[list[int]] = []
    for n in operators:
        if runs and runs[-1][1] == n:
            runs[-1][1] = n + 1
        else:
            runs.append([n, n + 1])
    return runs


def _neighbours(costs: FleetCosts, found: Found, positions: Sequence[int]) -> list[dict[str, Any]]:
    """What would be worse, and by how much (1 is 100 %), with each cut one place to the left or right; where segments
    are not contiguous, with one operator on the other side of it."""
    from atoll.partitioning.best_cuts import latency
    from atoll.partitioning.neighbours import moves, shifts

    slowest = max(piece.seconds / piece.replicas for piece in found.pieces)
    through = latency(found.pieces)
    return [
        {
            "cut": move.cut,
            "before_operator": move.place,
            "tensor": _name(costs.graph, move.operators[-1] if move.place is None else move.place - 1),
            "to_segment": move.to,
            "slowest_ms": move.bottleneck * 1e3,
            "slowest_worse": move.bottleneck / slowest - 1,
            "latency_worse": move.latency / through - 1,
        }
        for move in (shifts(costs, found.pieces, positions) if found.contiguous else moves(costs, found.pieces))
        if math.isfinite(move.bottleneck)  # else it would not be allowed
    ]


def _name(graph: Graph, operator: int) -> str:
    """An operator by what it writes."""
    outputs = graph.operators[operator].outputs
    return graph.tensors[outputs[0]].name if outputs else f"#{operator}"


def _provenance(costs: FleetCosts, pieces: Sequence[Piece]) -> dict[str, Any]:
    from atoll.estimate.accuracy import error_sentence, held_out_error

    hosted = len(costs.first.mapped) < len(costs.graph.operators)
    shared = hosted and any(piece.replicas > 1 for piece in pieces)
    reasons = [*how(costs), *([CPU_CORES] if shared else [])]
    if len(costs.targets) > 1:
        return {"accuracy": None, "how": reasons}
    accuracy = held_out_error(costs.first.target, len(pieces), hosted=hosted)
    sentences = [*reasons, f"Error: {error_sentence(accuracy)}."]
    return {"accuracy": None if accuracy is None else asdict(accuracy), "how": sentences}


def _show(report: dict[str, Any]) -> None:
    segments = report["segments"]
    names = [", ".join(cut["tensors"]) for cut in report["cuts"]]
    mixed = any(segment["device"] != "any" for segment in segments)
    table(
        (
            ">segment", "operators", *(["bus"] if mixed else []), ">Edge TPUs", ">ms", ">use", ">parameter bytes",
            ">off-chip bytes", "cut behind it crosses", ">bytes",
        ),
        [
            (
                str(number),
                ", ".join(f"{start}-{end - 1}" if end - start > 1 else f"{start}" for start, end in segment["runs"]),
                *([segment["device"]] if mixed else []),
                str(segment["replicas"]),
                f"{segment['ms']:.3f}",
                f"{segment['use']:.0%}",
                f"{segment['parameter_bytes']:,}",
                f"{segment['off_chip_bytes']:,}",
                name,
                f"{report['cuts'][number]['bytes']:,}" if name else "",
            )
            for number, (segment, name) in enumerate(zip(segments, [*names, ""]))
        ],
    )  # fmt: skip
    if report.get("neighbours"):
        _show_neighbours(report["neighbours"])
    slowest = "the host" if report["bottleneck"] is None else f"segment {report['bottleneck']}"
    click.echo(
        f"{report['interval_ms']:.3f} ms between results ({report['throughput']:.1f}/s), bound by {slowest}; "
        f"{report['latency_ms']:.3f} ms through the empty pipeline."
    )
    for sentence in (*_proof(report.get("search")), *report["how"]):
        click.echo(sentence)


def _show_neighbours(neighbours: Sequence[dict[str, Any]]) -> None:
    table(
        (">cut", "if it were", ">slowest ms", ">slowest", ">latency"),
        [
            (
                str(item["cut"]),
                f"behind {item['tensor']}"
                if item["before_operator"] is not None
                else f"with {item['tensor']} in segment {item['to_segment']}",
                f"{item['slowest_ms']:.3f}",
                f"{item['slowest_worse']:+.1%}",
                f"{item['latency_worse']:+.1%}",
            )
            for item in neighbours
        ],
    )


def _proof(search: dict[str, Any] | None) -> list[str]:
    """What was searched, and how good the result is for certain."""
    if search is None:
        return []
    count, bound, gap = search["sets_before_a_cut"], search["lower_bound_ms"], search["gap"]
    if search["exact"] and gap <= 1e-9:
        every = f"all {count:,} sets of operators that can lie before a cut count"
        return [f"No such pipeline is better under the model: {every}."]
    what = "latency" if search["bound_of"] == "latency_ms" else "time between results"
    how_many = "all" if search["exact"] else "not all, but"
    return [
        f"Of the sets of operators that can lie before a cut {how_many} {count:,} were searched. Bound: whatever the "
        f"cuts, the {what} is at least {bound:.3f} ms; the gap is {gap:.1%}."
    ]


def _check(model: str, host: Target, path: str, as_json: bool) -> None:
    """Refuse a file that is no partition of the model; show what the segments of one that is take."""
    from atoll.partitioning import Piece, read_partition

    graph = load_graph(model)
    file = read_partition(path, graph)
    kinds = [ALIASES.get(kind, kind) for kind in file.devices]
    hosts = {kind: host if kind == "any" else load_host(kind, None) for kind in dict.fromkeys(kinds)}
    costs = fleet_costs(graph, hosts)
    segments = [segment.operators for segment in file.partition.segments]
    copies = len(segments) == 1 and file.replicas[0] > 1  # which the host serves in turn, as it serves stages
    own = costs if copies else costs.in_pipeline(len(segments))
    pieces = [
        Piece(operators, kind, replicas, own.piece_cost(operators, kind))
        for operators, kind, replicas in zip(segments, kinds, file.replicas)
    ]
    findings = [f"{finding.where}: {finding.why}. {finding.remedy}" for finding in file.findings]
    report: dict[str, Any] = {
        "model": model,
        "file": path,
        "target": costs.name,
        "findings": findings,
        **_stages(costs, file.partition, pieces),
        **_provenance(costs, pieces),
    }
    if as_json:
        print_json("partition_report", **report)
        return
    _show(report)
    for finding in findings:
        click.echo(finding)
    click.echo(f"{path} is a partition of {model} into {len(segments)} segments.")
