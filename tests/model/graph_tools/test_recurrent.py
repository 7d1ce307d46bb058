"""Recurrent links: a model that keeps its state gives what feeding the state by hand gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.device.virtual.virtual_device import RESOLVER
from atoll.errors import InputError, UnsupportedModelError, UsageError
from atoll.model import DType, Graph, Model, Operator, Quantization
from atoll.model.graph_tools import append_recurrent_links
from atoll.model.tflite import model_bytes, parse_model, read_model, write_model
from atoll.toolchain import compile_model
from one_layer_models import ADD, Q, cell, tensor

ORDERS = ("behind", "same", "before")


def interpreter(model: Model) -> Interpreter:
    result = Interpreter(model_content=bytes(model_bytes(model)), experimental_op_resolver_type=RESOLVER)
    result.allocate_tensors()
    return result


def run(runner: Interpreter, **values: np.ndarray) -> dict[str, np.ndarray]:
    for detail in runner.get_input_details():
        runner.set_tensor(detail["index"], values[detail["name"]])
    runner.invoke()
    return {detail["name"]: runner.get_tensor(detail["index"]) for detail in runner.get_output_details()}


def assert_carries_state(
    recurrent: Interpreter, original: Model, links: dict[str, str], state: dict[str, np.ndarray], steps: int = 6
) -> None:
    by_hand, random = interpreter(original), np.random.default_rng(1)
    fed = [original.main.tensors[i] for i in original.main.inputs if original.main.tensors[i].name not in links]
    for _ in range(steps):
        dtype = fed[0].dtype.numpy
        limits = np.iinfo(dtype)
        values = {t.name: random.integers(limits.min, limits.max, t.shape, dtype, endpoint=True) for t in fed}
        expected = run(by_hand, **values, **state)
        result = run(recurrent, **values)
        assert result.keys() == expected.keys() - set(links.values())
        for name in result:
            np.testing.assert_array_equal(result[name], expected[name], err_msg=name)
        state = {source: expected[target] for source, target in links.items()}


def zeros(model: Model, links: Sequence[str]) -> dict[str, np.ndarray]:
    """What LiteRT fills variable tensors with: zero bytes, the zero point for int8."""
    tensors = {t.name: t for t in model.main.tensors}
    return {
        name: np.full(
            tensors[name].shape,
            tensors[name].quantization.zero_point[0] if tensors[name].dtype is DType.INT8 else 0,  # type: ignore[union-attr]
            tensors[name].dtype.numpy,
        )
        for name in links
    }


@pytest.mark.parametrize("order", ORDERS)
def test_state_is_carried_and_reset(order: str) -> None:
    model, links = cell(order), {"state": "next"}
    linked = parse_model(bytes(model_bytes(append_recurrent_links(model, links))))
    assert [linked.main.tensors[i].name for i in linked.main.inputs] == ["x"]
    assert [linked.main.tensors[i].name for i in linked.main.outputs] == ["y"]
    assert sum(t.is_variable for t in linked.main.tensors) == 1
    runner = interpreter(linked)
    assert_carries_state(runner, model, links, zeros(model, ["state"]))
    runner.reset_all_variables()
    assert_carries_state(runner, model, links, zeros(model, ["state"]))


def test_no_copy_where_the_order_allows_it() -> None:
    copies = {order: len(append_recurrent_links(cell(order), {"state": "next"}).main.operators) - 2 for order in ORDERS}
    assert copies == {"behind": 0, "same": 1, "before": 1}


@pytest.mark.parametrize("order", ORDERS)
def test_compiled_model_carries_state_on_a_virtual_device(order: str, tmp_path: Path) -> None:
    model, links = cell(order), {"state": "next"}
    compiled = compile_model(model, name="rnn")
    linked = append_recurrent_links(compiled.segments[0].model, links)
    assert any(operator.custom_code for operator in linked.main.operators)
    write_model(linked, tmp_path / "rnn.tflite")
    for _ in range(2):  # a new interpreter begins anew
        runner = make_interpreter(tmp_path / "rnn.tflite", VirtualEdgeTpu())
        runner.allocate_tensors()
        assert_carries_state(runner, model, links, zeros(model, ["state"]))


LINKS = {"inputs/rnn1": "outputs/rnn1", "inputs/rnn2": "outputs/rnn2"}


def test_real_model(shared: Path) -> None:
    model = read_model(shared / "data/models/uncompiled/split_concat.tflite")
    linked = append_recurrent_links(model, LINKS)
    assert len(linked.main.inputs) == 1 and len(linked.main.outputs) == 3
    assert_carries_state(interpreter(linked), model, LINKS, zeros(model, list(LINKS)))


def test_real_compiled_model(shared: Path) -> None:
    model = read_model(shared / "data/models/v16/split_concat_edgetpu.tflite")
    linked = parse_model(bytes(model_bytes(append_recurrent_links(model, LINKS))))
    names = [linked.main.tensors[i].name for i in (*linked.main.inputs, *linked.main.outputs)]
    assert names == ["input1", "concat/split0", "concat/split2", "concat/split4"]
    custom = next(operator for operator in linked.main.operators if operator.custom_code)
    assert bytes(custom.custom_options) == bytes(model.main.operators[0].custom_options)
    kinds = [operator.kind for operator in linked.main.operators]
    assert (kinds.count("READ_VARIABLE"), kinds.count("ASSIGN_VARIABLE")) == (2, 2)


def test_real_compiled_model_carries_state_beside_its_original(shared: Path, tmp_path: Path) -> None:
    original = read_model(shared / "data/models/uncompiled/split_concat.tflite")
    model = read_model(shared / "data/models/v16/split_concat_edgetpu.tflite")
    write_model(append_recurrent_links(model, LINKS), tmp_path / "linked_edgetpu.tflite")
    runner = make_interpreter(tmp_path / "linked_edgetpu.tflite", VirtualEdgeTpu(), original=original)
    runner.allocate_tensors()
    assert_carries_state(runner, original, LINKS, zeros(original, list(LINKS)))


@pytest.mark.parametrize(
    ("links", "error", "words"),
    [
        ({}, UsageError, "no recurrent links"),
        ({"sate": "next"}, UsageError, "no input 'sate'"),
        ({"state": "nxt"}, UsageError, "no output 'nxt'"),
        ({"state": "next", "x": "next"}, UsageError, "twice"),
    ],
)
def test_bad_links(links: dict[str, str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        append_recurrent_links(cell("same"), links)


@pytest.mark.parametrize(
    "fields",
    [{"shape": (1, 2, 2, 3)}, {"dtype": DType.UINT8}, {"quantization": Quantization(Q.scale * 2, Q.zero_point)}],
)
def test_tensors_that_do_not_fit_are_both_named(fields: dict[str, object]) -> None:
    tensors = (tensor("x"), tensor("state", **fields), tensor("y"))
    model = Model((Graph(tensors, (Operator("ADD", (0, 0), (2,), ADD, "AddOptions"),), (0, 1), (2,)),))
    with pytest.raises(InputError, match=r"'y' int8 \[1, 2, 2, 2\] scale .* does not fit 'state' "):
        append_recurrent_links(model, {"state": "y"})


def test_output_that_is_a_linked_input_is_refused() -> None:
    tensors = tuple(tensor(name) for name in ("a", "b", "y"))
    model = Model((Graph(tensors, (Operator("ADD", (0, 1), (2,), ADD, "AddOptions"),), (0, 1), (2, 0)),))
    with pytest.raises(UnsupportedModelError, match="itself a linked input"):
        append_recurrent_links(model, {"a": "y", "b": "a"})
