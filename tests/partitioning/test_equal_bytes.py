"""The vendor's parameter-count rule: always as many segments as asked for, each as full as the average allows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import PartitionError
from atoll.model.graph import Buffer, DType, Graph, Operator, Tensor
from atoll.partitioning import equal_parameters, legal_cuts, parameter_bytes, partition_at
from branching import graph_of


def chain(sizes: list[int]) -> Graph:
    """A chain of operators with the given bytes of constants."""
    import numpy as np

    graph = graph_of([[n - 1] if n else [] for n in range(len(sizes))])
    weights = tuple(
        Tensor(f"w{n}", (size,), DType.INT8, buffer=Buffer(np.zeros(size, np.uint8))) for n, size in enumerate(sizes)
    )
    operators = tuple(
        Operator(op.kind, (*op.inputs, len(graph.tensors) + n), op.outputs) for n, op in enumerate(graph.operators)
    )
    return Graph((*graph.tensors, *weights), operators, graph.inputs, graph.outputs)


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=12), data=st.data())
def test_it_makes_as_many_segments_as_asked_for(sizes, data):
    graph = chain(sizes)
    assert parameter_bytes(graph) == tuple(sizes)
    segments = data.draw(st.integers(1, len(sizes)))
    cuts = equal_parameters(graph, segments)
    assert len(cuts) == segments - 1 and set(cuts) <= set(legal_cuts(graph))
    partition = partition_at(graph, cuts, "equal parameters")
    assert [i for segment in partition.segments for i in segment.operators] == list(range(len(sizes)))
    # No segment but the last exceeds the average, unless a single operator does.
    average = sum(sizes) // segments + 1
    for start, end in itertools.pairwise([0, *cuts]):
        assert sum(sizes[start:end]) <= average or end - start == 1


def test_the_rule_as_the_vendor_has_it():
    """average = 60 // 3 + 1 = 21: a segment is closed just before it would exceed that."""
    assert equal_parameters(chain([10, 10, 1, 9, 10, 20]), 3) == (3, 5)


def test_more_segments_than_places():
    with pytest.raises(PartitionError, match="cannot be cut into 4 segments: it has 3 operators and 2 places"):
        equal_parameters(chain([1, 1, 1]), 4)
