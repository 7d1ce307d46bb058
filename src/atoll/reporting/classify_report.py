"""What ``atoll classify`` says: the most probable classes of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atoll.products.result import Result
from atoll.products.table import Column, Table


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One of the classes that an image may show."""

    image: str
    class_id: int
    label: str
    """The class's name; ``class N`` where it has none."""
    score: float
    """The model's output in real values; a probability, 0 to 1, where it ends with SOFTMAX."""


@dataclass(frozen=True, slots=True, repr=False)
class ClassifyReport(Result):
    """The most probable classes of each image, the best first."""

    schema: ClassVar[str] = "classify/2"

    model: str
    images: tuple[str, ...]
    threshold: float
    """Classes of smaller scores are left out."""
    results: tuple[ClassScore, ...]

    def answer(self) -> tuple[str, ...]:
        """What a single image shows; and which images show none of the classes."""
        named = {result.image for result in self.results}
        shown = [f"{result.image} shows: {result.label}" for result in self.results[:1] if len(self.images) == 1]
        nothing = [
            f"No class of {image} has a score of {self.threshold:g} or more."
            for image in dict.fromkeys(self.images)
            if image not in named
        ]
        return (*shown, *nothing)

    def tables(self) -> tuple[Table, ...]:
        """The classes of each image."""
        columns = (
            Column("image", "name"),
            Column("class", "number", importance=1),
            Column("label"),
            Column("score", "number", digits=3),
        )
        rows = [(result.image, result.class_id, result.label, result.score) for result in self.results]
        return (Table.of(columns, rows),) if rows else ()
