"""An interpreter with detected boxes as its outputs → objects in the image's pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from atoll.products.tensor_spec import Array
from atoll.pycoral.adapters import common


class BBox(NamedTuple):
    """A rectangle; x grows to the right, y downwards."""

    xmin: Any
    ymin: Any
    xmax: Any
    ymax: Any

    @property
    def width(self) -> Any:
        """Along x."""
        return self.xmax - self.xmin

    @property
    def height(self) -> Any:
        """Along y."""
        return self.ymax - self.ymin

    @property
    def area(self) -> Any:
        """Width times height."""
        return self.width * self.height

    @property
    def valid(self) -> bool:
        """Whether neither side is negative."""
        return bool(self.width >= 0 and self.height >= 0)

    def scale(self, sx: float, sy: float) -> BBox:
        """Each x times ``sx``, each y times ``sy``."""
        return BBox(self.xmin * sx, self.ymin * sy, self.xmax * sx, self.ymax * sy)

    def translate(self, dx: float, dy: float) -> BBox:
        """Moved by ``dx`` and ``dy``."""
        return BBox(self.xmin + dx, self.ymin + dy, self.xmax + dx, self.ymax + dy)

    def map(self, f: Callable[[Any], Any]) -> BBox:
        """``f`` of each coordinate."""
        return BBox(*(f(value) for value in self))

    @staticmethod
    def intersect(a: BBox, b: BBox) -> BBox:
        """What lies in both; not :attr:`valid` when nothing does."""
        return BBox(*(max(pair) for pair in zip(a[:2], b[:2])), *(min(pair) for pair in zip(a[2:], b[2:])))

    @staticmethod
    def union(a: BBox, b: BBox) -> BBox:
        """The smallest box around both."""
        return BBox(*(min(pair) for pair in zip(a[:2], b[:2])), *(max(pair) for pair in zip(a[2:], b[2:])))

    @staticmethod
    def iou(a: BBox, b: BBox) -> float:
        """Intersection over union: 1 when equal, 0 when apart."""
        common_box = BBox.intersect(a, b)
        if not common_box.valid:
            return 0.0
        whole = a.area + b.area - common_box.area
        return float(common_box.area / whole) if whole else 0.0


class Object(NamedTuple):
    """What was detected: its class, its score, and where."""

    id: int
    score: float
    bbox: BBox


def get_objects(
    interpreter: Any, score_threshold: float = -float("inf"), image_scale: tuple[float, float] = (1.0, 1.0)
) -> list[Object]:
    """The objects of the last inference with a score of ``score_threshold`` or more, boxes in pixels of the image.

    ``image_scale``: the factors that :func:`~atoll.pycoral.adapters.common.set_resized_input` returned. The model has
    the four outputs of the TensorFlow Lite detection post-processing: boxes (ymin, xmin, ymax, xmax in shares of the
    input), class ids, scores, count; those of newer converters, scores first, are recognised by their shapes.
    """
    boxes, ids, scores, count = _outputs(interpreter)
    width, height = common.input_size(interpreter)
    sx, sy = width / image_scale[0], height / image_scale[1]
    objects = []
    for (ymin, xmin, ymax, xmax), number, score in list(zip(boxes, ids, scores))[:count]:
        if score >= score_threshold:
            box = BBox(xmin, ymin, xmax, ymax).scale(sx, sy).map(int)
            objects.append(Object(int(number), float(score), box))
    return objects


def _outputs(interpreter: Any) -> tuple[Array, Array, Array, int]:
    tensors = [np.array(common.output_tensor(interpreter, i)) for i in range(4)]
    if tensors[0].ndim == 3:
        boxes, ids, scores, count = tensors
    else:  # scores, boxes, count, class ids
        scores, boxes, count, ids = tensors
    return boxes[0], ids[0], scores[0], int(count[0])
