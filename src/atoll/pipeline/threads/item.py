"""One inference on its way through the pipeline, and what may go wrong with it."""

from __future__ import annotations

from atoll.errors import PipelineError
from atoll.products.tensor_spec import Array


class StageError(PipelineError):
    """A segment that failed on one item; the exception it raised is the ``__cause__``.

    ``segment`` counts from 0; so does ``item``, the number that ``Pipeline.push`` returned for it. ``device`` is the
    name of the device that failed last, "" when the interpreter does not tell.
    """

    def __init__(self, segment: int, item: int, cause: BaseException, device: str = "") -> None:
        on = f" ({device})" if device else ""
        super().__init__(f"segment {segment}{on} failed on item {item}: {str(cause) or type(cause).__name__}")
        self.segment = segment
        self.item = item
        self.device = device
        self.__cause__ = cause


class Item:
    """One inference on its way: its number, the tensors somebody still needs, or its failure."""

    __slots__ = ("attempts", "error", "number", "tensors")

    def __init__(self, number: int, tensors: dict[str, Array]) -> None:
        self.number = number
        self.tensors = tensors
        self.error: StageError | None = None
        self.attempts = 0
