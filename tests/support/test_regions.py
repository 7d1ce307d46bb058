"""The mapped regions: what follows an unsupported operator stays on the CPU, and every plan can be executed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import UsageError
from atoll.findings import Finding
from atoll.model import DType, Graph, Operator, Tensor
from atoll.support.regions import Regions, choose_regions

BAD = Finding("known_operator", "", "It is not in the table.", "", "Operation not supported")
MAPPED = "Mapped to Edge TPU"
LATER = "More than one subgraph is not supported"
UNSPECIFIED = "Operation is otherwise supported, but not mapped due to some unspecified limitation"


@dataclass(frozen=True)
class Verdict:
    findings: tuple[Finding, ...]
    runtime: int | None


@dataclass(frozen=True)
class Support:
    verdicts: tuple[Verdict, ...]


def dag(*operators: tuple[int, ...]) -> Graph:
    """Operator n reads what the operators it names write (none: the input) and writes tensor ``t<n>``."""
    tensors = [Tensor("input", (1,), DType.INT8)]
    tensors += [Tensor(f"t{n}", (1,), DType.INT8) for n in range(len(operators))]
    nodes = tuple(Operator("ADD", tuple(i + 1 for i in reads) or (0,), (n + 1,)) for n, reads in enumerate(operators))
    return Graph(tuple(tensors), nodes, (0,), (len(operators),) if operators else (0,))


def support(pattern: str) -> Support:
    """One letter per operator: y supported, n not."""
    return Support(tuple(Verdict((), 12) if c == "y" else Verdict((BAD,), None) for c in pattern))


def test_everything_supported_is_one_region() -> None:
    mapping = choose_regions(dag((), (0,), (1,)), support("yyy"))
    assert mapping.regions == ((0, 1, 2),)
    assert mapping.cpu == ()
    assert mapping.statuses == (MAPPED,) * 3
    assert mapping.runtime == 12


def test_nothing_supported_is_no_region() -> None:
    mapping = choose_regions(dag((), (0,)), support("nn"))
    assert mapping.regions == ()
    assert mapping.cpu == (0, 1)
    assert mapping.findings == ((BAD,), (BAD,))


def test_an_empty_graph_has_no_steps() -> None:
    assert choose_regions(dag(), support("")).steps == ()


def test_first_unsupported_operator_stops_the_region() -> None:
    mapping = choose_regions(dag((), (0,), (1,), (2,)), support("ynyy"))
    assert mapping.regions == ((0,),)
    assert mapping.statuses == (MAPPED, BAD.status, LATER, LATER)
    assert all("#1 ADD 't1'" in mapping.findings[i][0].why for i in (2, 3))


def test_a_branch_beside_the_unsupported_operator_is_mapped_even_if_it_stands_later() -> None:
    # MoveNet: the heads behind the first ARG_MAX in execution order do not depend on it, and map.
    mapping = choose_regions(dag((), (0,), (0,), (1, 2)), support("ynyy"))
    assert mapping.regions == ((0, 2),)
    assert mapping.cpu == (1, 3)


def test_operators_in_front_stay_on_the_cpu_and_stop_nothing() -> None:
    mapping = choose_regions(dag((), (0,), (1,), (2,)), support("nyyn"))
    assert [(step.operators, step.on_tpu) for step in mapping.steps] == [((0,), False), ((1, 2), True), ((3,), False)]
    assert mapping.statuses == (BAD.status, MAPPED, MAPPED, BAD.status)


def test_all_regions_maps_what_follows_as_operators_of_their_own() -> None:
    graph = dag((), (0,), (1,), (2,), (3,))
    mapping = choose_regions(graph, support("ynyny"), all_regions=True)
    assert mapping.regions == ((0,), (2,), (4,))
    assert mapping.cpu == (1, 3)
    assert choose_regions(graph, support("ynyny")).regions == ((0,),)


def test_a_region_never_goes_around_the_cpu() -> None:
    # 0 → 1 (CPU) → 2 and 0 → 2: 0 and 2 in one region would wait for themselves.
    mapping = choose_regions(dag((), (0,), (0, 1)), support("yny"), all_regions=True)
    assert mapping.regions == ((0,), (2,))


def test_stop_at_leaves_what_follows_the_tensor_on_the_cpu() -> None:
    graph = dag((), (0,), (1,), (0,))
    mapping = choose_regions(graph, support("yyyy"), stop_at=["t0"])
    assert mapping.regions == ((0,),)
    assert mapping.statuses == (MAPPED, UNSPECIFIED, LATER, UNSPECIFIED)
    assert choose_regions(graph, support("yyyy"), stop_at=["t1"]).regions == ((0, 1, 3),)
    assert choose_regions(graph, support("yyyy"), all_regions=True, stop_at=["t1"]).regions == ((0, 1, 3),)


def test_stop_at_all_of_several_tensors() -> None:
    graph = dag((), (0,), (0,), (1,), (2,))
    assert choose_regions(graph, support("y" * 5), stop_at=["t1", "t2"]).regions == ((0, 1, 2),)


def test_stop_at_an_unknown_tensor_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no tensor 'T1'") as caught:
        choose_regions(dag((), (0,)), support("yy"), stop_at=["T1"])
    assert "'t1'" in caught.value.hint


def test_a_later_region_is_explained_by_what_separates_it_not_by_what_stands_in_front() -> None:
    # 0 and 3 read the input on the CPU, in front of region (1,); 2 is what stops it.
    mapping = choose_regions(dag((), (0,), (1,), (), (2, 3)), support("nynny"))
    assert mapping.regions == ((1,),)
    assert "#2 ADD 't2'" in mapping.findings[4][0].why


@pytest.mark.parametrize("state", [Tensor("s", (), DType.RESOURCE), Tensor("s", (1,), DType.INT8, is_variable=True)])
def test_operators_that_share_state_keep_their_order(state: Tensor) -> None:
    # The write needs the region, the read needs nothing: only the state says that it has to come second.
    graph = Graph(
        (Tensor("input", (1,), DType.INT8), state, *(Tensor(name, (1,), DType.INT8) for name in "abc")),
        (
            Operator("CAST", (0,), (2,)),
            Operator("ADD", (2,), (3,)),
            Operator("WRITE", (1, 3), ()),
            Operator("READ", (1,), (4,)),
        ),
        (0,),
        (4,),
    )
    mapping = choose_regions(graph, support("nynn"))
    assert [step.operators for step in mapping.steps] == [(0,), (1,), (2, 3)]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, str]:
    count = draw(st.integers(0, 14))
    reads = [draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else set() for n in range(count)]
    pattern = draw(st.text("yyn", min_size=count, max_size=count))
    return dag(*(tuple(sorted(r)) for r in reads)), pattern


def reference(graph: Graph, pattern: str) -> list[tuple[bool, set[int]]]:
    """TensorFlow Lite's partitioner, word for word: grow a step until nothing more is ready, then change sides."""
    waiting, done, steps = list(range(len(graph.operators))), {0}, []
    while waiting:
        kind, step = None, set()
        grown = True
        while grown:
            grown = False
            for n in list(waiting):
                if not set(graph.operators[n].inputs) <= done or kind not in (None, pattern[n]):
                    continue
                kind, grown = pattern[n], True
                step.add(n)
                waiting.remove(n)
                done.update(graph.operators[n].outputs)
        steps.append((kind == "y", step))
    return steps


