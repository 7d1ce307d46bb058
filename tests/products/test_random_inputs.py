"""Random inputs: endless, repeatable, within the ranges of their types, and ready before Ctrl-C may come."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest

from atoll.errors import UnsupportedModelError
from atoll.model import DType, Graph, Operator, Tensor
from atoll.products.random_inputs import random_inputs
from builders import GraphBuilder, branched

_PROGRAM = """
import sys
from atoll.model.graph import Graph
from atoll.products.random_inputs import random_inputs
random_inputs(Graph((), (), (), ()))
assert "numpy.random" in sys.modules
"""


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others() -> None:
    graph = branched().main
    first, again, other = (list(itertools.islice(random_inputs(graph, seed), 3)) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other):
        assert all(np.array_equal(a[name], b[name]) for name in a)
        assert any(not np.array_equal(a[name], c[name]) for name in a)


def test_nothing_is_left_to_import_for_the_first_input() -> None:
    """numpy imports its generators at their first use, and a Ctrl-C that comes meanwhile is lost."""
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype.numpy_name])
def test_every_value_of_the_type_may_come(dtype: DType) -> None:
    graph = Graph((Tensor("x", (200, 200), dtype),), (), (0,), ())
    values = next(random_inputs(graph))["x"]
    assert (values.shape, values.dtype) == ((200, 200), dtype.numpy)
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        span = float(limits.max) - float(limits.min)
        assert values.min() < limits.min + 0.01 * span and values.max() > limits.max - 0.01 * span
    elif values.dtype.kind == "b":
        assert set(np.unique(values)) == {False, True}
    else:
        assert -1 <= values.real.min() < -0.9 and 0.9 < values.real.max() <= 1


def test_a_type_without_random_values() -> None:
    with pytest.raises(UnsupportedModelError, match="'x' is STRING"):
        random_inputs(Graph((Tensor("x", (1,), DType.STRING),), (), (0,), ()))


@pytest.mark.parametrize(
    ("kind", "table_first", "options"),
    [("GATHER", True, {"axis": 1}), ("GATHER", True, {"axis": -2}), ("EMBEDDING_LOOKUP", False, {})],
)
def test_what_is_looked_up_in_a_table_is_in_it(kind: str, table_first: bool, options: dict[str, int]) -> None:
    build = GraphBuilder()
    tokens = build.tensor("tokens", shape=(100,), dtype=DType.INT64, quantization=None)
    narrow = build.operator("CAST", (tokens,), "narrow")
    table = build.constant("table", np.zeros((7, 7, 2), np.int8))
    build.operators.append(
        Operator(kind, (table, narrow) if table_first else (narrow, table), (build.tensor("found"),), options)
    )
    values = next(random_inputs(build.graph((tokens,), (3,))))["tokens"]
    assert (values.min(), values.max(), values.dtype) == (0, 6, np.int64)


def test_a_pipeline_draws_what_no_segment_gives() -> None:
    def graph(takes: list[str], gives: str) -> Graph:
        tensors = tuple(Tensor(name, (3,), DType.INT8) for name in (*takes, gives))
        return Graph(tensors, (), tuple(range(len(takes))), (len(takes),))

    segments = [graph(["a"], "b"), graph(["b", "c"], "d"), graph(["a", "d"], "e")]
    assert list(next(random_inputs(segments))) == ["a", "c"]
