"""A graph that runs on the caller's own arrays computes what it computes on its tensors, whatever arrays those are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.device.aligned_arrays import ALIGNMENT, aligned_empty
from atoll.device.interpreter import EdgeTpuInterpreter
from atoll.device.virtual.faults import Faults
from atoll.errors import DeviceError
from atoll.model import Model
from atoll.pipeline import Pipeline
from atoll.products.tensor_spec import TensorSpec
from small_models import assert_equal, branched, compiled, plain_interpreter, random_input, run

Save = Callable[[Model], Path]
Arrays = dict[str, np.ndarray]


def everything() -> Model:
    model = branched()
    return compiled(model, range(len(model.main.operators)))


def opened(path: Path, **device: Any) -> EdgeTpuInterpreter:
    interpreter = make_interpreter(path, VirtualEdgeTpu(**device))
    interpreter.allocate_tensors()
    assert isinstance(interpreter, EdgeTpuInterpreter)
    return interpreter


def names_and_indices(details: Sequence[Any]) -> list[tuple[str, int]]:
    return [(str(detail["name"]), int(detail["index"])) for detail in details]


def as_it_is(array: np.ndarray) -> np.ndarray:
    return array


def aligned(array: np.ndarray) -> np.ndarray:
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def unaligned(array: np.ndarray) -> np.ndarray:
    memory = aligned_empty((array.nbytes + 1,), np.dtype(np.uint8))
    copy = memory[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def strided(array: np.ndarray) -> np.ndarray:
    copy = np.empty((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    copy[...] = array
    return copy


def read_only(array: np.ndarray) -> np.ndarray:
    copy = aligned(array)
    copy.flags.writeable = False
    return copy


KINDS: list[Callable[[np.ndarray], np.ndarray]] = [as_it_is, aligned, unaligned, strided]


def test_the_arrays_of_the_pool_lie_where_kernels_may_work() -> None:
    assert aligned_empty((0, 2), np.dtype(np.int16)).shape == (0, 2)
    for shape in ((), (1,), (3, 5), (1, 224, 224, 3)):
        array = aligned_empty(shape, np.dtype(np.int16))
        assert array.shape == shape and array.ctypes.data % ALIGNMENT == 0 and array.flags.c_contiguous
        assert isinstance(array.base, np.ndarray) and array.view().base is array.base


@settings(max_examples=60)
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from([*KINDS, read_only]), st.sampled_from(KINDS), st.booleans(), st.integers(0, 2**32 - 1)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_arrays_in_any_order_with_calls_of_litert_between(
    tmp_path_factory: pytest.TempPathFactory, plan: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("in_place") / "model.tflite"
    path.write_bytes(_BYTES)
    interpreter, oracle = opened(path), plain_interpreter(branched())
    inputs = names_and_indices(interpreter.get_input_details())
    outputs = names_and_indices(interpreter.get_output_details())
    in_place = interpreter.in_place([i for _, i in inputs], [i for _, i in outputs])
    assert in_place is not None
    for given_as, taken_as, ordinary, seed in plan:
        values = random_input(oracle, np.random.default_rng(seed))
        expected = run(oracle, values)
        if ordinary:
            assert_equal(run(interpreter, values), expected)
        results = {name: taken_as(np.zeros_like(expected[name])) for name, _ in outputs}
        before = {name: value.copy() for name, value in values.items()}
        in_place([given_as(values[name]) for name, _ in inputs] + list(results.values()))
        assert_equal(results, expected)
        assert_equal(values, before)


def _bytes() -> bytes:
    from atoll.model.tflite import model_bytes

    return bytes(model_bytes(everything()))


_BYTES = _bytes()


def test_some_of_the_outputs(save: Save) -> None:
    interpreter, oracle = opened(save(everything())), plain_interpreter(branched())
    inputs = names_and_indices(interpreter.get_input_details())
    outputs = names_and_indices(interpreter.get_output_details())
    values = random_input(oracle, np.random.default_rng(0))
    expected = run(oracle, values)
    for name, index in outputs:
        in_place = interpreter.in_place([i for _, i in inputs], [index])
        assert in_place is not None
        result = aligned(np.zeros_like(expected[name]))
        in_place([*(values[given] for given, _ in inputs), result])
        assert_equal({name: result}, {name: expected[name]})


def test_the_arrays_are_the_callers_again_afterwards(save: Save) -> None:
    interpreter = opened(save(everything()))
    arrays = [
        aligned_empty(tuple(detail["shape"]), np.dtype(detail["dtype"]))
        for detail in (*interpreter.get_input_details(), *interpreter.get_output_details())
    ]
    in_place = interpreter.in_place(
        [i for _, i in names_and_indices(interpreter.get_input_details())],
        [i for _, i in names_and_indices(interpreter.get_output_details())],
    )
    assert in_place is not None
    before = [sys.getrefcount(array) for array in arrays]
    in_place(arrays)
    assert [sys.getrefcount(array) for array in arrays] == before


def test_arrays_that_do_not_fit_are_refused(save: Save) -> None:
    interpreter = opened(save(everything()))
    details = _details(interpreter)
    in_place = interpreter.in_place(*([i for _, i in names_and_indices(d)] for d in details))
    assert in_place is not None
    good = [np.zeros(tuple(detail["shape"]), detail["dtype"]) for group in details for detail in group]
    for position, array in enumerate(good):
        for bad in (array.reshape(-1)[:8], array.astype(np.int64), array[None]):
            with pytest.raises(ValueError, match=r"tensor '.*' is .*, not "):
                in_place([*good[:position], bad, *good[position + 1 :]])
    in_place(good)


class Counting(EdgeTpuInterpreter):
    pass


def test_not_where_something_else_must_run(save: Save) -> None:
    whole = opened(save(everything()))
    inputs = [i for _, i in names_and_indices(whole.get_input_details())]
    outputs = [i for _, i in names_and_indices(whole.get_output_details())]
    assert whole.in_place(inputs, outputs) is not None
    assert whole.in_place([], outputs) is None, "an input is missing"
    assert whole.in_place(inputs, [*outputs, 10_000]) is None, "no such output"
    model = branched()
    part = opened(save(compiled(model, [3])))
    assert part.in_place(*([i for _, i in names_and_indices(d)] for d in _details(part))) is None, (
        "operators on the CPU"
    )
    whole.__class__ = Counting
    assert whole.in_place(inputs, outputs) is None, "a subclass may do more in invoke"
    whole.__class__ = EdgeTpuInterpreter
    whole.invoke = lambda: None  # type: ignore[method-assign]
    assert whole.in_place(inputs, outputs) is None, "somebody watches invoke"


def _details(interpreter: EdgeTpuInterpreter) -> tuple[Any, Any]:
    return interpreter.get_input_details(), interpreter.get_output_details()


def test_a_closed_interpreter_and_a_failing_device_say_so(save: Save) -> None:
    interpreter = opened(save(everything()), faults=Faults(error_at=2))
    details = _details(interpreter)
    in_place = interpreter.in_place(*([i for _, i in names_and_indices(d)] for d in details))
    assert in_place is not None
    arrays = [np.zeros(tuple(detail["shape"]), detail["dtype"]) for group in details for detail in group]
    in_place(arrays)
    with pytest.raises(DeviceError, match="failed on inference 2"):
        in_place(arrays)
    in_place(arrays)
    interpreter.close()
    with pytest.raises(DeviceError, match="this interpreter is closed"):
        in_place(arrays)


class Wrapper:
    """Passes on what it does not know, and counts the inferences."""

    def __init__(self, interpreter: EdgeTpuInterpreter) -> None:
        self._wrapped = interpreter
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def invoke(self) -> None:
        self.count += 1
        self._wrapped.invoke()


@pytest.mark.parametrize("wrap", [False, True])
def test_a_pipeline_never_overwrites_results_that_are_kept(save: Save, wrap: bool) -> None:
    path, oracle = save(everything()), plain_interpreter(branched())
    interpreters = [opened(path), opened(path)]
    wrapped: list[Any] = [Wrapper(one) for one in interpreters] if wrap else list(interpreters)
    inputs = [random_input(oracle, np.random.default_rng(i)) for i in range(40)]
    with Pipeline([wrapped]) as pipeline:
        kept = list(pipeline.map(inputs))
    for values, result in zip(inputs, kept):
        assert_equal(result, run(oracle, values))
    if wrap:
        assert sum(one.count for one in wrapped) == 40


class Unhelpful:
    """An allocator whose arrays kernels must not work on."""

    def __init__(self) -> None:
        self.asked = 0

    def allocate(self, spec: TensorSpec, /) -> np.ndarray:
        self.asked += 1
        return unaligned(np.zeros(spec.shape, spec.dtype))


def test_an_allocator_of_the_users_own_need_not_align(save: Save) -> None:
    oracle, allocator = plain_interpreter(branched()), Unhelpful()
    inputs = [random_input(oracle, np.random.default_rng(i)) for i in range(10)]
    with Pipeline([opened(save(everything()))], allocator=allocator) as pipeline:
        for values, result in zip(inputs, pipeline.map(inputs)):
            assert_equal(result, run(oracle, values))
    assert allocator.asked
