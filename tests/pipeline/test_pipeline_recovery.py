"""Whatever a device does, every input comes out once and in order, as its result or as its error."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import PipelineError
from atoll.pipeline import Pipeline, StageError, StallError
from pipeline_fakes import PATIENCE_S, POISON, Fake, Tensors, chain, expected, frame, step

STALL_S = 0.05


def outcomes(pipeline: Pipeline, last: str) -> list[Any]:
    """The results, and of the failures (segment, item), until the pipeline ends."""
    found: list[Any] = []
    while True:
        try:
            result = pipeline.pop()
        except StageError as error:
            found.append((error.segment, error.item))
            continue
        if result is None:
            return found
        found.append(int(result[last][0]))


def run(pipeline: Pipeline, count: int, last: str) -> list[Any]:
    def produce() -> None:
        for i in range(count):
            pipeline.push(frame(i))
        pipeline.close()

    producer = threading.Thread(target=produce)
    producer.start()
    found = outcomes(pipeline, last)
    producer.join(PATIENCE_S)
    assert pipeline.join(PATIENCE_S)
    return found


def failing(times: int, at: int = 3) -> Callable[[np.ndarray], None]:
    """Fails so many times on the input ``at``."""
    left = [times]

    def before(value: np.ndarray) -> None:
        if value[0] == at and left[0]:
            left[0] -= 1
            raise OSError(f"fault {left[0]}")

    return before


def test_a_transient_fault_is_retried_on_the_same_interpreter() -> None:
    pipeline = Pipeline(chain(2, {0: failing(3)}), on_error="retry", retries=3)
    assert run(pipeline, 10, "t2") == [expected(i, 2) for i in range(10)]
    first, second = pipeline.stats()
    assert (first.failures, first.retries, first.count) == (3, 1, 10)
    assert (second.failures, second.retries) == (0, 0)


def test_when_all_retries_fail_the_place_carries_the_last_error() -> None:
    pipeline = Pipeline(chain(2, {0: failing(4)}), on_error="retry", retries=3, devices=["usb:0", "usb:1"])
    for i in range(5):
        pipeline.push(frame(i))
        if i == 3:
            with pytest.raises(StageError, match=r"segment 0 \(usb:0\) failed on item 3: fault 0") as caught:
                pipeline.pop()
            assert caught.value.device == "usb:0"
            assert isinstance(caught.value.__cause__, OSError)
        else:
            assert pipeline.pop() is not None
    pipeline.close()
    assert pipeline.join(PATIENCE_S)


def broken(position: int) -> Fake:
    def fail(_: np.ndarray) -> None:
        raise OSError("gone")

    return step(position, fail)


def test_spares_take_over_one_after_the_other() -> None:
    spares = [broken(1), step(1)]
    pipeline = Pipeline([step(0), broken(1)], on_error="retry", spares={1: spares})
    assert run(pipeline, 6, "t2") == [expected(i, 2) for i in range(6)]
    assert pipeline.stats()[1].failures == 2


def test_a_lost_device_is_opened_again() -> None:
    opened = []

    def reopen(segment: int, failed: Any) -> Fake:
        opened.append((segment, failed))
        if len(opened) == 1:
            raise OSError("not there yet")
        return step(segment)

    lost = broken(0)
    pipeline = Pipeline([lost, step(1)], on_error="retry", retries=2, reopen=reopen)
    assert run(pipeline, 6, "t2") == [expected(i, 2) for i in range(6)]
    assert opened == [(0, lost), (0, lost)]


def test_a_spare_helps_where_opening_again_fails() -> None:
    def reopen(segment: int, failed: Any) -> Fake:
        raise OSError("not there")

    pipeline = Pipeline([broken(0)], on_error="retry", reopen=reopen, spares={0: [step(0)]})
    assert run(pipeline, 4, "t1") == [expected(i, 1) for i in range(4)]


def test_a_sibling_takes_over_the_work_of_a_dead_replica() -> None:
    pipeline = Pipeline([[broken(0), step(0)], step(1)], on_error="retry", retries=1)
    assert run(pipeline, 40, "t2") == [expected(i, 2) for i in range(40)]


def test_an_item_that_no_device_can_do_does_not_cost_the_devices() -> None:
    pipeline = Pipeline([[step(0), step(0), step(0)]], on_error="retry", retries=1)
    values = [POISON if i % 5 == 2 else i for i in range(30)]

    def produce() -> None:
        for value in values:
            pipeline.push(frame(value))
        pipeline.close()

    producer = threading.Thread(target=produce)
    producer.start()
    found = outcomes(pipeline, "t1")
    producer.join(PATIENCE_S)
    assert found == [(0, i) if value == POISON else expected(value, 1) for i, value in enumerate(values)]


class Hanging:
    """Hangs on the inputs ``at``, once each, until it is released."""

    def __init__(self, *at: int) -> None:
        self.at = set(at)
        self.released = threading.Event()

    def __call__(self, value: np.ndarray) -> None:
        number = int(value[0])
        if number in self.at:
            self.at.discard(number)
            assert self.released.wait(PATIENCE_S)


@pytest.mark.parametrize("policy", ["retry", "continue", "stop"])
def test_a_stalled_stage_is_found_and_rebuilt(policy: Any) -> None:
    hanging = Hanging(3)
    fakes = [step(0), step(1, lambda v: hanging(v // 3)), step(2)]
    options = {"spares": {1: [step(1)]}} if policy != "stop" else {}
    pipeline = Pipeline(fakes, on_error=policy, stall_timeout=STALL_S, **options)  # type: ignore[arg-type]
    try:
        results, errors = [], []
        try:
            for i in range(8):
                pipeline.push(frame(i), timeout=PATIENCE_S)
        except StageError:
            pass
        pipeline.close()
        for _ in range(9):
            try:
                result = pipeline.pop(timeout=PATIENCE_S)
            except StageError as error:
                errors.append(error)
                if policy == "stop":
                    break
                continue
            if result is None:
                break
            results.append(int(result["t3"][0]))
        assert pipeline.join(PATIENCE_S), "a thread that hangs is not waited for"
    finally:
        hanging.released.set()
    good = [expected(i, 3) for i in range(8)]
    if policy == "retry":
        assert (results, errors) == (good, [])
    else:
        assert results == (good[:3] if policy == "stop" else good[:3] + good[4:])
        [error] = errors
        assert (error.segment, error.item) == (1, 3)
        assert isinstance(error.__cause__, StallError)
        assert "no result within 0.05 s" in str(error)


def test_a_late_result_of_an_abandoned_stage_is_dropped() -> None:
    hanging = Hanging(2)
    pipeline = Pipeline([step(0, hanging)], on_error="retry", stall_timeout=STALL_S, spares={0: [step(0)]})
    found = []
    for i in range(6):
        pipeline.push(frame(i))
        found.append(int(pipeline.pop(PATIENCE_S)["t1"][0]))  # type: ignore[index]
        if i == 3:
            hanging.released.set()
    pipeline.close()
    assert pipeline.pop() is None
    assert found == [expected(i, 1) for i in range(6)]


def test_without_another_device_every_later_item_says_why() -> None:
    hanging = Hanging(1)
    pipeline = Pipeline([step(0, hanging)], on_error="continue", stall_timeout=STALL_S)
    try:
        found = run(pipeline, 4, "t1")
        assert found == [expected(0, 1), (0, 1), (0, 2), (0, 3)]
    finally:
        hanging.released.set()


def test_a_stalled_replica_leaves_its_work_to_its_sibling() -> None:
    hanging = Hanging(*range(100))
    pipeline = Pipeline([[step(0, hanging), step(0)]], on_error="retry", stall_timeout=STALL_S)
    try:
        assert run(pipeline, 30, "t1") == [expected(i, 1) for i in range(30)]
    finally:
        hanging.released.set()


def test_cancel_gives_up_a_stage_that_hangs() -> None:
    hanging = Hanging(0)
    pipeline = Pipeline([step(0, hanging), step(1)], stall_timeout=STALL_S, on_error="retry")
    try:
        pipeline.push(frame(0))
        pipeline.cancel()
        assert pipeline.join(PATIENCE_S)
        assert pipeline.pop() is None
    finally:
        hanging.released.set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"retries": -1}, "retries is -1"),
        ({"stall_timeout": 0}, "stall_timeout is 0"),
        ({"stall_timeout": -1.0}, "stall_timeout"),
    ],
)
def test_policies_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        Pipeline(chain(1), **options)


class Flaky(Fake):
    """Fails at random before, in, and after ``invoke``; the fault never lasts longer than the retries."""

    def __init__(self, position: int, seed: int, rate: float, faults: list[int]) -> None:
        self._source, self._target = f"t{position}", f"t{position + 1}"
        super().__init__([self._source], [self._target], self._step)
        self._random = np.random.default_rng(seed)
        self._rate, self._row, self._faults = rate, 0, faults

    def _step(self, tensors: Tensors) -> Tensors:
        return {self._target: tensors[self._source] * 3 + 1}

    def _maybe_fail(self, what: str) -> None:
        if self._row < 3 and self._random.random() < self._rate:
            self._row += 1
            self._faults.append(1)
            raise (OSError, RuntimeError, ValueError, KeyError)[self._random.integers(4)](what)

    def set_tensor(self, tensor_index: int, value: np.ndarray, /) -> None:
        self._maybe_fail("set_tensor")
        super().set_tensor(tensor_index, value)

    def invoke(self) -> None:
        self._maybe_fail("invoke")
        super().invoke()
        self._maybe_fail("after invoke")

    def get_tensor(self, tensor_index: int, /) -> np.ndarray:
        self._maybe_fail("get_tensor")
        result = super().get_tensor(tensor_index)
        self._row = 0
        return result


def test_ten_thousand_faults_and_every_input_comes_out_once_in_order() -> None:
    faults: list[int] = []
    groups = [[Flaky(0, 1, 0.25, faults), Flaky(0, 2, 0.25, faults)], Flaky(1, 3, 0.25, faults), step(2)]
    count = 0

    def inputs() -> Any:
        nonlocal count
        while len(faults) < 10_000:
            yield frame(count)
            count += 1

    with Pipeline(groups, on_error="retry", retries=3) as pipeline:
        results = [int(result["t3"][0]) for result in pipeline.map(inputs())]
    assert len(faults) >= 10_000
    assert results == [expected(i, 3) for i in range(count)]
    assert sum(s.failures for s in pipeline.stats()) == len(faults)


SIZE = st.integers(1, 5)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    replicas=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    rate=st.sampled_from([0.0, 0.1, 0.5]),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3)),
    resizes=st.lists(st.tuples(st.integers(0, 60), SIZE, SIZE, SIZE), max_size=4),
    hangs=st.sets(st.integers(0, 59), max_size=2),
)
def test_random_faults_stalls_and_resizes(
    seed: int,
    replicas: list[int],
    rate: float,
    sizes: tuple[int, int, int],
    resizes: list[tuple[int, int, int, int]],
    hangs: set[int],
) -> None:
    """A list is the model: item i of the inputs is item i of the outputs, computed."""
    length, faults, hanging = len(replicas), [0], Hanging(*hangs)
    groups: list[list[Any]] = [
        [Flaky(i, seed + 7 * i + j, rate, faults) for j in range(n)] for i, n in enumerate(replicas)
    ]
    groups.append([step(length, lambda value: hanging(np.array([_inverse(int(value[0]), length)])))])
    pipeline = Pipeline(
        groups,
        input_queue=sizes[0],
        stage_queue=sizes[1],
        output_queue=sizes[2],
        on_error="retry",
        retries=3,
        stall_timeout=STALL_S if hangs else None,
        spares={length: [step(length) for _ in hangs]},
    )
    plan = {at: new for at, *new in resizes}

    def produce() -> None:
        for i in range(60):
            if i in plan:
                pipeline.resize(*plan[i])
            pipeline.push(frame(i))
        pipeline.close()

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        found = outcomes(pipeline, f"t{length + 1}")
    finally:
        hanging.released.set()
    producer.join(PATIENCE_S)
    assert pipeline.join(PATIENCE_S)
    assert found == [expected(i, length + 1) for i in range(60)]


def _inverse(value: int, length: int) -> int:
    for _ in range(length):
        value = (value - 1) // 3
    return value


def test_no_warning_of_a_thread_that_died() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline = Pipeline(chain(2, {0: failing(1)}), on_error="retry")
        assert len(run(pipeline, 5, "t2")) == 5
