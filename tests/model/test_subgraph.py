"""Parts of a graph: what crosses their boundary, what lies between tensors, and that a part is a model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model import Model
from atoll.model.subgraph import between, boundary, extract, with_unique_names
from atoll.model.verify import InconsistentModelError, verify
from builders import branched, chain

MODEL = branched()
GRAPH = MODEL.main  # a, b, c, d = c + a, e = d + right, f; the outputs are d and f
NAMES = [tensor.name for tensor in GRAPH.tensors]


def names(indices: tuple[int, ...]) -> list[str]:
    return [NAMES[i] for i in indices]


@pytest.mark.parametrize(
    ("operators", "inputs", "outputs"),
    [
        (range(6), ["left", "right"], ["d", "f"]),
        ([0], ["left"], ["a"]),
        ([1, 2], ["a"], ["c"]),
        ([3, 4], ["right", "a", "c"], ["d", "e"]),  # the graph's own ends first
        ([5], ["e"], ["f"]),
    ],
)
def test_the_boundary(operators: list[int], inputs: list[str], outputs: list[str]) -> None:
    entering, leaving = boundary(GRAPH, operators)
    assert names(entering) == inputs and names(leaving) == outputs


@pytest.mark.parametrize(
    ("inputs", "outputs", "operators"),
    [(["left", "right"], ["f"], range(6)), (["a"], ["c"], [1, 2]), (["d", "right"], ["f"], [4, 5]), (["a"], ["a"], [])],
)
def test_between(inputs: list[str], outputs: list[str], operators: list[int]) -> None:
    assert between(GRAPH, inputs, outputs) == tuple(operators)


@given(st.sets(st.integers(0, 5), min_size=1))
def test_any_part_is_a_consistent_model_of_its_own(operators: set[int]) -> None:
    part = extract(MODEL, operators)
    verify(part)
    entering, leaving = boundary(GRAPH, operators)
    assert [part.main.tensors[i].name for i in part.main.inputs] == names(entering)
    assert [part.main.tensors[i].name for i in part.main.outputs] == names(leaving)
    assert {t.buffer for t in part.main.tensors} <= {t.buffer for t in GRAPH.tensors}, (
        "constants are shared, not copied"
    )
    written = {t for o in part.main.operators for t in o.outputs}
    assert all(
        i in written or i in part.main.inputs or part.main.tensors[i].is_constant
        for o in part.main.operators
        for i in o.inputs
    )


def test_names_become_unique_and_stay_when_they_are() -> None:
    assert with_unique_names(GRAPH) is GRAPH
    tensors = tuple(replace(t, name="x" if i % 2 else "") for i, t in enumerate(GRAPH.tensors))
    unique = [t.name for t in with_unique_names(replace(GRAPH, tensors=tensors)).tensors]
    assert len(set(unique)) == len(unique) and "" not in unique


def broken(**changes: object) -> Model:
    return Model((replace(chain(2).main, **changes),))  # type: ignore[arg-type]


def with_operator(index: int, **changes: object) -> Model:
    operators = list(chain(2).main.operators)
    operators[index] = replace(operators[index], **changes)  # type: ignore[arg-type]
    return broken(operators=tuple(operators))


def with_tensor(index: int, **changes: object) -> Model:
    tensors = list(chain(2).main.tensors)
    tensors[index] = replace(tensors[index], **changes)  # type: ignore[arg-type]
    return broken(tensors=tuple(tensors))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Model(()), "no graph"),
        (broken(inputs=(99,)), "names tensor 99"),
        (broken(operators=chain(2).main.operators[::-1]), "before it is written"),
        (with_operator(1, outputs=(3,)), "written twice"),
        (with_operator(0, inputs=(0, -2, 2)), "names tensor -2"),
        (with_tensor(1, shape=(9, 1, 1, 4)), "4 scales along axis 0"),
        (with_tensor(2, shape=(7,), quantization=None), "needs 28 bytes and has 16"),
        (with_tensor(0, shape=(1, -8)), "negative size"),
    ],
)
def test_a_contradiction_is_named(model: Model, words: str) -> None:
    with pytest.raises(InconsistentModelError, match=words):
        verify(model)
