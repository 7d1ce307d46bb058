"""Segments find their tensors by name, or the message says which one is missing and what there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import PipelineError
from atoll.pipeline.wiring import wire
from atoll.products.tensor_spec import TensorSpec
from pipeline_fakes import Fake


def part(inputs: Sequence[str], outputs: Sequence[str], **options: object) -> Fake:
    return Fake(inputs, outputs, lambda _: {}, **options)  # type: ignore[arg-type]


def names_of(specs: Sequence[TensorSpec]) -> set[str]:
    return {spec.name for spec in specs}


def names(specs: Sequence[TensorSpec]) -> list[str]:
    return [spec.name for spec in specs]


def test_a_skipping_tensor_lives_exactly_until_its_last_reader() -> None:
    wiring = wire([part(["x"], ["a", "skip"]), part(["a"], ["b"]), part(["b", "skip"], ["y"])])
    assert [stage.drops for stage in wiring.stages] == [("x",), ("a",), ("b", "skip")]
    assert (names(wiring.inputs), names(wiring.outputs)) == (["x"], ["y"])


def test_outputs_of_early_segments_that_nobody_takes_are_outputs_of_the_pipeline() -> None:
    wiring = wire([part(["x"], ["a", "head"]), part(["a"], ["y"])])
    assert names(wiring.outputs) == ["head", "y"]


def test_a_named_output_is_kept_although_a_later_segment_takes_it() -> None:
    wiring = wire([part(["x"], ["a"]), part(["a"], ["y"])], outputs=["y", "a", "x"])
    assert names(wiring.outputs) == ["y", "a", "x"]
    assert [stage.drops for stage in wiring.stages] == [(), ()]


def test_only_what_somebody_needs_is_fetched() -> None:
    wiring = wire([part(["x"], ["a", "unused"]), part(["a"], ["y"])], outputs=["y"])
    assert [[spec.name for spec in stage.fetches] for stage in wiring.stages] == [["a"], ["y"]]


def test_an_input_that_is_an_output_is_passed_on_without_a_copy() -> None:
    wiring = wire([part(["x", "z"], ["a", "z"]), part(["a"], ["y"])])
    assert names(wiring.outputs) == ["z", "y"]
    assert [[spec.name for spec in stage.fetches] for stage in wiring.stages] == [["a"], ["y"]]


def test_a_later_segment_may_take_a_pipeline_input_that_is_declared() -> None:
    late = TensorSpec("late", (2,), np.dtype(np.int32))
    first = TensorSpec("x", (2,), np.dtype(np.int32))
    segments = [part(["x"], ["a"]), part(["a", "late"], ["y"])]
    assert names(wire(segments, inputs=[first, late]).inputs) == ["x", "late"]
    with pytest.raises(PipelineError, match="segment 1 needs tensor 'late'"):
        wire(segments)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([part(["a"], ["y"]), part(["x"], ["a"])], r"segment 1 needs tensor 'x' int32\[2\].*available: 'a'.*'y'"),
        ([part(["x"], ["a"]), part(["b"], ["y"])], r"segment 1 needs tensor 'b'.*segments 0 to 0.*'x'.*'a'"),
        ([part(["x"], ["a"]), part(["a"], ["y"], shapes={"a": (3,)})], r"needs tensor 'a' int32\[3\].*int32\[2\]"),
        ([part(["x"], ["a"]), part(["a"], ["y"], dtypes={"a": np.int8})], r"needs tensor 'a' int8\[2\].*int32\[2\]"),
        ([part(["x"], ["a"]), part(["a"], ["x"])], r"segment 1 gives 'x'"),
    ],
)
def test_segments_that_do_not_fit(segments: list[Fake], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        wire(segments)


def test_an_unknown_output() -> None:
    with pytest.raises(PipelineError, match="no segment gives the output 'z'; available: 'x'"):
        wire([part(["x"], ["y"])], outputs=["z"])


@given(st.data())
def test_every_read_finds_its_tensor_live_and_in_the_end_only_outputs_are(data: st.DataObject) -> None:
    known, segments = ["x"], []
    for i in range(data.draw(st.integers(1, 6))):
        inputs = data.draw(st.lists(st.sampled_from(known), unique=True)) if i else ["x"]
        outputs = [f"{i}.{j}" for j in range(data.draw(st.integers(1, 3)))]
        segments.append(part(inputs, outputs))
        known += outputs
    outputs = data.draw(st.none() | st.lists(st.sampled_from(known), unique=True, min_size=1))
    wiring = wire(segments, outputs=outputs)
    live = set(wiring.relayed)
    for stage in wiring.stages:
        assert names_of(stage.reads) <= live
        live -= set(stage.drops)
        live |= names_of(stage.fetches)
    assert live == set(names(wiring.outputs))
