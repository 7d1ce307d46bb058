"""``atoll.partition``: a model and a number of Edge TPUs → where to cut it, why there, and a file of it."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from atoll.api.partition_measured import MeasuringRequest, measured_partition
from atoll.api.partition_outcome import Chosen, outcome, search_report
from atoll.errors import PartitionError, UsageError
from atoll.hardware.buses import ALIASES, mixed_buses
from atoll.hardware.host import Target, host_of, hosts_of
from atoll.model.graph import Graph
from atoll.model.load import ModelLike, load
from atoll.partitioning import partition_at, partition_of, read_partition, write_partition
from atoll.partitioning.best_cuts import best_pieces, cut_places, fewer_devices
from atoll.partitioning.fleet_costs import FleetCosts
from atoll.partitioning.given_costs import CostFunction, GivenCosts
from atoll.partitioning.memory_limit import parse_memory_limit
from atoll.partitioning.search.convex import Piece
from atoll.partitioning.search.fleet import Fleet, Goal
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.products.arguments import require_types, require_within
from atoll.products.progress import OnMessage, OnProgress, ignore
from atoll.reporting.partition_report import PartitionReport
from atoll.reporting.plan_report import HELPS
from atoll.support import require_compilable

Partitioner = Callable[[Graph, int, CostFunction], Sequence[int]]
"""``partitioner(graph, tpus, cost)``: the operators before which to cut, ascending; at most ``tpus`` - 1 of them.
``cost(operators)`` is what a segment costs in a pipeline of that many stages (seconds)."""


def partition(
    model: ModelLike,
    *,
    tpus: int | None = None,
    mixed: str | Mapping[str, int] | None = None,
    exactly: bool = False,
    replicas: int | None = None,
    memory_limit: int | str | None = None,
    objective: Literal["throughput", "latency"] | None = None,
    max_latency: float | None = None,
    pins: Sequence[str] = (),
    bus: str | None = None,
    target: Target | str | Path | None = None,
    cost: CostFunction | None = None,
    partitioner: Partitioner | None = None,
    output: str | Path | None = None,
    check: str | Path | None = None,
    measure: bool = False,
    device: str | None = None,
    budget: float | None = None,
    tolerance: float | None = None,
    compiler: str | None = None,
    timeout: int | None = None,
    store: str | Path | None = None,
    on_progress: OnProgress = ignore,
    on_message: OnMessage = ignore,
) -> PartitionReport:
    """Say where to cut a model so that the slowest segment is as fast as possible, and why there.

    The cuts are the best under the timing model, along branches too, and no Edge TPU is used. With ``measure``
    segments are compiled and measured on one device, as far as the search needs it, and the cuts are those in execution
    order that are best as measured.

    Args:
        model: A model, or the path of a ``.tflite`` file.
        tpus: At most so many segments, one Edge TPU for each.
        mixed: Edge TPUs of different kinds instead, ``"pcie:2,usb3:2"`` or as a mapping; 16 at most.
        exactly: Use every Edge TPU, even where fewer would do.
        replicas: Up to so many Edge TPUs (of one kind) may share a slow segment, 1 (the default) to 64.
        memory_limit: What the parameters of a segment may take: bytes, ``"6MiB"``, or ``"fit"`` (all that can be on the
            chip is). By default there is no limit.
        objective: ``"throughput"`` (the default), or ``"latency"``: the sum of all segments instead of the slowest.
        max_latency: From input to output, in ms.
        pins: Names of tensors; there is a cut behind the operator that writes each.
        bus: The bus of the Edge TPUs: ``pcie`` (the default), ``usb3`` or ``usb2``, as on its measured host.
        target: The host's numbers instead of ``bus``: an object, the name of a profile, or the path of a ``.toml``.
        cost: What a segment costs, instead of the timing model: ``cost(operators)`` gets a range of operator numbers
            and says seconds per inference, ``math.inf`` where that is impossible. Cuts are then in execution order.
        partitioner: What chooses the cuts, instead of the search: ``partitioner(graph, tpus, cost)`` gives the
            operators before which to cut.
        output: A ``.json`` file that the partition is written to.
        check: A partition file, edited maybe, that is checked instead: nothing is searched.
        measure: Look for the cuts by measuring; of what is above only ``tpus``, ``exactly``, ``bus``, ``target`` and
            ``output`` go with it, and all that follows goes only with it.
        device: What segments are measured on: ``usb``, ``pci:0``, a path, or ``model``, the timing model; None: a real
            one if there is one, else ``model``.
        budget: Minutes to measure; one complete way to cut is measured in any case. None: as long as it takes.
        tolerance: Measure until the cuts are proven to be within so many percent of the best; None: 2.
        compiler: An executable with the vendor's command line; None: the vendor's for a real device, else atoll's.
        timeout: Seconds that the compiler may take for one segment; None: 180.
        store: The file where measurements are kept; None: ``~/.cache/atoll/measurements.json``.
        on_progress: Called with what is being searched, and with ``measure`` what each segment takes.
        on_message: Called with what is waited for, and where measurements are when the search is interrupted.

    Raises:
        FileAccessError, InvalidModelError: A file cannot be read.
        UnsupportedModelError: The model is not quantised, has dynamic shapes, or is compiled already.
        PartitionError: What is asked for cannot be had (it says what can), or ``check`` is not a partition of it.
        UsageError: What is asked for contradicts itself, or a bus, a target or a tensor is not known.
        OutputError: The partition cannot be written.
        CompilerMissingError, CompilerInvalidError: There is no such compiler (``measure``).
        DeviceError: There is no such device, or it failed; what was measured is kept (``measure``).

    >>> report = atoll.partition("inception_v3.tflite", tpus=4)  # doctest: +SKIP
    >>> [cut.before_operator for cut in report.cuts]  # doctest: +SKIP
    [61, 97]
    """
    require_types(partition, locals())
    require_within(1, tpus=tpus, timeout=timeout)
    require_within(1, 64, replicas=replicas)
    require_within(0, max_latency=max_latency, budget=budget, tolerance=tolerance)
    buses, limit = mixed_buses(mixed), parse_memory_limit(memory_limit)
    asked = {"tpus": tpus, "mixed": buses, "output": output, "cost": cost, "partitioner": partitioner, "check": check}
    how = {"objective": objective, "max_latency": max_latency, "replicas": replicas, "pins": pins, "exactly": exactly}
    request = MeasuringRequest(device, budget, tolerance, compiler, timeout, store)
    if measure:
        _require_measurable({**asked, **how, "memory_limit": limit})
    else:
        _require_unmeasured(request)
        _require_consistent(asked, how, limit is not None)
    loaded = load(model)
    require_compilable(loaded)
    graph = loaded.main
    cut_places(graph, 1)
    if measure:
        return measured_partition(loaded, tpus or 1, exactly, (bus, target, output), request, on_progress, on_message)
    if check is not None:
        return _checked(graph, loaded.path, host_of(bus, target), check)
    hosts = hosts_of(buses, bus, target)
    if cost is None:
        costs = FleetCosts({kind: SegmentCosts(graph, host, limit) for kind, host in hosts.items()})
    else:
        costs = FleetCosts({"any": GivenCosts(graph, hosts["any"], cost, limit)})
    wish = _Wish(tpus or len(buses), buses, exactly, replicas or 1, objective or "throughput", max_latency, tuple(pins))
    on_progress("searching the best cuts")
    chosen = _by_partitioner(costs, wish, partitioner) if partitioner else _searched(costs, wish)
    if output is not None:
        kinds, counts = [piece.kind for piece in chosen.pieces], [piece.replicas for piece in chosen.pieces]
        write_partition(output, graph, chosen.partition, counts, kinds)
    return outcome(loaded.path, costs, chosen, None if output is None else str(output))


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a search is to find."""

    tpus: int
    buses: tuple[str, ...]
    exactly: bool
    replicas: int
    objective: Literal["throughput", "latency"]
    max_latency: float | None
    pins: tuple[str, ...]


