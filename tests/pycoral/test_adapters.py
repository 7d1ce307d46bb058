"""Adapters read and write what is in an interpreter's tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.pycoral.adapters import classify, common, detect, segment
from atoll.pycoral.adapters.detect import BBox


class Tensors:
    """An interpreter's tensors without the interpreter: inputs first."""

    def __init__(self, image: np.ndarray, *outputs: np.ndarray, quantization: tuple[float, int] = (0.0, 0)) -> None:
        self._tensors = [image, *outputs]
        self._quantization = quantization

    def _detail(self, index: int) -> dict[str, Any]:
        tensor = self._tensors[index]
        shape = np.array(tensor.shape)
        return {"index": index, "shape": shape, "dtype": tensor.dtype.type, "quantization": self._quantization}

    def get_input_details(self) -> list[dict[str, Any]]:
        return [self._detail(0)]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [self._detail(i) for i in range(1, len(self._tensors))]

    def tensor(self, index: int) -> Any:
        return lambda: self._tensors[index]

    def get_tensor(self, index: int) -> np.ndarray:
        return self._tensors[index].copy()


@given(width=st.integers(1, 40), height=st.integers(1, 40))
def test_a_resized_input_keeps_its_proportions_and_has_zeros_beside_it(width: int, height: int) -> None:
    image = np.full((1, 60, 50, 3), 9, np.uint8)
    interpreter = Tensors(image)
    assert common.input_size(interpreter) == (50, 60)
    sizes = []

    def resize(size: tuple[int, int]) -> np.ndarray:
        sizes.append(size)
        return np.full((size[1], size[0], 3), 7, np.uint8)

    inside, (sx, sy) = common.set_resized_input(interpreter, (width, height), resize)
    [(w, h)] = sizes
    assert sx == sy == min(50 / width, 60 / height)
    assert inside.shape == (h, w, 3)
    assert max(w / 50, h / 60) >= 0.98
    assert (image[0, :h, :w] == 7).all()
    assert image[0].sum() == 7 * 3 * w * h
    common.set_input(interpreter, np.full((60, 50, 3), 4, np.uint8))
    assert (image == 4).all()


def test_scores_are_real_numbers() -> None:
    image = np.zeros((1, 1, 1, 3), np.uint8)
    quantised = Tensors(image, np.array([[0, 128, 255]], np.uint8), quantization=(0.5, 128))
    assert classify.get_scores(quantised).tolist() == [-64.0, 0.0, 63.5]
    assert classify.num_classes(quantised) == 3
    real = Tensors(image, np.array([[0.5, 0.25]], np.float32))
    assert classify.get_scores(real).tolist() == [0.5, 0.25]
    assert classify.get_classes(quantised, top_k=1) == [(2, 63.5)]


@given(st.lists(st.floats(-100, 100), max_size=20), st.integers(0, 25), st.floats(-100, 100))
def test_the_best_classes(scores: list[float], top_k: int, threshold: float) -> None:
    found = classify.get_classes_from_scores(np.array(scores), top_k, threshold)
    best = sorted(scores, reverse=True)[:top_k]
    assert [c.score for c in found] == [score for score in best if score >= threshold]
    assert all(scores[c.id] == c.score for c in found)
    assert len(classify.get_classes_from_scores(np.array(scores))) == len(scores)


@pytest.mark.parametrize("order", ["vendor", "newer"])
def test_objects_come_in_pixels_of_the_image(order: str) -> None:
    boxes = np.array([[[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0], [0.3, 0.3, 0.4, 0.4]]], np.float32)
    ids, scores = np.array([[5, 6, 7]], np.float32), np.array([[0.9, 0.4, 0.8]], np.float32)
    count = np.array([2], np.float32)
    outputs = (boxes, ids, scores, count) if order == "vendor" else (scores, boxes, count, ids)
    interpreter = Tensors(np.zeros((1, 100, 200, 3), np.uint8), *outputs)
    objects = detect.get_objects(interpreter, 0.5, (0.5, 0.5))
    assert [(o.id, round(o.score, 3), tuple(o.bbox)) for o in objects] == [(5, 0.9, (80, 20, 240, 100))]
    assert len(detect.get_objects(interpreter)) == 2


coordinates = st.integers(-100, 100)
boxes_ = st.builds(
    lambda x, y, w, h: BBox(x, y, x + w, y + h), coordinates, coordinates, st.integers(1, 50), st.integers(1, 50)
)


@given(boxes_, boxes_)
def test_boxes(a: BBox, b: BBox) -> None:
    assert a.valid
    assert a.area == a.width * a.height
    both, around = BBox.intersect(a, b), BBox.union(a, b)
    assert BBox.intersect(a, around) == a
    pixels = {(x, y) for x in range(a.xmin, a.xmax) for y in range(a.ymin, a.ymax)}
    others = {(x, y) for x in range(b.xmin, b.xmax) for y in range(b.ymin, b.ymax)}
    assert BBox.iou(a, b) == pytest.approx(len(pixels & others) / len(pixels | others))
    assert (both.valid and both.area > 0) == bool(pixels & others)
    assert a.translate(3, 4).translate(-3, -4) == a
    assert a.scale(2, 3) == (a.xmin * 2, a.ymin * 3, a.xmax * 2, a.ymax * 3)
    assert a.map(float).map(int) == a


def test_segmentation() -> None:
    classes = np.arange(12).reshape(1, 3, 4).astype(np.int64)
    result = segment.get_output(Tensors(np.zeros((1, 3, 4, 3), np.uint8), classes))
    assert result.dtype == np.uint8
    assert result.tolist() == classes[0].tolist()
