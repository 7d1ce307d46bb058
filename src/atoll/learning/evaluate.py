"""Labels and predictions → top-1 accuracy and the confusion table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Evaluation:
    """``confusion[i][j]``: how many images of class i were taken for class j, classes as in ``labels``."""

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        """How many images were classified."""
        return sum(map(sum, self.confusion))

    @property
    def top1(self) -> float:
        """Share of the images that were recognised; 0 without images."""
        right = sum(row[i] for i, row in enumerate(self.confusion))
        return right / self.total if self.total else 0.0


def evaluate(truth: Sequence[int], predicted: Sequence[int], labels: Sequence[str]) -> Evaluation:
    """Count; classes are numbered as in ``labels``."""
    table = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(table, (np.asarray(truth, np.int64), np.asarray(predicted, np.int64)), 1)
    return Evaluation(tuple(labels), tuple(tuple(row) for row in table.tolist()))
