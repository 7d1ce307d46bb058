"""What goes in comes out: once, in order, unchanged by what comes later; and wrong input is refused by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InputDtypeError, InputError, InputShapeError, PipelineClosedError, PipelineError
from atoll.pipeline import Pipeline
from pipeline_fakes import Fake, chain, expected, frame, step


@pytest.mark.parametrize("stages", [1, 2, 5, 8])
def test_every_item_comes_out_once_and_in_order(stages: int) -> None:
    with Pipeline(chain(stages)) as pipeline:
        results = [int(r[f"t{stages}"][0]) for r in pipeline.map(frame(i) for i in range(200))]
    assert results == [expected(i, stages) for i in range(200)]
    assert [s.count for s in pipeline.stats()] == [200] * stages


def test_push_numbers_the_items_and_results_can_be_popped_after_the_block() -> None:
    with Pipeline(chain(2)) as pipeline:
        assert [pipeline.push({"t0": frame(i)}) for i in range(3)] == [0, 1, 2]
    assert [int(pipeline.pop()["t2"][1]) for _ in range(3)] == [expected(i, 2) for i in range(3)]  # type: ignore[index]
    assert pipeline.pop() is None
    assert pipeline.pop() is None


def test_tensors_that_skip_segments_are_relayed() -> None:
    def add(inputs: list[str], output: str) -> Fake:
        return Fake(inputs, [output], lambda tensors: {output: sum(tensors.values())})

    segments = [
        Fake(["x"], ["a", "skip"], lambda t: {"a": t["x"] + 1, "skip": t["x"] * 100}),
        add(["a"], "b"),
        Fake(["b"], ["c", "head"], lambda t: {"c": t["b"] * 2, "head": -t["b"]}),
        add(["c", "skip", "x"], "y"),
    ]
    with Pipeline(segments) as pipeline:
        for i, result in enumerate(pipeline.map([frame(i) for i in range(50)])):
            assert list(result) == ["head", "y"]
            assert result["head"].tolist() == [-(i + 1)] * 2
            assert result["y"].tolist() == [(i + 1) * 2 + i * 100 + i] * 2


def test_an_input_may_be_an_output() -> None:
    segments = [Fake(["x", "id"], ["a", "id"], lambda t: {"a": t["x"] + 1}), step_named("a", "y")]
    with Pipeline(segments) as pipeline:
        pipeline.push({"x": frame(1), "id": frame(42)})
        result = pipeline.pop()
    assert result is not None
    assert {name: int(array[0]) for name, array in result.items()} == {"id": 42, "y": 7}


def step_named(source: str, target: str) -> Fake:
    return Fake([source], [target], lambda t: {target: t[source] * 3 + 1})


def test_inputs_are_copied_and_results_belong_to_the_caller() -> None:
    buffer = frame(0)
    kept = []
    with Pipeline(chain(3), outputs=["t0", "t1", "t3"]) as pipeline:

        def reused() -> Iterator[np.ndarray]:
            for i in range(40):
                buffer[:] = i
                yield buffer

        kept = list(pipeline.map(reused()))
    for i, result in enumerate(kept):
        assert [int(array[0]) for array in result.values()] == [i, expected(i, 1), expected(i, 3)]
    arrays = [array for result in kept for array in result.values()]
    assert len({array.__array_interface__["data"][0] for array in arrays}) == len(arrays)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"t0": np.zeros(3, np.int32)}, InputShapeError, r"input 't0': expected shape \(2,\), got \(3,\)"),
        ({"t0": np.zeros((1, 2), np.int32)}, InputShapeError, r"got \(1, 2\)"),
        ({"t0": np.zeros(2, np.float32)}, InputDtypeError, "input 't0': expected an array of int32, got float32"),
        ({"t0": [1, 2]}, InputDtypeError, "got a list"),
        (None, InputDtypeError, "got a NoneType"),
        ({"other": frame(1)}, InputError, "expected the inputs 't0', got 'other'"),
        ({}, InputError, "got none"),
        ({"t0": frame(1), "t1": frame(1)}, InputError, "got 't0', 't1'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_and_the_pipeline_goes_on(
    inputs: Any, error: type[InputError], message: str
) -> None:
    with Pipeline(chain(2)) as pipeline:
        with pytest.raises(error, match=message):
            pipeline.push(inputs)
        assert [int(r["t2"][0]) for r in pipeline.map([frame(5)])] == [expected(5, 2)]


def test_a_lone_array_needs_a_model_with_one_input() -> None:
    with (
        Pipeline([Fake(["x", "z"], ["y"], lambda t: {"y": t["x"]})]) as pipeline,
        pytest.raises(InputError, match="2 inputs: 'x', 'z'"),
    ):
        pipeline.push(frame(1))


@pytest.mark.parametrize("option", ["input_queue", "stage_queue", "output_queue"])
def test_a_queue_without_room_is_refused(option: str) -> None:
    with pytest.raises(PipelineError, match=f"{option} is 0"):
        Pipeline(chain(1), **{option: 0})


def test_segments_that_cannot_be_a_pipeline() -> None:
    with pytest.raises(PipelineError, match="at least one interpreter"):
        Pipeline([])
    one = Fake(["x"], ["x"], lambda _: {})
    with pytest.raises(PipelineError, match="segments 0 and 1 are the same"):
        Pipeline([one, one])
    with pytest.raises(PipelineError, match="segment 1 needs tensor 't2'"):
        Pipeline([step(0), step(2)])
    with pytest.raises(PipelineError, match="on_error"):
        Pipeline(chain(1), on_error="ignore")  # type: ignore[arg-type]


def test_an_interpreter_that_cannot_be_allocated_is_named() -> None:
    segments = chain(2)

    def fail() -> None:
        raise RuntimeError("no memory")

    segments[1].allocate_tensors = fail  # type: ignore[method-assign]
    with pytest.raises(PipelineError, match="segment 1: cannot allocate its tensors: no memory"):
        Pipeline(segments)


def test_map_goes_on_where_the_last_one_ended_and_needs_an_empty_pipeline() -> None:
    with Pipeline(chain(2)) as pipeline:
        assert len(list(pipeline.map([frame(1)] * 5))) == 5
        pipeline.push(frame(9))
        with pytest.raises(PipelineError, match="1 results are still"):
            next(pipeline.map([frame(1)]))
        assert pipeline.pop() is not None
        assert [int(r["t2"][0]) for r in pipeline.map([frame(3)])] == [expected(3, 2)]


def test_map_does_not_wait_for_room_that_only_its_own_pop_makes() -> None:
    sizes = {"input_queue": 1, "stage_queue": 1, "output_queue": 1}
    with Pipeline(chain(3, {2: lambda _: time.sleep(0.002)}), **sizes) as pipeline:
        assert len(list(pipeline.map(frame(i) for i in range(50)))) == 50


def test_leaving_a_map_early_leaves_nothing_behind() -> None:
    with Pipeline(chain(3)) as pipeline:
        for result in pipeline.map(frame(i) for i in range(1000)):
            assert int(result["t3"][0]) == expected(0, 3)
            break
        assert [int(r["t3"][0]) for r in pipeline.map([frame(7)])] == [expected(7, 3)]


@given(good=st.integers(0, 12))
def test_a_bad_input_of_a_map_raises_after_the_results_before_it(good: int) -> None:
    results = []
    with Pipeline(chain(2)) as pipeline:
        bad = np.zeros(5, np.int32)
        with pytest.raises(InputShapeError):
            for result in pipeline.map([*(frame(i) for i in range(good)), bad, frame(0)]):
                results.append(int(result["t2"][0]))
    assert results == [expected(i, 2) for i in range(good)]


def test_pushing_after_close_is_refused() -> None:
    pipeline = Pipeline(chain(2))
    pipeline.push(frame(1))
    pipeline.close()
    pipeline.close()
    with pytest.raises(PipelineClosedError, match="closed"):
        pipeline.push(frame(2))
    with pytest.raises(PipelineClosedError):
        list(Pipeline.map(closed := Pipeline(chain(1)), iter_closing(closed)))
    assert pipeline.pop() is not None
    assert pipeline.pop() is None


def iter_closing(pipeline: Pipeline) -> Iterator[np.ndarray]:
    pipeline.close()
    yield frame(1)


def test_statistics_count_what_was_done() -> None:
    with Pipeline(chain(2)) as pipeline:
        assert [(s.segment, s.count, s.total_s) for s in pipeline.stats()] == [(0, 0, 0), (1, 0, 0)]
        list(pipeline.map([frame(0)] * 20))
    for stats in pipeline.stats():
        assert stats.count == 20
        assert 0 < stats.p50_s <= stats.p95_s <= stats.p99_s
        assert stats.mean_s == pytest.approx(stats.total_s / 20)
        assert 0 < stats.busy_share <= 1
