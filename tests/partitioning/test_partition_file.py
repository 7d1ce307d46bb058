"""What is written is read back; an edited file is understood, or refused with the operator named."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import EmptyFileError, FileMissingError, PartitionError
from atoll.model.graph import DType, Graph, Operator, Tensor
from atoll.partitioning.partition_file import SCHEMA, cut_tensors, operator_names, read_partition, write_partition
from atoll.products.partition import partition_at, partition_of
from branching import graph_of

CHAIN = graph_of([[], [0], [1], [2, 0], [3]])


@given(data=st.data())
def test_read_after_write_is_the_identity(data, tmp_path_factory):
    sources = [data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=3)) if n else [] for n in range(8)]
    graph = graph_of(sources)
    cuts = sorted(data.draw(st.lists(st.integers(1, 7), unique=True, max_size=4)))
    partition = partition_at(graph, cuts, "test")
    count = len(partition.segments)
    replicas = data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    path = tmp_path_factory.mktemp("partition") / "p.json"
    write_partition(path, graph, partition, replicas, ["usb"] * count)
    found = read_partition(path, graph)
    assert found.partition == partition
    assert found.replicas == tuple(replicas) and found.devices == ("usb",) * count
    assert found.findings == ()


def test_pieces_need_not_be_contiguous(tmp_path):
    graph = graph_of([[], [], [0], [1], [2, 3]])
    partition = partition_of(graph, [(0, 2), (1, 3, 4)], "branches")
    assert partition.segments[0].outputs == ("t2",)
    assert partition.segments[1].inputs == ("input", "t2")
    write_partition(tmp_path / "p.json", graph, partition)
    assert read_partition(tmp_path / "p.json", graph).partition == partition


def test_cuts_are_named_by_the_tensors_that_cross_them():
    """t0 skips the second segment."""
    assert cut_tensors(partition_at(CHAIN, (1, 3), "test")) == (("t0",), ("t0", "t2"))


def edited(tmp_path, edit, cuts=(2,)):
    path = tmp_path / "p.json"
    write_partition(path, CHAIN, partition_at(CHAIN, cuts, "test"))
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    return path


def test_an_operator_moved_by_hand_gives_another_partition_and_says_what_the_cut_is_now(tmp_path):
    def move(document):
        segments = document["segments"]
        segments[0]["operators"].append(segments[1]["operators"].pop(0))

    found = read_partition(edited(tmp_path, move), CHAIN)
    assert [segment.operators for segment in found.partition.segments] == [(0, 1, 2), (3, 4)]
    assert [finding.why for finding in found.findings] == ["it is crossed by t0, t2"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["segments"][1]["operators"].remove("t3"), r"operator #3 ADD 't3' is in no segment"),
        (lambda d: d["segments"][1]["operators"].append("t0"), r"operator #0 ADD 't0' is in segment 0 and again in"),
        (lambda d: d["segments"][1]["operators"].append("t9"), r"has an operator 't9', which the model does not have"),
        (lambda d: d["segments"].reverse(), r"operator #2 ADD 't2' in segment 0 reads 't1', which segment 1"),
        (lambda d: d["segments"][0].update(operators=[]), r"\"operators\" is not a list with something in it"),
        (lambda d: d["segments"][0].update(operators=[3]), r"has an operator 3"),
        (lambda d: d["segments"][0].update(replicas=0), r"segment 0 has 0 replicas"),
        (lambda d: d["segments"][0].update(replicas=10**9), r"segment 0 has 1000000000 replicas"),
        (lambda d: d["segments"][0].update(device="gpu"), r"segment 0 has the device 'gpu', which is none of any, pci"),
        (lambda d: d["segments"][0].update(device=["usb"]), r"segment 0 has the device \['usb'\]"),
        (lambda d: d["segments"][0].update(replicas=True), r"segment 0 has True replicas"),
        (lambda d: d.update(segments=7), r"\"segments\" is not a list"),
        (lambda d: d.update(segments=[7]), r"a segment is not an object"),
        (lambda d: d.update(schema="atoll.partition/9"), r"\"schema\" is not \"atoll.partition/1\""),
    ],
)
def test_a_broken_edit_is_refused_by_name(tmp_path, edit, message):
    path = edited(tmp_path, edit)
    with pytest.raises(PartitionError, match=message) as caught:
        read_partition(path, CHAIN)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("cuts", [7, [], [["t0"], ["t1"]], [7]])
def test_wrong_names_of_cuts_are_a_finding(tmp_path, cuts):
    found = read_partition(edited(tmp_path, lambda d: d.update(cuts=cuts)), CHAIN)
    assert len(found.findings) == 1 and found.findings[0].rule == "cut_names"


@pytest.mark.parametrize("content", ["{", "[]", "nonsense", "[" * 200_000, json.dumps({"schema": SCHEMA})])
def test_what_is_no_partition_is_refused(tmp_path, content):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(PartitionError, match="is not a partition"):
        read_partition(path, CHAIN)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(FileMissingError):
        read_partition(tmp_path / "none.json", CHAIN)
    (tmp_path / "empty.json").touch()
    with pytest.raises(EmptyFileError):
        read_partition(tmp_path / "empty.json", CHAIN)


def test_operators_without_a_name_of_their_own_are_numbered():
    tensors = (Tensor("input", (1,), DType.INT8), Tensor("same", (1,), DType.INT8), Tensor("same", (1,), DType.INT8))
    graph = Graph(
        tensors, (Operator("ADD", (0,), (1,)), Operator("ADD", (1,), (2,)), Operator("X", (2,), ())), (0,), ()
    )
    assert operator_names(graph) == ("#0", "#1", "#2")


def test_operators_that_share_a_state_cannot_be_parted():
    tensors = (Tensor("input", (1,), DType.INT8), Tensor("state", (1,), DType.INT8, is_variable=True))
    tensors += tuple(Tensor(f"t{n}", (1,), DType.INT8) for n in range(3))
    operators = (Operator("ADD", (0, 1), (2,)), Operator("ASSIGN", (2, 1), (3,)), Operator("ADD", (2,), (4,)))
    graph = Graph(tensors, operators, (0,), (4,))
    with pytest.raises(PartitionError, match="share a state"):
        partition_of(graph, [(0,), (1, 2)], "test")


@given(pieces=st.lists(st.lists(st.integers(-1, 6), max_size=4), max_size=4))
def test_a_partition_has_every_operator_once_or_is_refused(pieces):
    try:
        partition = partition_of(CHAIN, pieces, "test")
    except PartitionError:
        return
    assert sorted(itertools.chain(*(segment.operators for segment in partition.segments))) == list(range(5))
