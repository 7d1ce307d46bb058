"""Interpreters of a model's segments → a pipeline with the vendor's calls, errors and queues."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from atoll.errors import PipelineClosedError, PipelineError
from atoll.pipeline.pipeline import Pipeline
from atoll.pipeline.threads.item import StageError
from atoll.pipeline.threads.queues import UNBOUNDED
from atoll.pipeline.wiring import InterpreterLike
from atoll.products.tensor_spec import Array

_OFF = "Pipeline was turned off before."


class SegmentStats(NamedTuple):
    """What a segment did so far; both 0 before its first inference."""

    total_time_ns: int
    num_inferences: int


class _Draining(Pipeline):
    """Dropped without being closed, it finishes what was pushed."""

    _on_drop = "close"


class PipelinedModelRunner:
    """Runs a segmented model, one thread per segment; the vendor's interface and rules.

    ``interpreters``: one per segment, in order, with allocated tensors; anything with LiteRT's interface. The input
    and output queues are unbounded until :meth:`set_input_queue_size` and :meth:`set_output_queue_size`; between two
    segments one result can wait. The first error ends the pipeline. (:class:`atoll.Pipeline` is bounded by default,
    and knows replicas, retries and asyncio.)

    Raises:
        ValueError: there is no interpreter, or the segments do not fit together.
    """

    def __init__(self, interpreters: Sequence[InterpreterLike]) -> None:
        self._interpreters = list(interpreters)
        if not self._interpreters:
            raise ValueError("At least one interpreter expected")
        _require_inputs(self._interpreters)
        first, last = self._interpreters[0], self._interpreters[-1]
        self._types = {str(detail["name"]): detail["dtype"] for detail in first.get_input_details()}
        try:
            self._pipeline = _Draining(
                self._interpreters,
                outputs=[str(detail["name"]) for detail in last.get_output_details()],
                input_queue=UNBOUNDED,
                stage_queue=1,
                output_queue=UNBOUNDED,
                memory_budget=None,
                allocate=False,
            )
        except PipelineError as error:
            raise ValueError(str(error)) from error
        self._shapes = {spec.name: spec.shape for spec in self._pipeline.inputs}
        self._lock = threading.Lock()
        self._closed = False
        self._undelivered = 0

    def interpreters(self) -> list[InterpreterLike]:
        """The interpreters that the runner was made with."""
        return self._interpreters

    def set_input_queue_size(self, size: int) -> None:
        """How many inputs may wait, from now on; :class:`ValueError` for less than 1."""
        self._pipeline.resize(input_queue=_checked_size(size))

    def set_output_queue_size(self, size: int) -> None:
        """How many results may wait, from now on; :class:`ValueError` for less than 1."""
        self._pipeline.resize(output_queue=_checked_size(size))

    def push(self, input_tensors: Mapping[str, Array]) -> None:
        """Hand over one set of inputs by name (copied), or close the pipeline with ``{}``.

        Blocks while the input queue is full. An array may have any shape with the right number of elements.

        Raises:
            ValueError: the inputs are not those of the model.
            RuntimeError: a segment failed, or the pipeline was closed before.
        """
        if not input_tensors:
            self._close()
            return
        tensors = self._checked(input_tensors)
        try:
            with self._lock:
                self._undelivered += 1  # before the result can be there
            self._pipeline.push(tensors)
        except BaseException as error:
            with self._lock:
                self._undelivered -= 1
            if isinstance(error, StageError):
                raise self._failure(error) from error
            if isinstance(error, PipelineClosedError):
                raise RuntimeError(_OFF) from None
            raise

    def pop(self) -> dict[str, Array] | None:
        """The next result by name, in the order of the pushes; None once the pipeline is closed and drained.

        Blocks until there is one.

        Raises:
            RuntimeError: a segment failed.
        """
        error: StageError | None
        try:
            result = self._pipeline.pop()
            error = self._pipeline.failure if result is not None else None
        except StageError as failure:
            result, error = None, failure
        with self._lock:
            expected = self._undelivered
            self._undelivered = max(expected - 1, 0)
        if error is not None:
            if not expected:
                return None  # every input that was lost has been reported
            raise self._failure(error) from error
        return result

    def segment_stats(self) -> list[SegmentStats]:
        """Time and number of inferences of each segment."""
        return [SegmentStats(round(stage.total_s * 1e9), stage.count) for stage in self._pipeline.stats()]

    def _close(self) -> None:
        if self._pipeline.failure is not None:
            raise self._failure(self._pipeline.failure)
        with self._lock:
            if self._closed:
                raise RuntimeError(_OFF)
            self._closed = True
        self._pipeline.close()

    def _checked(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        if len(tensors) != len(self._types):
            raise ValueError(f"Expected input of length {len(self._types)}, but got {len(tensors)}")
        checked = {}
        for name, tensor in tensors.items():
            if name not in self._types:
                raise ValueError(f"The model has no input '{name}', but {', '.join(map(repr, self._types))}")
            dtype, shape = self._types[name], self._shapes[name]
            if not isinstance(tensor, np.ndarray) or tensor.dtype != dtype:
                raise ValueError(f"Input should be a list of numpy array of type {dtype}")
            if tensor.size != int(np.prod(shape)):
                raise ValueError(f"Input '{name}' should have the shape {list(shape)}, but has {list(tensor.shape)}")
            checked[name] = tensor.reshape(shape)
        return checked

    def _failure(self, error: StageError) -> RuntimeError:
        message = str(error.__cause__)
        if isinstance(error.__cause__, ValueError) and "unallocated" in message:
            # LiteRT refuses inputs already; the vendor's runner gets as far as invoke, which says this.
            try:
                self._interpreters[error.segment].invoke()
            except RuntimeError as own:
                message = str(own)
        return RuntimeError(f"Segment {error.segment} runner error: {message}")


def _require_inputs(interpreters: Sequence[InterpreterLike]) -> None:
    known: set[Any] = {detail["name"] for detail in interpreters[0].get_input_details()}
    for i, interpreter in enumerate(interpreters):
        if not all(detail["name"] in known for detail in interpreter.get_input_details()):
            raise ValueError(f"Interpreter {i} can not get its input tensors")
        known.update(detail["name"] for detail in interpreter.get_output_details())


def _checked_size(size: int) -> int:
    if size < 1:
        raise ValueError(f"A queue must hold at least 1 item, not {size}")
    return size
