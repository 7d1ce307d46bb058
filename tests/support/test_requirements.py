"""Models that cannot be compiled at all are refused by name; what a quantised model leaves in float is not."""

from __future__ import annotations

import dataclasses

import pytest

from atoll.errors import AlreadyCompiledError, DynamicShapeError, NotQuantizedError
from atoll.model import DType, Graph, Model, Operator, Tensor
from atoll.support import require_compilable, require_quantized, require_static, require_uncompiled
from tiny_graphs import Data, const, one, zeros

IMAGE = Data((1, 8, 8, 4))
FLOAT = Data((1, 8, 8, 4), DType.FLOAT32)
BIAS = const([0] * 4)


def model(*graphs: Graph) -> Model:
    return Model(graphs, path="net.tflite")


def chain(*steps: tuple[str, DType]) -> Graph:
    """Operators one behind the other on a float input, each writing a tensor of the given type."""
    template = {dtype: one("ADD", Data((1, 4), dtype)).tensors[0] for _, dtype in steps}
    tensors = [Tensor("input", (1, 4), DType.FLOAT32)]
    tensors += [dataclasses.replace(template[dtype], name=f"t{n}") for n, (_, dtype) in enumerate(steps)]
    operators = tuple(Operator(kind, (n,), (n + 1,)) for n, (kind, _) in enumerate(steps))
    return Graph(tuple(tensors), operators, (0,), (len(steps),))


def test_float_model_names_the_first_float_tensor_and_how_to_quantise() -> None:
    graph = chain(("CONV_2D", DType.FLOAT32), ("RELU", DType.FLOAT32))
    with pytest.raises(NotQuantizedError) as caught:
        require_quantized(model(graph))
    assert caught.value.message.startswith("Model not quantized")
    assert "'input'" in caught.value.message
    assert "#0 CONV_2D" in caught.value.message
    assert "net.tflite" in caught.value.message
    assert "ai-edge-quantizer" in caught.value.hint
    assert "representative_dataset" in caught.value.hint


def test_dynamic_range_model_is_refused() -> None:
    weights_only = one("CONV_2D", FLOAT, zeros(4, 1, 1, 4), BIAS, out=FLOAT)
    with pytest.raises(NotQuantizedError, match="'in0'"):
        require_quantized(model(weights_only))


def test_quantising_at_the_very_end_does_not_make_a_quantised_model() -> None:
    with pytest.raises(NotQuantizedError):
        require_quantized(model(chain(("RELU", DType.FLOAT32), ("QUANTIZE", DType.INT8))))


@pytest.mark.parametrize(
    "graph",
    [
        one("ADD", IMAGE, IMAGE),
        chain(("QUANTIZE", DType.INT8), ("RELU", DType.INT8), ("DEQUANTIZE", DType.FLOAT32)),
        chain(
            ("CAST", DType.FLOAT32),
            ("QUANTIZE", DType.INT8),
            ("RELU", DType.INT8),
            ("DEQUANTIZE", DType.FLOAT32),
            ("SQRT", DType.FLOAT32),
        ),
        Graph((), (), (), ()),
    ],
)
def test_float_around_a_quantised_model_is_fine(graph: Graph) -> None:
    require_quantized(model(graph))


@pytest.mark.parametrize("signature", [(1, -1, -1, 4), (-1, -1, 8, 4), (-1, 8, 8, -1)])
def test_dynamic_shape_names_the_tensor(signature: tuple[int, ...]) -> None:
    graph = one("ADD", IMAGE, IMAGE)
    tensors = (graph.tensors[0], dataclasses.replace(graph.tensors[1], shape_signature=signature))
    with pytest.raises(DynamicShapeError, match="'in1'"):
        require_static(model(dataclasses.replace(graph, tensors=tensors)))


def test_open_batch_is_taken_as_the_size_in_the_file() -> None:
    graph = one("ADD", IMAGE, IMAGE)
    tensors = tuple(dataclasses.replace(t, shape_signature=(-1, 8, 8, 4)) for t in graph.tensors)
    require_static(model(dataclasses.replace(graph, tensors=tensors)))


def test_compiled_model_is_refused_wherever_the_operator_is() -> None:
    good = one("ADD", IMAGE, IMAGE)
    operator = dataclasses.replace(good.operators[0], kind="CUSTOM", custom_code="edgetpu-custom-op")
    compiled = dataclasses.replace(good, operators=(operator,))
    for graphs in ((compiled,), (good, compiled)):
        with pytest.raises(AlreadyCompiledError, match="edgetpu-custom-op"):
            require_uncompiled(model(*graphs))
    other = dataclasses.replace(operator, custom_code="TFLite_Detection_PostProcess")
    require_uncompiled(model(dataclasses.replace(good, operators=(other,))))


def test_compilable_asks_for_all_three() -> None:
    require_compilable(model(one("ADD", IMAGE, IMAGE)))
    with pytest.raises(NotQuantizedError):
        require_compilable(model(chain(("RELU", DType.FLOAT32))))
