"""Cut positions → :class:`Partition`: which operators form each segment, and what crosses each boundary."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.errors import PartitionError
from atoll.model.graph import DType, Graph
from atoll.model.subgraph import boundary

EQUAL_PARAMETERS = "equal parameter bytes"
"""How a partition says that it was cut as the vendor's compiler cuts."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of a graph: operator indices in execution order, and the names of the tensors it takes and gives.

    A tensor that a later segment reads is an output here and an input there only; segments between do not see it.
    """

    operators: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """Every operator of the graph in exactly one segment; ``inputs`` and ``outputs`` are those of the whole graph."""

    segments: tuple[Segment, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    strategy: str
    """How the cuts were chosen, for the report."""


def legal_cuts(graph: Graph) -> tuple[int, ...]:
    """Positions (0 < p < number of operators) between operators p-1 and p where the graph may be cut.

    A cut must not part two operators that share a state (a variable tensor), and what crosses it must be an array:
    strings, resources and variants cannot be passed from one interpreter to the next.
    """
    last_use: dict[int, int] = {}
    for index, operator in enumerate(graph.operators):
        last_use.update(dict.fromkeys((i for i in (*operator.inputs, *operator.outputs) if i >= 0), index))
    blocked_until = 0
    cuts = []
    for index, operator in enumerate(graph.operators):
        if index > blocked_until - 1 and index > 0:
            cuts.append(index)
        for i in (*operator.inputs, *operator.outputs):
            if i >= 0 and (graph.tensors[i].is_variable or graph.tensors[i].dtype in _NOT_ARRAYS):
                blocked_until = max(blocked_until, last_use[i] + 1)
    return tuple(cuts)


_NOT_ARRAYS = frozenset({DType.STRING, DType.RESOURCE, DType.VARIANT})


def partition_at(graph: Graph, cuts: Sequence[int], strategy: str) -> Partition:
    """Segments of contiguous operators, cut before the operators at ``cuts`` (ascending, names must be unique).

    Raises:
        PartitionError: a position is out of range, repeated, or not legal.
    """
    legal = set(legal_cuts(graph))
    for cut in cuts:
        if cut not in legal:
            raise PartitionError(
                f"the graph cannot be cut before operator {cut}",
                f"It has {len(graph.operators)} operators; a cut lies between two of them that share no state.",
            )
    bounds = [0, *cuts, len(graph.operators)]
    if sorted(set(bounds)) != bounds:
        raise PartitionError(f"the cuts {list(cuts)} are not in ascending order")
    return partition_of(graph, [range(start, end) for start, end in itertools.pairwise(bounds)], strategy)


def partition_of(graph: Graph, pieces: Sequence[Sequence[int]], strategy: str) -> Partition:
    """Segments of the operators in each piece, in pipeline order; names must be unique.

    A piece need not be contiguous in execution order, but may read only what pieces before it write.

    Raises:
        PartitionError: an operator is in no piece or in two, does not exist, or reads from a later piece; a piece is
            empty, or parts operators that must stay together.
    """
    _require_pipeline(graph, pieces)
    names = [tensor.name for tensor in graph.tensors]
    inputs, outputs = tuple(names[i] for i in graph.inputs), tuple(names[i] for i in graph.outputs)
    segments = []
    for piece in map(sorted, pieces):
        entering, leaving = boundary(graph, piece)
        segments.append(Segment(tuple(piece), tuple(names[i] for i in entering), tuple(names[i] for i in leaving)))
    if len(segments) == 1:  # nothing is cut: unused inputs and constant outputs stay as they are
        segments = [Segment(segments[0].operators, inputs, outputs)]
    else:
        segments[-1] = _with_passive_outputs(graph, segments[-1])
    return Partition(tuple(segments), inputs, outputs, strategy)


def _require_pipeline(graph: Graph, pieces: Sequence[Sequence[int]]) -> None:
    stage: dict[int, int] = {}
    for number, piece in enumerate(pieces):
        if not piece:
            raise PartitionError(f"segment {number} has no operators", "Remove it, or give it some.")
        for index in piece:
            if not 0 <= index < len(graph.operators):
                raise PartitionError(f"segment {number} has operator {index}, the model has {len(graph.operators)}")
            if index in stage:
                where = graph.where(index)
                raise PartitionError(
                    f"operator {where} is in segment {stage[index]} and again in segment {number}",
                    "Every operator belongs to exactly one segment: remove it from one of them.",
                )
            stage[index] = number
    for index in range(len(graph.operators)):
        if index not in stage:
            raise PartitionError(
                f"operator {graph.where(index)} is in no segment",
                "Every operator belongs to exactly one segment: add it to one of them.",
            )
    _require_forward(graph, stage)
    for start, end in itertools.pairwise([0, *legal_cuts(graph), len(graph.operators)]):
        if len({stage[index] for index in range(start, end)}) > 1:
            raise PartitionError(
                f"operators {graph.where(start)} to {graph.where(end - 1)} are in different segments",
                "They share a state, or pass what is no array: keep them in one segment.",
            )


def _require_forward(graph: Graph, stage: dict[int, int]) -> None:
    writer = {tensor: index for index, operator in enumerate(graph.operators) for tensor in operator.outputs}
    for index, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            source = writer.get(tensor, index)
            if source != index and stage[source] > stage[index]:
                raise PartitionError(
                    f"operator {graph.where(index)} in segment {stage[index]} reads '{graph.tensors[tensor].name}', "
                    f"which segment {stage[source]} computes later",
                    "Move the operator to that segment or a later one, or what it reads to an earlier one.",
                )


def _with_passive_outputs(graph: Graph, segment: Segment) -> Segment:
    """Constants that the graph gives out are computed by no operator; the last segment gives them out."""
    constant = [graph.tensors[i].name for i in graph.outputs if graph.tensors[i].is_constant]
    return Segment(segment.operators, segment.inputs, (*segment.outputs, *constant)) if constant else segment
