"""Graph and a number of segments → cut positions that spread the parameter bytes, as the vendor's ``-n`` does."""

from __future__ import annotations

from atoll.errors import PartitionError
from atoll.model.graph import Graph
from atoll.products.partition import EQUAL_PARAMETERS, Partition, legal_cuts, partition_at


def parameter_bytes(graph: Graph) -> tuple[int, ...]:
    """Bytes of constants that each operator reads, as they are stored in the ``.tflite`` file."""
    return tuple(graph.constant_bytes(operator) for operator in graph.operators)


def equal_partition(graph: Graph, segments: int) -> Partition:
    """Segments of about equal parameter bytes; tensor names must be unique. Raises as :func:`equal_parameters`."""
    return partition_at(graph, equal_parameters(graph, segments), EQUAL_PARAMETERS)


def equal_parameters(graph: Graph, segments: int) -> tuple[int, ...]:
    """Where to cut a graph into ``segments`` pieces of about the same parameter bytes.

    The vendor's rule (``../shared/facts/memory.md``, "Segments"): with ``average = total // n + 1``, take operators
    in execution order and close a segment just before it would exceed the average; every segment but the last ends
    before the first operator without a successor. Unlike the vendor's tool, which aborts there, an operator larger
    than the average becomes a segment of its own, and where that last condition leaves too few operators it is
    dropped: any segment may give out a tensor of the graph.

    Raises:
        PartitionError: the graph has fewer legal segments than asked for.
    """
    legal = legal_cuts(graph)
    if not 1 <= segments <= len(legal) + 1:
        raise PartitionError(
            f"the model cannot be cut into {segments} segments: it has {len(graph.operators)} operators "
            f"and {len(legal)} places to cut",
            f"Ask for 1 to {len(legal) + 1} segments.",
        )
    sizes = parameter_bytes(graph)
    average = sum(sizes) // segments + 1
    end = _first_without_successor(graph)
    allowed = [cut for cut in legal if cut <= end]
    if len(allowed) < segments - 1:
        allowed = list(legal)
    cuts: list[int] = []
    position = start = 0
    for remaining in range(segments - 1, 0, -1):
        last = len(allowed) - remaining  # leave a place for each of the cuts that follow
        start = cuts[-1] if cuts else 0
        while position < last and sum(sizes[start : allowed[position + 1]]) <= average:
            position += 1
        cuts.append(allowed[position])
        position += 1
    return tuple(cuts)


def _first_without_successor(graph: Graph) -> int:
    read = {i for operator in graph.operators for i in operator.inputs}
    for index, operator in enumerate(graph.operators):
        if read.isdisjoint(operator.outputs):
            return index
    return len(graph.operators) - 1
