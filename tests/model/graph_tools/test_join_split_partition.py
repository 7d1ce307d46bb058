"""Joined, split and cut models compute what the originals compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.errors import InputError, PartitionError, UnsupportedModelError, UsageError
from atoll.model import DType, Graph, Model, Tensor
from atoll.model.graph_tools import join_tflite_models, partition_with_num_ops, split_fc
from atoll.model.tflite import model_bytes, parse_model, read_model, write_model
from atoll.toolchain import compile_model
from one_layer_models import Values, dense, interpreter, random_values, run


def assert_same(result: Values, expected: Values) -> None:
    assert list(result) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(result[name], value, err_msg=name)


def compiled(model: Model) -> Model:
    return compile_model(model, name="m").segments[0].model


@pytest.mark.parametrize("base_compiled", [False, True])
@pytest.mark.parametrize("head_compiled", [False, True])
def test_joined_equals_its_parts_in_sequence(base_compiled: bool, head_compiled: bool, tmp_path: Path) -> None:
    base, head = dense(8, 6), dense(6, 5, seed=1)  # the same tensor names in both: joined in order, renamed
    parts = [compiled(m) if c else m for m, c in ((base, base_compiled), (head, head_compiled))]
    joined = join_tflite_models(*parts)
    write_model(joined, tmp_path / "joined.tflite")
    runner = make_interpreter(tmp_path / "joined.tflite", VirtualEdgeTpu())
    runner.allocate_tensors()
    plain = joined.graphs[-1] if base_compiled or head_compiled else joined.main
    on_cpu = interpreter(Model((plain,)))
    first, second = interpreter(base), interpreter(head)
    for seed in range(5):
        values = random_values(base, seed)
        expected = run(second, {"x": run(first, values)["y"]})["y"]
        for whole in (runner, on_cpu):
            np.testing.assert_array_equal(next(iter(run(whole, values).values())), expected)


def test_names_win_over_order_and_bypassed_outputs_come_last() -> None:
    base = dense(4, 4)
    twice = Model((Graph(base.main.tensors, base.main.operators, (0,), (0, 3)),))
    head = dense(4, 3, prefix="h/")
    renamed = tuple(Tensor("y", t.shape, t.dtype, t.quantization) if t.name == "h/x" else t for t in head.main.tensors)
    joined = join_tflite_models(twice, Model((Graph(renamed, head.main.operators, (0,), (3,)),)), ["y"])
    assert [joined.main.tensors[i].name for i in joined.main.outputs] == ["h/y", "y"]
    values = random_values(base, 0)
    middle = run(interpreter(base), values)["y"]
    expected = run(interpreter(head), {"h/x": middle})
    assert_same(run(interpreter(joined), values), {**expected, "y": middle})


def test_parts_of_a_real_model_join_to_the_whole(shared: Path) -> None:
    model = read_model(shared / "data/models/uncompiled/mobilenet_v1_0.25_128_quant.tflite")
    count = len(model.main.operators)
    parts = partition_with_num_ops(model, (10, 5, count - 15))
    joined = join_tflite_models(join_tflite_models(parts[0], parts[1]), parts[2])
    values = random_values(model, 0)
    assert_same(run(interpreter(joined), values), run(interpreter(model), values))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (dense(7, 3, prefix="h/"), r"'y' int8 \[1, 6\] scale 0.05.* does not fit 'h/x' int8 \[1, 7\]"),
        (dense(6, 3, prefix="h/", dtype=DType.UINT8), r"'y' int8 .* does not fit 'h/x' uint8 \[1, 6\]"),
    ],
)
def test_misfits_are_named_with_shapes_and_scales(head: Model, words: str) -> None:
    with pytest.raises(InputError, match=words):
        join_tflite_models(dense(8, 6), head)


def test_head_input_without_a_partner_is_named() -> None:
    base = dense(8, 6)
    both = Model((Graph(base.main.tensors, base.main.operators, (0,), (0, 3)),))
    with pytest.raises(InputError, match=r"nothing of the base feeds the head's input 'h/x'"):
        join_tflite_models(both, dense(6, 3, prefix="h/"))
    with pytest.raises(UsageError, match="no output 'z'"):
        join_tflite_models(base, dense(6, 3), ["z"])


@settings(max_examples=25)
@given(
    outputs=st.integers(2, 40),
    dtype=st.sampled_from([DType.INT8, DType.UINT8]),
    conv=st.booleans(),
    cuts=st.lists(st.integers(1, 39), max_size=3, unique=True),
    seed=st.integers(0, 9),
)
def test_split_layer_equals_the_original(outputs: int, dtype: DType, conv: bool, cuts: list[int], seed: int) -> None:
    cuts = sorted(c for c in cuts if c < outputs) or [1]
    model = dense(16, outputs, dtype=dtype, conv=conv and dtype is DType.INT8, seed=seed)
    shares = np.diff([0, *cuts]) / outputs
    split = parse_model(bytes(model_bytes(split_fc(model, "y", shares.tolist()))))
    assert len(split.main.operators) == len(cuts) + 2
    values = random_values(model, seed)
    assert_same(run(interpreter(split), values), run(interpreter(model), values))


def test_split_finds_the_largest_layer_and_keeps_the_bytes() -> None:
    model = join_tflite_models(dense(8, 6), dense(6, 20, seed=1))
    split = split_fc(model)
    names = [t.name for t in split.main.tensors if t.is_constant and "/" in t.name]
    assert names == ["w_1/0_10", "b_1/0_10", "w_1/10_20", "b_1/10_20"]


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 0.01, float("nan"), float("inf")])
def test_ratios_that_leave_a_part_empty(ratio: float) -> None:
    with pytest.raises(UsageError, match="leave a block of the 6 outputs empty"):
        split_fc(dense(8, 6), "y", (ratio,))


def test_what_cannot_be_split() -> None:
    with pytest.raises(UsageError, match="no operator writes a tensor 'z'"):
        split_fc(dense(8, 6), "z")
    with pytest.raises(UsageError, match="no FULLY_CONNECTED"):
        split_fc(dense(8, 6, conv=True))
    model = dense(8, 6)
    fed = Model((Graph(
        tuple(Tensor(t.name, t.shape, t.dtype, t.quantization) for t in model.main.tensors),
        model.main.operators, (0, 1, 2), (3,),
    ),))  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="'w' is not constant"):
        split_fc(fed, "y")


@pytest.mark.parametrize("counts", [(), (1,), (3,), (0, 2), (-1, 3)])
def test_counts_must_be_positive_and_sum_up(counts: tuple[int, ...]) -> None:
    with pytest.raises(PartitionError, match="2 operators"):
        partition_with_num_ops(join_tflite_models(dense(8, 6), dense(6, 5)), counts)


def test_segments_in_sequence_equal_the_whole(shared: Path) -> None:
    model = read_model(shared / "data/models/uncompiled/movenet_single_pose_lightning_ptq.tflite")
    count = len(model.main.operators)
    values = known = random_values(model, 0)
    for part in partition_with_num_ops(model, (30, 40, count - 70)):
        known = {**known, **run(interpreter(part), known)}
    for name, expected in run(interpreter(model), values).items():
        np.testing.assert_array_equal(known[name], expected)
