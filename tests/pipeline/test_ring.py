"""A ring gives every item once, in order, whole, and never more than fit; both its sides can always be left."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import PipelineError
from atoll.pipeline import Pool, StageError, TensorSpec
from atoll.pipeline.processes.ring import Ring, RingSignals, RingSink, RingSource
from atoll.pipeline.threads.item import Item
from atoll.pipeline.threads.queues import ChannelClosed
from pipeline_fakes import PATIENCE_S

SPECS = [
    TensorSpec("a", (2, 3), np.dtype(np.int8)),
    TensorSpec("empty", (0, 4), np.dtype(np.float32)),
    TensorSpec("scalar", (), np.dtype(np.int64)),
]


@contextmanager
def ring(frames: int, specs: list[TensorSpec] = SPECS) -> Iterator[tuple[Ring, Ring]]:
    """Its writing and its reading side."""
    signals = RingSignals(multiprocessing.get_context("spawn"))
    writer = Ring.create(specs, frames, signals)
    reader = Ring(writer.memory, signals)
    writer.forget()
    try:
        yield writer, reader
    finally:
        for side in (writer, reader):
            side.abort()
            side.close()
        signals.close()


def tensors(value: int) -> dict[str, np.ndarray]:
    return {
        "a": np.full((2, 3), value, np.int8),
        "empty": np.empty((0, 4), np.float32),
        "scalar": np.array(value, np.int64),
    }


@settings(max_examples=25)
@given(frames=st.integers(1, 4), plan=st.lists(st.booleans(), max_size=60), readers=st.integers(1, 3))
def test_everything_comes_out_once_and_in_order(frames: int, plan: list[bool], readers: int) -> None:
    found: list[tuple[int, int | str]] = []
    with ring(frames) as (writer, reader):

        def read() -> None:
            pool = Pool()
            try:
                while True:
                    item = reader.get(pool)
                    value = str(item.error) if item.error else int(item.tensors["scalar"])
                    if not item.error:
                        assert (item.tensors["a"] == value).all() and item.tensors["empty"].shape == (0, 4)
                    found.append((item.number, value))
            except ChannelClosed:
                pass

        threads = [threading.Thread(target=read) for _ in range(readers)]
        for thread in threads:
            thread.start()
        for number, good in enumerate(plan):
            if good:
                writer.put(tensors(number))
            else:
                writer.put_error(StageError(3, number, ValueError("bad"), "pci:1"))
        writer.finish()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    expected = [(n, n if good else f"segment 3 (pci:1) failed on item {n}: bad") for n, good in enumerate(plan)]
    assert sorted(found, key=lambda pair: pair[0]) == expected


def test_never_more_than_fit() -> None:
    with ring(2) as (writer, reader):
        sink, source = RingSink(writer, 0), RingSource(reader, Pool())
        writer.put(tensors(0))
        writer.put(tensors(1))
        third = threading.Thread(target=writer.put, args=(tensors(2),))
        third.start()
        third.join(0.05)
        assert third.is_alive() and len(source) == 2 and sink.size == 2
        assert int(source.get().tensors["scalar"]) == 0
        third.join(PATIENCE_S)
        assert not third.is_alive() and len(source) == 2


@pytest.mark.parametrize("everywhere", [False, True])
def test_an_abort_wakes_every_thread_of_its_side_or_of_both(everywhere: bool) -> None:
    with ring(1) as (writer, reader):
        left: list[str] = []

        def leave(name: str, wait: object) -> None:
            try:
                wait()  # type: ignore[operator]
            except ChannelClosed:
                left.append(name)

        readers = [threading.Thread(target=leave, args=("read", lambda: reader.get(Pool()))) for _ in range(3)]
        for thread in readers:
            thread.start()
        if everywhere:
            writer.abort()
        else:
            reader.stop_reading()
        for thread in readers:
            thread.join(PATIENCE_S)
        assert left == ["read"] * 3
        if everywhere:
            with pytest.raises(ChannelClosed):
                writer.put(tensors(1))
            writer.finish()  # returns


def test_tensors_are_copies() -> None:
    with ring(1) as (writer, reader):
        writer.put(tensors(1))
        first = reader.get(Pool()).tensors
        writer.put(tensors(2))
        assert int(first["scalar"]) == 1 and int(reader.get(Pool()).tensors["scalar"]) == 2


def test_a_writer_that_leaves_gives_the_reader_nothing_to_read() -> None:
    """A token too many would make it take what an older item left in the frame."""
    with ring(2) as (writer, reader):
        writer.put(tensors(1))
        assert reader.get(Pool()).number == 0
        RingSink(writer, 0).abort()
        assert not writer._signals.items.acquire(False)
        reader.stop_reading()


def test_what_the_ring_was_not_made_for_is_a_failure_of_its_item() -> None:
    wrong = [
        {**tensors(1), "a": np.zeros((3,), np.int8)},
        {**tensors(1), "a": np.zeros((1, 3), np.int8)},
        {**tensors(1), "scalar": np.array(1.5)},
    ]
    with ring(3) as (writer, reader):
        sink = RingSink(writer, 7)
        for number, bad in enumerate(wrong):
            sink.put(Item(number, bad))
        for number in range(3):
            error = reader.get(Pool()).error
            assert error is not None and (error.segment, error.item) == (7, number)
            assert "expected tensor" in str(error)


class UnreadableError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


@pytest.mark.parametrize(
    ("cause", "kind", "text"),
    [
        (KeyError("k"), KeyError, "'k'"),
        (UnreadableError("a", "b"), PipelineError, "UnreadableError: ab"),
        (ValueError("x" * 100_000), PipelineError, "ValueError: xxx"),
        (ValueError(lambda: 0), PipelineError, "ValueError: <function"),
    ],
    ids=["plain", "cannot be made again", "large", "cannot be pickled"],
)
def test_exceptions_travel_as_far_as_they_can(cause: Exception, kind: type[Exception], text: str) -> None:
    with ring(1) as (writer, reader):
        writer.put_error(StageError(0, 0, cause))
        error = reader.get(Pool()).error
        assert error is not None and type(error.__cause__) is kind and text in str(error.__cause__)
        assert len(str(error)) < 5000


def test_a_reader_that_fails_leaves_the_ring_closable() -> None:
    class Failing:
        def allocate(self, spec: TensorSpec, /) -> np.ndarray:
            raise MemoryError(str(spec))

    with ring(1) as (writer, reader):
        writer.put(tensors(1))
        with pytest.raises(MemoryError) as caught:
            reader.get(Failing())
        reader.abort()
        reader.close()
        assert caught.value.__traceback__


def test_memory_that_is_not_there_is_refused() -> None:
    specs = [TensorSpec("large", (1 << 50,), np.dtype(np.int8))]
    signals = RingSignals(multiprocessing.get_context("spawn"))
    with pytest.raises(PipelineError, match="no shared memory for 4 frames of 1125899906842"):
        Ring.create(specs, 4, signals)
    for dtype in ("S4", "U2", "O"):
        with pytest.raises(PipelineError, match=r"tensor 'text' .* cannot go to another process"):
            Ring.create([TensorSpec("text", (2,), np.dtype(dtype))], 1, signals)
    signals.close()
