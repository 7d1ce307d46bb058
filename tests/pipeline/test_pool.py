"""What a caller can still see is never handed out again; what nobody can see is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import PipelineError
from atoll.pipeline import Pipeline, Pool, TensorSpec
from atoll.pipeline.pool import KEPT_BUFFERS, REUSES
from pipeline_fakes import chain, expected, frame, litert

SPEC = TensorSpec("t", (2, 6), np.dtype(np.int16))
reuse = pytest.mark.skipif(not REUSES, reason="without the interpreter lock nothing is used again")


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize(
    "keep",
    [
        lambda a: a,
        lambda a: a[1:],
        lambda a: a[:, ::2].T[1:],
        lambda a: a.reshape(-1)[3:5],
        lambda a: a.view(np.uint8)[0],
        lambda a: memoryview(a),
        lambda a: memoryview(a)[1:],
        lambda a: iter(a),
        lambda a: a.ctypes,
        lambda a: np.broadcast_to(a[0], (5, 6)),
    ],
)
def test_whatever_still_sees_the_memory_keeps_it(keep: Callable[[np.ndarray], Any]) -> None:
    pool = Pool()
    array = pool.allocate(SPEC)
    assert (array.shape, array.dtype, array.flags.c_contiguous, array.flags.writeable) == ((2, 6), np.int16, True, True)
    where, kept = address(array), keep(array)
    del array
    others = [pool.allocate(SPEC) for _ in range(30)]
    assert where not in map(address, others)
    del others, kept
    if REUSES:
        again = [pool.allocate(SPEC) for _ in range(31)]
        assert where in map(address, again)


@reuse
def test_nothing_is_allocated_in_the_steady_state() -> None:
    pool = Pool()
    for _ in range(1000):
        _held = [pool.allocate(SPEC) for _ in range(3)]
    assert pool.allocated <= 6  # three are still held while the next three are made


@given(st.lists(st.integers(0, 30), max_size=120))
def test_live_arrays_never_share_memory(actions: list[int]) -> None:
    pool, live = Pool(), []
    for number, action in enumerate(actions):
        if action < 18 or not live:
            array = pool.allocate(SPEC)
            array[...] = number
            live.append((number, array))
        else:
            del live[action % len(live)]
        assert all((array == value).all() for value, array in live)
    assert len({address(array) for _, array in live}) == len(live)


def test_what_callers_keep_does_not_pile_up_in_the_pool() -> None:
    pool = Pool(kept_bytes=0)
    kept = [pool.allocate(SPEC) for _ in range(500)]
    [shelf] = pool._shelves.values()
    assert len(shelf.buffers) <= KEPT_BUFFERS[0]
    assert len({address(array) for array in kept}) == 500


def test_threads_never_get_the_same_memory() -> None:
    pool, clashes = Pool(), []

    def work(value: int) -> None:
        for _ in range(3000):
            array = pool.allocate(SPEC)
            array[...] = value
            if not (array == value).all():
                clashes.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes


@reuse
def test_a_pipeline_of_litert_interpreters_allocates_nothing_per_inference() -> None:
    pool = Pool()
    parts = [litert([("x", "x", "a")], ["x"], ["a"]), litert([("a", "a", "y")], ["a"], ["y"])]
    with Pipeline(parts, allocator=pool) as pipeline:
        inputs = [np.full(4, i, np.float32) for i in range(400)]
        kept = list(pipeline.map(inputs[:10]))
        list(pipeline.map(inputs[:100]))
        before = pool.allocated
        for i, result in enumerate(pipeline.map(inputs)):
            assert result["y"].tolist() == [4.0 * i] * 4
        assert pool.allocated - before < 20  # not one per inference
    assert [result["y"][0] for result in kept] == [4.0 * i for i in range(10)]


def test_an_allocator_of_the_users_own_gets_all_requests() -> None:
    class Counting:
        def __init__(self) -> None:
            self.names: list[str] = []

        def allocate(self, spec: TensorSpec, /) -> np.ndarray:
            self.names.append(spec.name)
            return np.empty(spec.shape, spec.dtype)

    allocator = Counting()
    with Pipeline([litert([("x", "x", "y")], ["x"], ["y"])], allocator=allocator) as pipeline:
        assert pipeline.allocator is allocator
        own = pipeline.allocator.allocate(pipeline.inputs[0])
        own[...] = 3
        pipeline.push(own, copy=False)
        result = pipeline.pop()
    assert result is not None
    assert result["y"].tolist() == [6.0] * 4
    assert allocator.names == ["x", "y"]


ITEM = 16  # bytes: two int32 in, two out


@pytest.mark.parametrize("items", [1, 2, 5])
def test_the_memory_budget_bounds_what_is_in_flight(items: int) -> None:
    pipeline = Pipeline(chain(3), memory_budget=items * ITEM + 7, input_queue=4, stage_queue=4, output_queue=4)
    assert pipeline.capacity == items
    for i in range(items):
        pipeline.push(frame(i), timeout=10)
    with pytest.raises(TimeoutError):
        pipeline.push(frame(9), timeout=0.05)
    assert pipeline.pop() is not None
    pipeline.push(frame(items), timeout=10)
    pipeline.cancel()
    with Pipeline(chain(3), memory_budget=items * ITEM) as small:
        results = [int(r["t3"][0]) for r in small.map(frame(i) for i in range(40))]
    assert results == [expected(i, 3) for i in range(40)]


def test_a_budget_for_less_than_one_inference_is_refused() -> None:
    with pytest.raises(PipelineError, match="one inference holds up to 16 bytes"):
        Pipeline(chain(2), memory_budget=ITEM - 1)
