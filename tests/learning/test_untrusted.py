"""Models that nobody checked: the engine refuses them with its own errors, whatever is wrong."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.learning import ImprintingEngine, SoftmaxRegression, with_imprinting_tail
from atoll.model import DType, Model
from atoll.model.tflite import model_bytes, parse_model
from extractors import extractor

MODELS = {flat: with_imprinting_tail(extractor(flat=flat)) for flat in (False, True)}


@settings(max_examples=200)
@given(flat=st.booleans(), data=st.data())
def test_operators_rewired_at_random(flat: bool, data: st.DataObject) -> None:
    graph = MODELS[flat].main
    number = data.draw(st.integers(0, len(graph.operators) - 1))
    indices = st.lists(st.integers(-1, len(graph.tensors) - 1), max_size=4).map(tuple)
    operator = graph.operators[number]
    fields = data.draw(st.sampled_from(["inputs", "outputs", "kind"]))
    value = data.draw(st.sampled_from(["SOFTMAX", "MUL", "QUANTIZE", "CUSTOM"]) if fields == "kind" else indices)
    if fields == "outputs":
        value = tuple(i for i in value if i >= 0)
    operators = (*graph.operators[:number], replace(operator, **{fields: value}), *graph.operators[number + 1 :])
    use(replace(MODELS[flat], graphs=(replace(graph, operators=operators),)))


@settings(max_examples=200)
@given(flat=st.booleans(), data=st.data())
def test_tensors_changed_at_random(flat: bool, data: st.DataObject) -> None:
    graph = MODELS[flat].main
    number = data.draw(st.integers(0, len(graph.tensors) - 1))
    tensor = graph.tensors[number]
    other = data.draw(st.sampled_from(graph.tensors))
    changes = {
        "shape": st.lists(st.integers(0, 40), max_size=5).map(tuple),
        "dtype": st.sampled_from([DType.UINT8, DType.INT8, DType.FLOAT32, DType.STRING]),
        "quantization": st.sampled_from([None, other.quantization]),
        "buffer": st.sampled_from([None, other.buffer]),
    }
    field = data.draw(st.sampled_from(sorted(changes)))
    new = replace(tensor, **{field: data.draw(changes[field])})
    use(
        replace(
            MODELS[flat], graphs=(replace(graph, tensors=(*graph.tensors[:number], new, *graph.tensors[number + 1 :])),)
        )
    )


def use(model: Model) -> None:
    """Everything that learning does with a model that could be read from a file."""
    try:
        model = parse_model(bytes(model_bytes(model)))
    except (AtollError, ValueError):
        return  # no such file can be read
    for keep in (False, True):
        try:
            engine = ImprintingEngine(model, keep_classes=keep)
            engine.train([1.0] * engine.embedding_dim, engine.num_classes)
            parse_model(engine.serialize_model())
        except AtollError:
            pass
    with contextlib.suppress(AtollError):
        parse_model(SoftmaxRegression(1, 3, seed=0).serialize_model(model))


@pytest.mark.parametrize("flat", [False, True])
def test_the_models_as_they_are_can_be_used(flat: bool) -> None:
    engine = ImprintingEngine(MODELS[flat])
    engine.train([1.0] * engine.embedding_dim, 0)
    assert engine.serialize_model()