def _require_measurable(given: Mapping[str, object]) -> None:
    """Refuse what a search by measurements has no use for."""
    options = {name: "--" + name.replace("_", "-") for name in given} | {"pins": "--pin"}
    for name, value in given.items():
        if value and name not in ("tpus", "exactly", "output"):
            raise UsageError(
                f"{options[name]} does not go with --measure",
                "It looks for the cuts whose slowest segment is the quickest, and for nothing else.",
            )
    if given["tpus"] is None:
        raise UsageError("the number of Edge TPUs is not given", "atoll partition MODEL --tpus 4 --measure.")


def _require_unmeasured(request: MeasuringRequest) -> None:
    """Refuse what only matters where segments are measured."""
    for item in fields(request):
        if getattr(request, item.name) is not None:
            raise UsageError(f"--{item.name} goes with --measure only", "Give --measure too.")


def _require_consistent(given: Mapping[str, object], search: Mapping[str, object], limited: bool) -> None:
    """Refuse what contradicts itself: ``given`` are the requests that say what is done, ``search`` those about how."""
    searching = limited or any(search.values())
    if given["check"] is not None:
        if searching or any(value for name, value in given.items() if name != "check"):
            raise UsageError("--check does not search", "Give it only the model, and --bus or --target.")
        return
    if (given["tpus"] is None) == (not given["mixed"]):
        raise UsageError(
            "--tpus and --mixed both say how many Edge TPUs there are"
            if given["mixed"]
            else "the number of Edge TPUs is not given",
            "atoll partition MODEL --tpus 4, or --mixed pcie:2,usb3:2.",
        )
    if given["mixed"] and (given["cost"] or given["partitioner"]):
        raise UsageError(
            "a cost function or a partitioner of your own goes with Edge TPUs of one kind",
            "Give tpus instead of mixed.",
        )
    if given["partitioner"] and searching:
        raise UsageError(
            "a partitioner of your own chooses the cuts: there is nothing to search",
            "Give it without objective, max_latency, replicas, pins, exactly and memory_limit.",
        )