@settings(deadline=None)
@given(graphs(), st.booleans())
def test_invariants(case: tuple[Graph, str], all_regions: bool) -> None:
    graph, pattern = case
    mapping = choose_regions(graph, support(pattern), all_regions)
    everywhere = [i for step in mapping.steps for i in step.operators]
    assert sorted(everywhere) == list(range(len(graph.operators)))
    assert sorted([*mapping.cpu, *(i for region in mapping.regions for i in region)]) == sorted(everywhere)
    assert all(pattern[i] == "y" for region in mapping.regions for i in region)
    assert (mapping.regions == ()) == ("y" not in pattern)
    assert all_regions or len(mapping.regions) <= 1
    mapped = {i for region in mapping.regions for i in region}
    assert all((reasons == ()) == (i in mapped) for i, reasons in enumerate(mapping.findings))
    _runs_in_order(graph, mapping)
    if all_regions:
        assert mapped == {i for i, c in enumerate(pattern) if c == "y"}
        assert reference(graph, pattern) == [(step.on_tpu, set(step.operators)) for step in mapping.steps]
    elif mapped:
        assert mapped == next(step for on_tpu, step in reference(graph, pattern) if on_tpu)


def _runs_in_order(graph: Graph, mapping: Regions) -> None:
    """Steps run whole and one after the other: so no path leaves a region and comes back."""
    written = {0}
    for step in mapping.steps:
        assert list(step.operators) == sorted(step.operators)
        for index in step.operators:
            assert set(graph.operators[index].inputs) <= written
            written.update(graph.operators[index].outputs)
