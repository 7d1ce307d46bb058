"""A model and operator counts → one model per segment."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from atoll.errors import PartitionError
from atoll.files import output_directory
from atoll.model.edit import edited
from atoll.model.graph import Graph, Model
from atoll.model.subgraph import boundary, extract
from atoll.model.tflite import model_bytes


def partition_with_num_ops(model: Model, num_ops: Sequence[int]) -> tuple[Model, ...]:
    """Cut a model into segments of ``num_ops[i]`` successive operators each.

    A segment's inputs and outputs are what crosses its ends, by name; the last one also gives out what the model passes
    through unchanged.

    Raises:
        PartitionError: a count is not positive, they do not sum up to the number of operators, or a cut would part
            operators that share a state.
    """
    model = edited(model, lambda graph: graph)
    graph = model.main
    if any(count < 1 for count in num_ops) or sum(num_ops) != len(graph.operators):
        raise PartitionError(
            f"{', '.join(map(str, num_ops)) or 'no counts'}: they sum up to {sum(num_ops)}",
            f"Give positive numbers that sum up to the model's {len(graph.operators)} operators.",
        )
    ends = [0, *itertools.accumulate(num_ops)]
    _check_states(graph, ends)
    segments = []
    for begin, end in itertools.pairwise(ends):
        entering, leaving = boundary(graph, range(begin, end))
        names_in, names_out = ([graph.tensors[i].name for i in indices] for indices in (entering, leaving))
        if end == len(graph.operators):
            passed = [graph.tensors[i].name for i in graph.outputs if i in graph.inputs or graph.tensors[i].is_constant]
            names_out += passed
            names_in += [name for name in passed if name not in names_in and not _constant(graph, name)]
        segments.append(extract(model, range(begin, end), inputs=names_in, outputs=names_out))
    return tuple(segments)


def write_segments(segments: Sequence[Model], directory: str | Path, prefix: str) -> tuple[Path, ...]:
    """Write segments as the vendor's tool names them, ``PREFIX_segment_0_of_3.tflite``: all of them, or none.

    Raises:
        OutputError: The directory cannot be written.
    """
    with output_directory(directory) as output:
        return tuple(
            output.write(f"{prefix}_segment_{number}_of_{len(segments)}.tflite", model_bytes(segment))
            for number, segment in enumerate(segments)
        )


def _check_states(graph: Graph, ends: Sequence[int]) -> None:
    for cut in ends[1:-1]:
        before, behind = (
            {i for operator in operators for i in (*operator.inputs, *operator.outputs) if i >= 0}
            for operators in (graph.operators[:cut], graph.operators[cut:])
        )
        for i in before & behind:
            if graph.tensors[i].is_variable:
                raise PartitionError(
                    f"the cut before {graph.where(cut)} parts operators that share the state '{graph.tensors[i].name}'",
                    "Cut elsewhere.",
                )


def _constant(graph: Graph, name: str) -> bool:
    return any(tensor.name == name and tensor.is_constant for tensor in graph.tensors)
