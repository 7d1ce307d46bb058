"""Random schedules of push, pop, close, cancel, resize and failing items agree with a list; so do racing threads."""

from __future__ import annotations

import threading
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import PipelineClosedError
from atoll.pipeline import Pipeline, StageError
from pipeline_fakes import PATIENCE_S, POISON, chain, expected, frame

ACTIONS = ["push"] * 6 + ["pop"] * 5 + ["poison", "close", "cancel", "narrow", "widen"]
SOON = 0.02


class Model:
    """What a pipeline must do, one call after the other: a list of items, and whether more may come."""

    def __init__(self, stages: int, sizes: tuple[int, int, int]) -> None:
        self.stages = stages
        self.pipeline = Pipeline(chain(stages), input_queue=sizes[0], stage_queue=sizes[1], output_queue=sizes[2])
        self.inside: deque[int] = deque()
        self.poisoned = self.closed = self.cancelled = self.failed = False

    def push(self, value: int) -> None:
        if self.poisoned:  # whether the failure is known already is a matter of time
            with pytest.raises((StageError, TimeoutError, PipelineClosedError)):
                while True:
                    self.pipeline.push(frame(value), timeout=SOON)
        elif self.closed:
            with pytest.raises(PipelineClosedError):
                self.pipeline.push(frame(value), timeout=SOON)
        elif len(self.inside) >= self.pipeline.capacity:
            with pytest.raises(TimeoutError):
                self.pipeline.push(frame(value), timeout=SOON)
        else:
            self.pipeline.push(frame(value), timeout=PATIENCE_S)
            self.inside.append(value)
            self.poisoned = value == POISON

    def pop(self) -> None:
        if self.cancelled:
            assert self.pipeline.pop() is None
        elif self.failed or (self.inside and self.inside[0] == POISON):
            self.failed = True
            with pytest.raises(StageError, match="segment 0 failed"):
                self.pipeline.pop(timeout=PATIENCE_S)
        elif self.inside:
            result = self.pipeline.pop(timeout=PATIENCE_S)
            assert result is not None
            assert int(result[f"t{self.stages}"][0]) == expected(self.inside.popleft(), self.stages)
        elif self.closed:
            assert self.pipeline.pop() is None
        else:
            with pytest.raises(TimeoutError):
                self.pipeline.pop(timeout=0)

    def resize(self, narrow: bool) -> None:
        """Narrower in front, where what is too much waits; wider everywhere."""
        if narrow:
            self.pipeline.resize(input_queue=1)
        else:
            self.pipeline.resize(input_queue=4, stage_queue=3, output_queue=4)

    def end(self, cancel: bool) -> None:
        self.closed = True
        self.cancelled |= cancel
        (self.pipeline.cancel if cancel else self.pipeline.close)()


@settings(max_examples=60)
@given(
    stages=st.integers(1, 4),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3)),
    actions=st.lists(st.sampled_from(ACTIONS), max_size=40),
)
def test_any_schedule_agrees_with_the_model(stages: int, sizes: tuple[int, int, int], actions: list[str]) -> None:
    model = Model(stages, sizes)
    for number, action in enumerate(actions):
        if action == "push":
            model.push(number)
        elif action == "poison":
            model.push(POISON)
        elif action == "pop":
            model.pop()
        elif action in ("narrow", "widen"):
            model.resize(narrow=action == "narrow")
        else:
            model.end(cancel=action == "cancel")
    model.pipeline.close()
    assert model.pipeline.join(PATIENCE_S)
    model.closed = True
    for _ in range(len(model.inside) + 1):
        model.pop()


@settings(max_examples=25)
@given(
    producers=st.integers(1, 3),
    consumers=st.integers(1, 2),
    stages=st.integers(1, 3),
    close_after=st.integers(0, 60),
    poison_at=st.none() | st.integers(0, 60),
)
def test_racing_threads_lose_and_duplicate_nothing(
    producers: int, consumers: int, stages: int, close_after: int, poison_at: int | None
) -> None:
    pipeline = Pipeline(chain(stages))
    accepted: dict[int, int] = {}
    popped: list[list[int]] = [[] for _ in range(consumers)]
    failures: list[StageError] = []
    enough = threading.Event()

    def produce(first: int) -> None:
        try:
            for value in range(first, 10_000, producers):
                accepted[pipeline.push(frame(POISON if value == poison_at else value))] = value
                if len(accepted) >= close_after:
                    enough.set()
        except (PipelineClosedError, StageError):
            enough.set()

    def consume(own: list[int]) -> None:
        try:
            while (result := pipeline.pop()) is not None:
                own.append(int(result[f"t{stages}"][0]))
        except StageError as error:
            failures.append(error)

    threads = [threading.Thread(target=produce, args=(i,)) for i in range(producers)]
    threads += [threading.Thread(target=consume, args=(own,)) for own in popped]
    for thread in threads:
        thread.start()
    assert enough.wait(PATIENCE_S)
    pipeline.close()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert pipeline.join(PATIENCE_S)

    values = [accepted[number] for number in sorted(accepted)]
    assert sorted(accepted) == list(range(len(accepted)))
    if failures:
        assert len(failures) == consumers
        values = values[: failures[0].item]
    else:
        assert poison_at not in values
    results = [expected(value, stages) for value in values]
    assert sorted(v for own in popped for v in own) == sorted(results)
    positions = {value: i for i, value in enumerate(results)}
    for own in popped:
        assert own == sorted(own, key=positions.__getitem__), "out of order"
