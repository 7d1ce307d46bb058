"""A layer split over its inputs equals the original within the steps that were promised, whatever the input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.errors import UnsupportedModelError, UsageError
from atoll.model import DType, Graph, Model, Quantization
from atoll.model.graph_tools import split_fc
from atoll.model.tflite import model_bytes, parse_model, write_model
from atoll.toolchain import compile_model
from one_layer_models import dense, interpreter, random_values, run


def with_output(model: Model, scale: float, zero_point: int) -> Model:
    """The model with another quantisation of its output."""
    from dataclasses import replace

    q = Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))
    graph = model.main
    tensors = tuple(replace(t, quantization=q) if t.name == "y" else t for t in graph.tensors)
    return replace(model, graphs=(replace(graph, tensors=tensors),))


def extreme_values(model: Model) -> list[dict[str, np.ndarray]]:
    """Inputs that drive the sums of each output to their ends, and all-least and all-greatest ones."""
    graph: Graph = model.main
    x, w = graph.tensors[0], graph.tensors[1]
    assert w.quantization is not None
    limits = np.iinfo(x.dtype.numpy)
    shape = (-1, *[1] * (len(w.shape) - 1))
    rows = (w.array.astype(int) - w.quantization.zero_point.reshape(shape)).reshape(w.shape[0], -1)
    found = [np.full(x.shape, end, x.dtype.numpy) for end in (limits.min, limits.max)]
    for row in rows[:4]:
        for sign in (1, -1):
            found.append(np.where(sign * row > 0, limits.max, limits.min).astype(x.dtype.numpy).reshape(x.shape))
    half = rows.shape[1] // 2
    for row in rows[:4]:  # first half up, second half down: large partial sums that cancel
        mixed = np.where(row > 0, limits.max, limits.min)
        mixed[half:] = np.where(row[half:] > 0, limits.min, limits.max)
        found.append(mixed.astype(x.dtype.numpy).reshape(x.shape))
    return [{x.name: value} for value in found]


@settings(max_examples=60, deadline=None)
@given(
    inputs=st.integers(2, 48),
    dtype=st.sampled_from([DType.INT8, DType.UINT8]),
    conv=st.booleans(),
    cuts=st.lists(st.integers(1, 47), min_size=1, max_size=3, unique=True),
    scale=st.floats(0.005, 0.5),
    zero=st.integers(-100, 100),
    steps=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_the_difference_is_at_most_what_was_allowed(
    inputs: int, dtype: DType, conv: bool, cuts: list[int], scale: float, zero: int, steps: int, seed: int
) -> None:
    cuts = sorted(c for c in cuts if c < inputs)
    assume(cuts)
    model = dense(inputs, 7, dtype=dtype, conv=conv and dtype is DType.INT8, seed=seed)
    model = with_output(model, scale, zero + (128 if dtype is DType.UINT8 else 0))
    shares = (np.diff([0, *cuts]) / inputs).tolist()
    try:
        split = split_fc(model, "y", shares, "inputs", steps)
    except UnsupportedModelError as refusal:
        assert "could differ by" in refusal.message
        assume(False)
    split = parse_model(bytes(model_bytes(split)))
    kinds = [operator.kind for operator in split.main.operators]
    assert kinds.count("SLICE") == len(cuts) + 1 and kinds.count("ADD") == len(cuts)
    ours, original = interpreter(split), interpreter(model)
    for values in [*extreme_values(model), *(random_values(model, seed + n) for n in range(8))]:
        difference = run(ours, values)["y"].astype(int) - run(original, values)["y"].astype(int)
        assert np.abs(difference).max() <= steps


def test_a_layer_with_room_is_split_within_one_step_and_one_without_is_refused() -> None:
    model = dense(16, 6)  # sums reach 16 * 6.4 * 0.25 = 26 either way; steps of 0.15 make 255 of them 38
    assert len(split_fc(with_output(model, 0.15, 0), "y", over="inputs").main.operators) == 5
    with pytest.raises(UnsupportedModelError, match=r"could differ by \d+ steps, 1 allowed") as refusal:
        split_fc(with_output(model, 0.01, 0), "y", over="inputs")
    most = int(refusal.value.message.split("could differ by ")[1].split()[0])
    assert split_fc(with_output(model, 0.01, 0), "y", over="inputs", max_steps=most)
    with pytest.raises(UnsupportedModelError):
        split_fc(with_output(model, 0.01, 0), "y", over="inputs", max_steps=most - 1)


def test_the_split_layer_compiles(tmp_path: object) -> None:
    from pathlib import Path

    model = with_output(dense(16, 8), 0.15, 0)
    split = split_fc(model, "y", over="inputs")
    segment = compile_model(split, name="m").segments[0]
    assert sum(map(len, segment.regions)) == len(split.main.operators)
    path = Path(str(tmp_path)) / "m.tflite"
    write_model(segment.model, path)
    runner = make_interpreter(path, VirtualEdgeTpu())
    runner.allocate_tensors()
    values = random_values(model, 3)
    np.testing.assert_array_equal(run(runner, values)["y"], run(interpreter(split), values)["y"])


def test_what_cannot_be_split_over_inputs() -> None:
    model = dense(16, 6)
    with pytest.raises(UsageError, match="leave a block of the 16 inputs empty"):
        split_fc(model, "y", (1.0,), "inputs")
    with pytest.raises(UsageError, match="0 steps"):
        split_fc(model, "y", over="inputs", max_steps=0)
    from dataclasses import replace

    plain = replace(model.main.tensors[0], quantization=None)
    unscaled = replace(model, graphs=(replace(model.main, tensors=(plain, *model.main.tensors[1:])),))
    with pytest.raises(UnsupportedModelError, match="'x' is not quantised to 8 bits"):
        split_fc(unscaled, "y", over="inputs")
