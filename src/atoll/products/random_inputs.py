"""A graph and a seed → random inputs by tensor name: the one place that draws values for running models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from atoll.errors import UnsupportedModelError
from atoll.model.graph import Graph, Operator, Tensor
from atoll.products.tensor_spec import Array, Inputs

_PASS_ON = frozenset(
    {
        "CAST",
        "CONCATENATION",
        "EXPAND_DIMS",
        "PACK",
        "RESHAPE",
        "SLICE",
        "SPLIT",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TRANSPOSE",
        "UNPACK",
    }
)
"""What gives the values that it takes, at other places."""


def random_inputs(graphs: Graph | Sequence[Graph], seed: int = 0) -> Iterator[Inputs]:
    """Endless random inputs of a graph, or of the segments of a pipeline in their order.

    Integers take all values of their type, floats lie between -1 and 1. Only what a graph looks up in a table (GATHER,
    GATHER_ND, EMBEDDING_LOOKUP) stays within the table: LiteRT stops with an error elsewhere.

    Raises:
        UnsupportedModelError: There are no random values for the type of an input, such as STRING.
    """
    rng = np.random.default_rng(seed)  # now: numpy imports it at its first use, and Ctrl-C is lost while it does
    drawn: dict[str, tuple[Tensor, int | None]] = {}
    given: set[str] = set()
    for graph in [graphs] if isinstance(graphs, Graph) else graphs:
        for index in graph.inputs:
            tensor = graph.tensors[index]
            if tensor.dtype.numpy_name is None:
                raise UnsupportedModelError(
                    f"input '{tensor.name}' is {tensor.dtype.name}, for which there are no random values",
                    "Give inputs of your own where that is possible (--input), or leave out what is measured.",
                )
            if tensor.name not in given:
                drawn.setdefault(tensor.name, (tensor, _table_size(graph, index)))
        given.update(graph.tensors[index].name for index in graph.outputs)
    return ({name: _draw(*how, rng) for name, how in drawn.items()} for _ in itertools.count())


def _draw(tensor: Tensor, entries: int | None, rng: np.random.Generator) -> Array:
    dtype = tensor.dtype.numpy
    if dtype.kind == "c":
        return (rng.uniform(-1, 1, tensor.shape) + 1j * rng.uniform(-1, 1, tensor.shape)).astype(dtype)
    if dtype.kind == "f":
        return rng.uniform(-1, 1, tensor.shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, tensor.shape).astype(dtype)
    limits = np.iinfo(dtype)
    if entries is not None:
        return rng.integers(0, min(max(entries - 1, 0), limits.max), tensor.shape, dtype, endpoint=True)
    wide = np.uint64 if dtype == np.uint64 else np.int64
    return rng.integers(limits.min, limits.max, tensor.shape, wide, endpoint=True).astype(dtype)


def _table_size(graph: Graph, index: int) -> int | None:
    """The entries of the smallest table in which values of this tensor are looked up, if they are."""
    seen, left, sizes = {index}, [index], list[int]()
    while left:
        here = left.pop()
        for operator in graph.operators:
            if here not in operator.inputs:
                continue
            sizes += _looked_up(graph, operator, operator.inputs.index(here))
            if operator.kind in _PASS_ON:
                left += [output for output in operator.outputs if output not in seen]
                seen.update(operator.outputs)
    return min(sizes, default=None)


def _looked_up(graph: Graph, operator: Operator, place: int) -> Sequence[int]:
    """The sizes that the values of an operator's input must stay below."""
    kind = operator.kind
    table = graph.tensor_of(operator, 1 if kind == "EMBEDDING_LOOKUP" else 0)
    if table is None or not table.shape or place != (0 if kind == "EMBEDDING_LOOKUP" else 1):
        return ()
    if kind == "GATHER":
        axis = operator.options.get("axis", 0)
        return table.shape[axis : axis + 1 or None]
    return {"EMBEDDING_LOOKUP": table.shape[:1], "GATHER_ND": table.shape}.get(kind, ())
