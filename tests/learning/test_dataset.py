"""Folders of images, how they are divided, and how their embeddings are computed side by side."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import FileMissingError, UsageError
from atoll.learning import Example, ImageFolder, Pipelined, TrainingError, evaluate, held_out, in_parallel, read_folder
from atoll.learning.dataset import require_images


def make(root: Path, **classes: int) -> Path:
    for name, count in classes.items():
        (root / name).mkdir()
        for i in range(count):
            (root / name / f"{i}.png").touch()
    return root


def test_classes_and_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    make(tmp_path, b=2, a=1)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / ".hidden").touch()
    folder = read_folder(tmp_path)
    assert folder.labels == ("a", "b")
    assert folder.examples == (
        Example(tmp_path / "a/0.png", 0),
        Example(tmp_path / "b/0.png", 1),
        Example(tmp_path / "b/1.png", 1),
    )


def test_folders_that_cannot_be_learnt_from(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        read_folder(tmp_path / "none")
    with pytest.raises(TrainingError, match="has 1 sub-folder: there is nothing to tell apart"):
        read_folder(make(tmp_path, only=3))
    with pytest.raises(TrainingError, match="class 'empty' has no image"):
        require_images(read_folder(make(tmp_path, empty=0)))


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.floats(0, 0.99), st.integers(0, 5))
def test_each_class_is_on_both_sides(counts: list[int], share: float, seed: int) -> None:
    examples = tuple(Example(Path(str(i)), label) for label, count in enumerate(counts) for i in range(count))
    folder = ImageFolder(tuple(map(str, range(len(counts)))), examples)
    train, test = held_out(folder, share, seed)
    assert sorted(train + test) == list(range(len(examples)))
    assert (train, test) == held_out(folder, share, seed)
    for label, count in enumerate(counts):
        out = sum(examples[i].label == label for i in test)
        assert out < count
        assert (out > 0) == (share > 0 and count > 1)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_cannot_be(share: float) -> None:
    with pytest.raises(UsageError):
        held_out(ImageFolder(("a",), ()), share)


def test_confusion_table() -> None:
    evaluation = evaluate([0, 0, 1, 2], [0, 1, 1, 0], ["a", "b", "c"])
    assert evaluation.confusion == ((1, 1, 0), (0, 1, 0), (1, 0, 0))
    assert (evaluation.top1, evaluation.total) == (0.5, 4)
    assert evaluate([], [], ["a"]).top1 == 0


def test_results_come_in_order_and_all_workers_work_at_once() -> None:
    together = threading.Barrier(4, timeout=30)  # passes only when all four workers are inside at the same time

    def worker() -> Callable[[int], int]:
        calls = itertools.count()

        def run(item: int) -> int:
            if next(calls) == 0:
                together.wait()
            return item * item

        return run

    assert list(in_parallel(range(40), [worker() for _ in range(4)], lambda item: item)) == [i * i for i in range(40)]


def test_a_worker_runs_one_input_at_a_time_and_items_are_taken_as_needed() -> None:
    busy = [threading.Lock() for _ in range(3)]
    taken = []

    def worker(lock: threading.Lock) -> Callable[[int], int]:
        def run(item: int) -> int:
            assert lock.acquire(blocking=False)
            time.sleep(0.001)  # long enough for a second caller to be caught
            lock.release()
            return item

        return run

    def items() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    results = in_parallel(items(), [worker(lock) for lock in busy], lambda item: item)
    assert next(results) == 0
    assert len(taken) <= 12
    assert [next(results) for _ in range(50)] == list(range(1, 51))
    results.close()
    assert len(taken) <= 62


def test_failures_are_raised_in_their_place() -> None:
    def worker(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    results = in_parallel(range(100), [worker] * 3, lambda item: item)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="five"):
        next(results)


class Fifo:
    """A pipeline that holds what was pushed and fails on 7."""

    def __init__(self) -> None:
        self.items: deque[int] = deque()

    def push(self, inputs: int) -> None:
        self.items.append(inputs)

    def pop(self) -> int:
        item = self.items.popleft()
        if item == 7:
            raise ValueError("seven")
        return -item


def test_a_pipeline_gives_each_caller_its_own_result() -> None:
    worker = Pipelined(Fifo())
    assert list(in_parallel(range(1, 7), [worker] * 4, lambda i: i)) == [-i for i in range(1, 7)]
    results = in_parallel(range(8), [worker] * 4, lambda i: i)
    assert [next(results) for _ in range(7)] == [-i for i in range(7)]
    with pytest.raises(ValueError, match="seven"):
        next(results)
