"""LiteRT's own interpreters, cut with skip tensors, give what the whole model gives, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from atoll.pipeline import Pipeline, StageError
from pipeline_fakes import Tensors, litert

RNG = np.random.default_rng(2)
PARTS = [("x", "x", "a"), ("a", "z", "b"), ("b", "a", "c"), ("c", "x", "y")]


def whole(inputs: Tensors) -> np.ndarray:
    interpreter = litert(PARTS, ["x", "z"], ["y"])
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], inputs[details["name"]])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def segments() -> list[object]:
    return [
        litert(PARTS[:1], ["x", "z"], ["a", "z"]),
        litert(PARTS[1:2], ["a", "z"], ["b"]),
        litert(PARTS[2:], ["b", "a", "x"], ["y"]),
    ]


@pytest.mark.parametrize("allocated", [True, False])
def test_segments_equal_the_whole(allocated: bool) -> None:
    parts = segments()
    if allocated:
        for part in parts:
            part.allocate_tensors()  # type: ignore[attr-defined]
    items = [{n: RNG.standard_normal(4, np.float32) for n in ("x", "z")} for _ in range(30)]
    with Pipeline(parts, allocate=not allocated) as pipeline:  # type: ignore[arg-type]
        results = list(pipeline.map(items))
    for item, result in zip(items, results):
        assert list(result) == ["y"]
        assert result["y"].tobytes() == whole(item).tobytes()


def test_a_kept_view_into_an_interpreter_is_reported_as_the_segments_failure() -> None:
    parts = segments()
    pipeline = Pipeline(parts)  # type: ignore[arg-type]
    view = parts[1].tensor(0)()  # type: ignore[attr-defined]
    pipeline.push({"x": np.zeros(4, np.float32), "z": np.zeros(4, np.float32)})
    with pytest.raises(StageError, match="segment 1 failed on item 0: There is at least 1 reference"):
        pipeline.pop()
    assert view.shape == (4,)
    assert pipeline.join(60)


def test_without_allocated_tensors_the_interpreters_own_message_comes_through() -> None:
    pipeline = Pipeline(segments(), allocate=False)  # type: ignore[arg-type]
    pipeline.push({"x": np.zeros(4, np.float32), "z": np.zeros(4, np.float32)})
    with pytest.raises(StageError, match=r"segment 0 failed on item 0: .+"):
        pipeline.pop()
    assert pipeline.join(60)
