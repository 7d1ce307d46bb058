"""The delegate: claiming, fusing, binding memory, errors, lifetimes."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from atoll.device import Delegate, Node
from atoll.device.virtual import delegate as internals
from atoll.device.virtual.virtual_device import RESOLVER
from atoll.errors import DeviceError
from atoll.model import DType, Graph, Model, Operator, Tensor
from atoll.model.tflite import model_bytes
from small_models import branched, chain, custom, quantization


class Compute:
    """A kernel that applies a function to every node: arrays in, arrays to write out."""

    def __init__(self, function: Callable[..., None], nodes: Sequence[Node]) -> None:
        self.function = function
        self.nodes = nodes

    def invoke(self) -> None:
        for node in self.nodes:
            self.function(*[view.array for view in (*node.inputs, *node.outputs)])


def computing(function: Callable[..., None]) -> Delegate:
    return Delegate(lambda nodes: Compute(function, nodes))


def increment(source: np.ndarray, target: np.ndarray) -> None:
    target[...] = source + 1


def opened(content: bytes, delegate: Delegate) -> Interpreter:
    interpreter = Interpreter(
        model_content=content, experimental_delegates=[delegate], experimental_op_resolver_type=RESOLVER
    )
    interpreter.allocate_tensors()
    return interpreter


def feed(interpreter: Interpreter, *values: np.ndarray) -> list[np.ndarray]:
    for detail, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def row(*values: int) -> np.ndarray:
    return np.array([values], np.int8)


def test_adjacent_operators_are_one_kernel_with_every_payload() -> None:
    calls: list[list[tuple[bytes, list[str], list[str]]]] = []

    def factory(nodes: Sequence[Node]) -> Compute:
        calls.append([(bytes(n.payload), [v.name for v in n.inputs], [v.name for v in n.outputs]) for n in nodes])
        return Compute(increment, nodes)

    interpreter = opened(chain(b"one", b"two", b"%s\0three"), Delegate(factory))
    assert calls == [[(b"one", ["t0"], ["t1"]), (b"two", ["t1"], ["t2"]), (b"%s\0three", ["t2"], ["t3"])]]
    for start in (0, 100):
        (result,) = feed(interpreter, row(start, 1, 2, 3))
        np.testing.assert_array_equal(result, row(start + 3, 4, 5, 6))


def test_operators_apart_are_kernels_of_their_own() -> None:
    tensors = tuple(Tensor(f"t{i}", (1, 4), DType.INT8, quantization(0.1)) for i in range(4))
    between = Operator("MINIMUM", (1, 1), (2,), options_type="MaximumMinimumOptions")
    graph = Graph(tensors, (custom([0], [1]), between, custom([2], [3])), (0,), (3,))
    kernels: list[int] = []
    delegate = Delegate(lambda nodes: kernels.append(len(nodes)) or Compute(increment, nodes))
    interpreter = opened(bytes(model_bytes(Model((graph,)))), delegate)
    assert kernels == [1, 1]
    np.testing.assert_array_equal(feed(interpreter, row(1, 2, 3, 4))[0], row(3, 4, 5, 6))


def test_several_tensors_of_several_types() -> None:
    types = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.FLOAT32, DType.INT64)
    shapes = ((1, 2, 3), (7,), (1, 1, 1, 5), (2, 2), (1,), (3, 1))
    inputs = tuple(Tensor(f"in{i}", shape, dtype) for i, (shape, dtype) in enumerate(zip(shapes, types)))
    outputs = tuple(Tensor(f"out{i}", tensor.shape, tensor.dtype) for i, tensor in enumerate(inputs))
    count = len(types)
    operator = custom(range(count), range(count, 2 * count))
    graph = Graph((*inputs, *outputs), (operator,), tuple(range(count)), tuple(range(count, 2 * count)))

    def double(*arrays: np.ndarray) -> None:
        for source, target in zip(arrays[:count], arrays[count:]):
            target[...] = source * 2

    interpreter = opened(bytes(model_bytes(Model((graph,)))), computing(double))
    random = np.random.default_rng(1)
    values = [random.integers(0, 50, t.shape).astype(t.dtype.numpy) for t in inputs]
    for result, value in zip(feed(interpreter, *values), values, strict=True):
        assert result.dtype == value.dtype
        np.testing.assert_array_equal(result, value * 2)


def test_inputs_are_read_only() -> None:
    def spoil(source: np.ndarray, target: np.ndarray) -> None:
        target[...] = source
        source[...] = 0

    with pytest.raises(RuntimeError, match="read-only"):
        feed(opened(chain(b"a"), computing(spoil)), row(1, 2, 3, 4))


def test_views_follow_the_memory_of_dynamic_tensors() -> None:
    """BROADCAST_TO by a runtime shape allocates its output anew whenever the shape is another."""
    tensors = (
        Tensor("value", (1,), DType.INT32),
        Tensor("shape", (2,), DType.INT32),
        Tensor("spread", (1, 4), DType.INT32),
        Tensor("y", (1, 4), DType.INT32),
    )
    spread = Operator("BROADCAST_TO", (0, 1), (2,), options_type="BroadcastToOptions", version=2)
    graph = Graph(tensors, (spread, custom([2], [3])), (0, 1), (3,))
    interpreter = opened(bytes(model_bytes(Model((graph,)))), computing(increment))
    expected = np.array([1, 4], np.int32)
    for value in range(5):
        (result,) = feed(interpreter, np.array([value], np.int32), expected)
        np.testing.assert_array_equal(result, np.full((1, 4), value + 1))
    with pytest.raises(RuntimeError, match=r"'spread' was resized from \[1, 4\] to \[900, 800\]"):
        feed(interpreter, np.array([1], np.int32), np.array([900, 800], np.int32))


def test_resized_input_is_refused_by_name() -> None:
    interpreter = opened(chain(b"a"), computing(increment))
    interpreter.resize_tensor_input(0, [1, 8])
    with pytest.raises(RuntimeError, match=r"'t0' was resized from \[1, 4\] to \[1, 8\]"):
        interpreter.allocate_tensors()


@pytest.mark.parametrize("resolver", [OpResolverType.BUILTIN, OpResolverType.BUILTIN_REF, RESOLVER])
def test_model_without_custom_operator_is_left_alone(resolver: OpResolverType) -> None:
    delegate = Delegate(lambda _: pytest.fail("nothing to claim"))
    Interpreter(
        model_content=bytes(model_bytes(branched())),
        experimental_delegates=[delegate],
        experimental_op_resolver_type=resolver,
    ).allocate_tensors()
    assert delegate.error is None


def test_error_of_the_factory_reaches_the_constructor() -> None:
    def factory(_: Sequence[Node]) -> Compute:
        raise DeviceError("100% of the devices are on fire: %s %n", "Call 112.")

    delegate = Delegate(factory)
    with pytest.raises(RuntimeError, match=r"100% of the devices are on fire: %s %n\nCall 112\."):
        Interpreter(model_content=chain(b"a"), experimental_delegates=[delegate])
    assert isinstance(delegate.error, DeviceError)


def test_error_of_a_kernel_reaches_invoke_and_the_next_invoke_works() -> None:
    fail = [True]

    def sometimes(source: np.ndarray, target: np.ndarray) -> None:
        if fail[0]:
            raise LookupError("no such luck")
        increment(source, target)

    delegate = computing(sometimes)
    interpreter = opened(chain(b"a"), delegate)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="LookupError: no such luck"):
            interpreter.invoke()
    assert isinstance(delegate.error, LookupError)
    fail[0] = False
    np.testing.assert_array_equal(feed(interpreter, row(1, 2, 3, 4))[0], row(2, 3, 4, 5))


def test_one_delegate_serves_two_interpreters() -> None:
    delegate = computing(increment)
    first, second = opened(chain(b"a"), delegate), opened(chain(b"a", b"b"), delegate)
    np.testing.assert_array_equal(feed(first, row(1, 2, 3, 4))[0], row(2, 3, 4, 5))
    np.testing.assert_array_equal(feed(second, row(1, 2, 3, 4))[0], row(3, 4, 5, 6))
    del first
    np.testing.assert_array_equal(feed(second, row(5, 6, 7, 8))[0], row(7, 8, 9, 10))


@pytest.mark.parametrize("order", list(itertools.permutations(("interpreter", "delegate", "list", "view"))))
def test_destruction_in_any_order(order: tuple[str, ...]) -> None:
    gc.collect()
    alive = len(internals._INSTANCES)
    delegate = computing(increment)
    given = [delegate]
    interpreter = Interpreter(model_content=chain(b"a"), experimental_delegates=given)
    interpreter.allocate_tensors()
    interpreter.invoke()
    held = {
        "interpreter": interpreter,
        "delegate": delegate,
        "list": given,
        "view": interpreter.tensor(0)(),
    }
    died = weakref.ref(delegate)
    del interpreter, delegate, given
    assert len(internals._INSTANCES) == alive + 1
    for name in order:
        if name == "list":
            held[name].clear()  # type: ignore[union-attr]
        del held[name]
    gc.collect()
    assert died() is None
    assert len(internals._INSTANCES) == alive


def test_emptied_list_of_delegates_leaves_the_interpreter_working() -> None:
    given = [computing(increment)]
    interpreter = Interpreter(model_content=chain(b"a"), experimental_delegates=given)
    interpreter.allocate_tensors()
    given.clear()
    gc.collect()
    np.testing.assert_array_equal(feed(interpreter, row(1, 2, 3, 4))[0], row(2, 3, 4, 5))


def test_cycles_are_collected() -> None:
    gc.collect()
    delegate = computing(increment)
    interpreter = opened(chain(b"a"), delegate)
    interpreter.friend, delegate.friend = delegate, interpreter  # type: ignore[attr-defined]
    died = weakref.ref(delegate)
    alive = len(internals._INSTANCES)
    del interpreter, delegate
    gc.collect()
    assert died() is None
    assert len(internals._INSTANCES) == alive - 1


@pytest.mark.parametrize(
    "last_words",
    [
        "keep = interpreter",
        "import builtins; builtins.keep = interpreter",
        "import sys; sys.keep = interpreter.tensor(0)()",
        "interpreter.me = interpreter; import gc; gc.disable()",
        "from threading import *; Thread(target=lambda i: Event().wait(9), args=[interpreter], daemon=True).start()",
    ],
)
def test_interpreters_alive_at_exit(last_words: str, tmp_path: Path) -> None:
    file = tmp_path / "chain.tflite"
    file.write_bytes(chain(b"a"))
    program = f"""
        from ai_edge_litert.interpreter import Interpreter
        from atoll.device import Delegate
        class Kernel:
            def __init__(self, nodes): self.nodes = nodes
            def invoke(self): pass
        interpreter = Interpreter(model_path={str(file)!r}, experimental_delegates=[Delegate(Kernel)])
        interpreter.allocate_tensors()
        interpreter.invoke()
        {last_words}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.replace("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n", "")) == (
        0,
        "",
    )


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_thousand_interpreters_leave_nothing_behind() -> None:
    content = chain(b"a" * 10_000, b"b", shape=(1, 10_000))

    def cycle(count: int) -> None:
        for _ in range(count):
            opened(content, computing(increment)).invoke()

    cycle(100)
    gc.collect()
    before, alive = resident_bytes(), len(internals._INSTANCES)
    cycle(1000)
    gc.collect()
    assert len(internals._INSTANCES) == alive
    # One of them takes 60 kB: a leak of all would be 60 MB.
    assert resident_bytes() - before < 10_000_000