def _searched(costs: FleetCosts, wish: _Wish) -> Chosen:
    """The best pieces that there are, or that were found."""
    own = isinstance(costs.first, GivenCosts)
    # With replicas there may be more devices than segments; without `exactly` they need not all be used.
    positions = cut_places(costs.graph, -(-wish.tpus // wish.replicas) if wish.exactly else 1)
    useful = min(wish.tpus, (len(positions) - 1) * wish.replicas)
    fleet = Fleet(wish.buses or ("any",) * useful, max_replicas=wish.replicas, all_used=wish.exactly)
    pinned = [_place(costs.graph, name, positions) for name in wish.pins]
    limit = math.inf if wish.max_latency is None else wish.max_latency / 1e3
    goal = Goal(wish.objective, max_latency=limit, at_least=fleet.fewest_segments)
    found = best_pieces(costs, positions, fleet, goal, pinned, in_order=own)
    fewer = None
    if goal.objective == "throughput" and not wish.exactly and not own:
        fewer = fewer_devices(costs, positions, found, fleet, goal, HELPS - 1, pinned)
    strategy = f"best {goal.objective} {'by a cost function' if own else f'on {costs.name}'}"
    return Chosen(
        partition=partition_of(costs.graph, [piece.operators for piece in found.pieces], strategy),
        pieces=found.pieces,
        positions=tuple(positions),
        objective=wish.objective,
        tpus=wish.tpus,
        max_replicas=wish.replicas,
        search=search_report(found, wish.objective, along_branches=not own),
        fewer=fewer,
    )


def _by_partitioner(costs: FleetCosts, wish: _Wish, partitioner: Partitioner) -> Chosen:
    """The cuts that a function of the user's chooses."""
    modelled = costs.in_pipeline(wish.tpus).first
    said = partitioner(costs.graph, wish.tpus, modelled.piece_cost)
    try:
        cuts = sorted(map(operator.index, said))
    except TypeError as error:
        hint = "It returns the positions of the cuts: whole numbers, such as [4, 9]."
        raise UsageError(f"the partitioner says {said!r:.60}", hint) from error
    strategy = f"partitioner {getattr(partitioner, '__name__', type(partitioner).__name__)}"
    partition = partition_at(costs.graph, cuts, strategy)
    if len(partition.segments) > wish.tpus:
        raise PartitionError(
            f"the partitioner makes {len(partition.segments)} segments, there are {wish.tpus} Edge TPUs",
            "Cut at fewer places, or give more Edge TPUs.",
        )
    own = costs.in_pipeline(len(partition.segments))
    pieces = [
        Piece(segment.operators, "any", 1, own.cost(segment.operators[0], segment.operators[-1] + 1, "any"))
        for segment in partition.segments
    ]
    positions = tuple(cut_places(costs.graph, 1))
    return Chosen(partition, tuple(pieces), positions, wish.objective, wish.tpus, 1)


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


def _checked(graph: Graph, model: str, host: Target, path: str | Path) -> PartitionReport:
    """What the segments of a partition file take; refuses a file that is not a partition of the model."""
    file = read_partition(path, graph)
    kinds = [ALIASES.get(kind, kind) for kind in file.devices]
    hosts = {kind: host if kind == "any" else host_of(kind) for kind in dict.fromkeys(kinds)}
    costs = FleetCosts({kind: SegmentCosts(graph, own_host) for kind, own_host in hosts.items()})
    segments = [segment.operators for segment in file.partition.segments]
    copies = len(segments) == 1 and file.replicas[0] > 1  # which the host serves in turn, as it serves stages
    own = costs if copies else costs.in_pipeline(len(segments))
    pieces = [
        Piece(operators, kind, count, own.piece_cost(operators, kind))
        for operators, kind, count in zip(segments, kinds, file.replicas)
    ]
    positions, devices = tuple(cut_places(graph, 1)), sum(file.replicas)
    chosen = Chosen(file.partition, tuple(pieces), positions, None, devices, max(file.replicas))
    findings = tuple(f"{finding.where}: {finding.why}. {finding.remedy}" for finding in file.findings)
    return replace(outcome(model, costs, chosen, str(path)), findings=findings)
