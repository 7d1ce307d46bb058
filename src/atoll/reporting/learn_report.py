"""What ``atoll learn`` says: the classifier that was written, and how well it does on images that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atoll.products.result import Result
from atoll.products.table import Column, Table


@dataclass(frozen=True, slots=True, repr=False)
class LearnReport(Result):
    """A classifier, and how it was trained and tested."""

    schema: ClassVar[str] = "learn/1"

    output: str
    """The classifier's file."""
    labels_file: str
    labels: tuple[str, ...]
    """The names of the classes, by their numbers."""
    method: str
    """``imprint`` or ``softmax``."""
    trained_on: int
    """Images."""
    tested_on: int
    """Images that were held out; the file that was written classified them."""
    top1: float | None
    """Share of them that was recognised, 0 to 1; None: there are none."""
    confusion: tuple[tuple[int, ...], ...]
    """``confusion[i][j]``: how many of them show class i and were taken for class j."""
    iterations: int | None = None
    """Batches trained on. This and the following are of gradient descent only."""
    loss: float | None = None
    """Cross entropy of the last batch, in nats."""
    train_accuracy: float | None = None
    """Share of the trained images that the layer recognises before it is quantised, 0 to 1."""
    curve: str | None = None
    """The file with the learning curve."""

    def answer(self) -> tuple[str, ...]:
        """What was made of how much, and how good it is."""
        made = (
            f"{self.output}: {len(self.labels)} classes, trained on {self.trained_on} images; "
            f"labels in {self.labels_file}"
        )
        if self.top1 is None:
            return made, "No images were held out: how well it does is not known."
        return made, f"Top-1 accuracy on {self.tested_on} held-out images: {self.top1:.1%}"

    def tables(self) -> tuple[Table, ...]:
        """What each class's held-out images were taken for."""
        columns = (
            Column("class", "name"),
            Column("images", "number"),
            Column("recognised", "share"),
            Column("others taken for"),
        )
        rows = [
            (self.labels[shown], sum(taken), taken[shown] / sum(taken), self._mistakes(shown))
            for shown, taken in enumerate(self.confusion)
            if any(taken)
        ]
        return (Table.of(columns, rows, "Held-out images"),) if rows else ()

    def _mistakes(self, shown: int) -> str:
        counts = [(count, j) for j, count in enumerate(self.confusion[shown]) if count and j != shown]
        return ", ".join(f"{self.labels[j]} ({count})" for count, j in sorted(counts, key=lambda item: -item[0]))
