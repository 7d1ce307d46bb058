"""Weight imprinting: what the trained model computes, what it keeps, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.learning import ImprintingEngine, ModelFileError, TrainingError, UntrainableModelError, with_imprinting_tail
from atoll.learning.layers import real
from atoll.learning.tail import (
    NO_L2NORM,
    NOT_FOLLOWED,
    WRONG_EMBEDDING,
    WRONG_LOGITS,
    WRONG_TAIL,
    WRONG_WEIGHTS,
    find_tail,
)
from atoll.model import DType, Graph, Model, Operator, Quantization
from atoll.model.dump import dump
from atoll.model.graph_tools import join_tflite_models
from atoll.model.subgraph import extract
from atoll.model.tflite import model_bytes, parse_model, read_model, write_model
from atoll.toolchain import compile_model
from extractors import DIM, extractor, on_cpu, quantized, real_values
from pictures import CLASSES, pictures

VARIANTS = [(DType.UINT8, False), (DType.UINT8, True), (DType.INT8, False), (DType.INT8, True)]
each_variant = pytest.mark.parametrize(("dtype", "flat"), VARIANTS, ids=lambda v: str(getattr(v, "name", v)))


def plain(dtype: DType = DType.INT8, flat: bool = False) -> Model:
    return with_imprinting_tail(extractor(dtype, flat))


def embeddings(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors without negative numbers, as an extractor gives them."""
    values = np.random.default_rng(seed).random((count, DIM)) ** 4
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def trained(engine: ImprintingEngine, values: np.ndarray, labels: list[int]) -> Model:
    for value, label in zip(values, labels):
        engine.train(value, label)
    return parse_model(engine.serialize_model())


def weights(model: Model) -> np.ndarray:
    return real(find_tail(model).weights).reshape(find_tail(model).classes, -1)


def accuracy(model: Model, count: int, size: int) -> float:
    engine = ImprintingEngine(model)
    embed = on_cpu(engine.serialize_extractor_model())
    for image, label in zip(*pictures(5, seed=1, size=size)):
        engine.train(embed(image), label)
    classify = on_cpu(engine.serialize_model())
    return float(np.mean([classify(i).argmax() == label for i, label in zip(*pictures(count, seed=2, size=size))]))


@each_variant
def test_five_drawn_pictures_per_class_are_enough(dtype: DType, flat: bool) -> None:
    assert accuracy(plain(dtype, flat), 20, 32) >= 0.9


def test_five_drawn_pictures_per_class_on_the_real_extractor(shared: Path) -> None:
    path = shared / "data/models/uncompiled/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
    assert accuracy(with_imprinting_tail(read_model(path)), 4, 224) >= 0.9


def test_real_pictures_on_the_real_extractor(shared: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = shared / "data/models/imprinting"

    def load(name: str) -> np.ndarray:
        return np.asarray(image.open(folder / f"{name}.bmp").convert("RGB").resize((224, 224)))

    path = shared / "data/models/uncompiled/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
    engine = ImprintingEngine(with_imprinting_tail(read_model(path)))
    embed = on_cpu(engine.serialize_extractor_model())
    for label, names in enumerate((["cat_train_0"], ["dog_train_0"], ["hotdog_train_0", "hotdog_train_1"])):
        for name in names:
            engine.train(embed(load(name)), label)
    classify = on_cpu(engine.serialize_model())
    for label, name in enumerate(("cat_test_0", "dog_test_0", "hotdog_test_0")):
        scores = classify(load(name))
        assert scores.argmax() == label and scores.max() > 0.9


@each_variant
def test_scores_are_the_softmax_of_scaled_cosines(dtype: DType, flat: bool) -> None:
    engine = ImprintingEngine(plain(dtype, flat))
    embed = on_cpu(engine.serialize_extractor_model())
    images, labels = pictures(3, seed=3, size=32)
    sums = np.zeros((len(CLASSES), DIM))
    for image, label in zip(images, labels):
        engine.train(embed(image), label)
        sums[label] += embed(image)
    directions = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    classify = on_cpu(engine.serialize_model())
    for image in pictures(2, seed=4, size=32)[0]:
        scaled = np.exp(16 * directions @ embed(image))
        # Cosines are stored in steps of 1/128, so logits in steps of 1/8; a score changes by a quarter of that at most.
        np.testing.assert_allclose(classify(image), scaled / scaled.sum(), atol=1 / 8 / 4 + 1 / 64)


@each_variant
def test_order_of_the_images_does_not_matter(dtype: DType, flat: bool) -> None:
    values, labels = embeddings(9), [0, 1, 2, 0, 1, 2, 2, 1, 0]
    first = trained(ImprintingEngine(plain(dtype, flat)), values, labels)
    order = [6, 7, 8, 0, 5, 4, 3, 2, 1]
    order.sort(key=lambda i: labels[i])
    second = trained(ImprintingEngine(plain(dtype, flat)), values[order], [labels[i] for i in order])
    np.testing.assert_allclose(weights(first), weights(second), atol=2e-3)
    assert first.main.outputs == second.main.outputs


@each_variant
def test_training_goes_on_from_a_saved_model(dtype: DType, flat: bool) -> None:
    values, labels = embeddings(12), [0, 1, 0, 1, 0, 1, 2, 2, 0, 1, 2, 2]
    at_once = trained(ImprintingEngine(plain(dtype, flat)), values, labels)
    saved = trained(ImprintingEngine(plain(dtype, flat)), values[:6], labels[:6])
    engine = ImprintingEngine(saved, keep_classes=True)
    assert engine.num_classes == 2
    resumed = trained(engine, values[6:], labels[6:])
    cosines = (weights(at_once) * weights(resumed)).sum(axis=1)
    np.testing.assert_allclose(cosines, 1, atol=0.01)
    norms = [[float(line.split()[1]) for line in m.description.splitlines()] for m in (at_once, resumed)]
    np.testing.assert_allclose(*norms, rtol=0.01)


@each_variant
def test_description_holds_the_norm_of_each_class(dtype: DType, flat: bool) -> None:
    values = embeddings(3)
    model = trained(ImprintingEngine(plain(dtype, flat)), values, [0, 0, 1])
    lines = [line.split() for line in model.description.splitlines()]
    assert [int(number) for number, _ in lines] == [0, 1] and model.description.endswith("\n")
    assert float(lines[0][1]) == pytest.approx(np.linalg.norm(values[0] + values[1]), rel=1e-6)


@each_variant
def test_saving_a_loaded_model_changes_nothing_that_matters(dtype: DType, flat: bool) -> None:
    model = trained(ImprintingEngine(plain(dtype, flat)), embeddings(6), [0, 1, 2, 0, 1, 2])
    again = parse_model(ImprintingEngine(model, keep_classes=True).serialize_model())
    assert again.description == model.description
    np.testing.assert_array_equal(find_tail(again).weights.array, find_tail(model).weights.array)


def with_description(model: Model, description: str) -> Model:
    return replace(model, description=description)


@each_variant
def test_pretrained_classes_are_kept_and_protected(dtype: DType, flat: bool) -> None:
    base = with_description(trained(ImprintingEngine(plain(dtype, flat)), embeddings(3), [0, 1, 2]), "pre-trained")
    engine = ImprintingEngine(base, keep_classes=True)
    with pytest.raises(RuntimeError, match="Cannot change the base model classes not trained with imprinting method!"):
        engine.train(embeddings(1)[0], 2)
    model = trained(engine, embeddings(2, seed=9), [3, 4])
    assert find_tail(model).classes == 5
    assert [line.split()[0] for line in model.description.splitlines()] == ["3", "4"]
    kept, before = weights(model)[:3], weights(base)
    np.testing.assert_allclose((kept * before).sum(axis=1) / np.linalg.norm(before, axis=1), 1, atol=0.01)
    # Saved and loaded again, the kept are still protected and the new ones are not.
    engine = ImprintingEngine(model, keep_classes=True)
    engine.train(embeddings(1)[0], 4)
    with pytest.raises(TrainingError, match="Cannot change"):
        engine.train(embeddings(1)[0], 0)


@each_variant
def test_classes_are_dropped_unless_kept(dtype: DType, flat: bool) -> None:
    base = trained(ImprintingEngine(plain(dtype, flat)), embeddings(3), [0, 1, 2])
    engine = ImprintingEngine(base)
    assert engine.num_classes == 0
    assert find_tail(trained(engine, embeddings(1), [0])).classes == 1


@each_variant
def test_more_classes_than_before_run(dtype: DType, flat: bool) -> None:
    values = np.eye(DIM, dtype=np.float32)
    model = trained(ImprintingEngine(plain(dtype, flat)), values, list(range(DIM)))
    assert on_cpu(model)(np.zeros((32, 32, 3), np.uint8)).shape == (DIM,)
    np.testing.assert_allclose(weights(model), values, atol=0.01)


def compiled_extractor_before_its_tail(model: Model) -> Model:
    """What a user makes who compiles the extractor and leaves the last layer on the CPU."""
    count = len(find_tail(model).operators)
    head = extract(model, range(len(model.main.operators) - count, len(model.main.operators)))
    body = parse_model(ImprintingEngine(model).serialize_extractor_model())
    return join_tflite_models(compile_model(body, name="body").segments[0].model, head)


@each_variant
def test_compiled_extractor_gives_the_same_model(dtype: DType, flat: bool, tmp_path: Path) -> None:
    model = trained(ImprintingEngine(plain(dtype, flat)), embeddings(2), [0, 1])
    compiled = compiled_extractor_before_its_tail(model)
    assert not any(operator.kind == "L2_NORMALIZATION" for operator in compiled.main.operators)
    engine = ImprintingEngine(compiled)
    embed = on_cpu(ImprintingEngine(model).serialize_extractor_model())
    write_model(parse_model(engine.serialize_extractor_model()), tmp_path / "extractor.tflite")
    on_device = real_values(make_interpreter(tmp_path / "extractor.tflite", VirtualEdgeTpu()))
    images, labels = pictures(1, seed=1, size=32)
    reference = ImprintingEngine(model)
    for image, label in zip(images, labels):
        np.testing.assert_array_equal(on_device(image), embed(image))
        engine.train(on_device(image), label)
        reference.train(embed(image), label)
    (tmp_path / "trained.tflite").write_bytes(engine.serialize_model())
    device, cpu = (
        real_values(make_interpreter(tmp_path / "trained.tflite", VirtualEdgeTpu())),
        on_cpu(reference.serialize_model()),
    )
    for image in pictures(2, seed=2, size=32)[0]:
        np.testing.assert_array_equal(device(image), cpu(image))


def test_extractor_compiled_by_the_vendor_keeps_its_package(shared: Path) -> None:
    path = shared / "data/models/v16/mobilenet_v1_1.0_224_quant_embedding_extractor_edgetpu.tflite"
    source = read_model(path)
    engine = ImprintingEngine(with_imprinting_tail(source))
    model = trained(engine, np.random.default_rng(0).random((2, 1024)), [0, 1])
    assert bytes(model.main.operators[0].custom_options) == bytes(source.main.operators[0].custom_options)
    assert [operator.kind for operator in model.main.operators[-4:]] == ["CONV_2D", "MUL", "RESHAPE", "SOFTMAX"]


def changed(model: Model, **tensors: dict[str, object]) -> Model:
    """The model with fields of some tensors replaced, by name."""
    graph = model.main
    new = tuple(replace(t, **tensors.get(t.name, {})) for t in graph.tensors)  # type: ignore[arg-type]
    return replace(model, graphs=(replace(graph, tensors=new),))


def without_norm(model: Model) -> Model:
    graph = model.main
    kept = [operator for operator in graph.operators if operator.kind != "L2_NORMALIZATION"]
    return replace(model, graphs=(replace(graph, operators=tuple(kept)),))


def without_last(model: Model) -> Model:
    graph = model.main
    return replace(model, graphs=(replace(graph, operators=graph.operators[:-1], outputs=graph.operators[-2].outputs),))


def skipping_norm(model: Model) -> Model:
    graph = model.main
    norm, layer = graph.operators[-5], graph.operators[-4]
    layer = replace(layer, inputs=(norm.inputs[0], *layer.inputs[1:]))
    return replace(model, graphs=(replace(graph, operators=(*graph.operators[:-4], layer, *graph.operators[-3:])),))


def test_wrong_models_are_refused_with_the_vendors_messages() -> None:
    model = plain()
    wide = {"shape": (1, 1, 2, DIM // 2)}
    for wrong, message in (
        (extractor(), NO_L2NORM),
        (without_norm(model), NO_L2NORM),
        (without_last(model), WRONG_TAIL),
        (skipping_norm(model), NOT_FOLLOWED),
        (changed(model, embedding_1=wide), WRONG_EMBEDDING),
        (changed(model, scores={"shape": (1, 1, 1)}), WRONG_LOGITS),
        (changed(model, scores={"shape": (1, 2)}), WRONG_WEIGHTS),
        (changed(model, scores={"dtype": DType.UINT8}), "'scores' is uint8"),
        (changed(model, factor={"quantization": quantized(0.0, 0)}), "'factor' has a scale that is not"),
        (changed(model, factor={"quantization": quantized(float("nan"), 0)}), "'factor' has a scale that is not"),
        (changed(model, factor={"quantization": quantized(0.1, 127)}), "the scale factor of the last layers is 0"),
    ):
        for expected in (RuntimeError, ValueError, UntrainableModelError):
            with pytest.raises(expected) as caught:
                ImprintingEngine(wrong)
            assert message in str(caught.value)


def test_a_model_without_operators_is_refused() -> None:
    tensor = extractor().main.tensors[0]
    with pytest.raises(UntrainableModelError, match="L2Norm"):
        ImprintingEngine(Model((Graph((tensor,), (), (0,), (0,)),)))


def test_one_quantize_behind_the_normalisation_is_accepted() -> None:
    model = plain()
    graph = model.main
    norm, layer = graph.operators[-5], graph.operators[-4]
    requantised = replace(graph.tensors[norm.outputs[0]], name="requantised", quantization=quantized(1 / 200, 0))
    operator = Operator("QUANTIZE", norm.outputs, (len(graph.tensors),), {}, "QuantizeOptions")
    layer = replace(layer, inputs=(len(graph.tensors), *layer.inputs[1:]))
    operators = (*graph.operators[:-4], operator, layer, *graph.operators[-3:])
    engine = ImprintingEngine(
        replace(model, graphs=(replace(graph, tensors=(*graph.tensors, requantised), operators=operators),))
    )
    assert parse_model(engine.serialize_extractor_model()).main.operators[-1].kind == "L2_NORMALIZATION"
    new = trained(engine, embeddings(2), [0, 1])
    assert [o.kind for o in new.main.operators[-5:]] == ["QUANTIZE", "CONV_2D", "MUL", "RESHAPE", "SOFTMAX"]
    assert on_cpu(new)(np.zeros((32, 32, 3), np.uint8)).shape == (2,)


@pytest.mark.parametrize("description", ["7 1.0\n", "0 nan\n", "0 -1\n", "0 inf\n", "0 0\n"])
def test_a_description_that_lies_is_refused(description: str) -> None:
    with pytest.raises(UntrainableModelError, match="its description gives class"):
        ImprintingEngine(with_description(plain(), description), keep_classes=True)


@pytest.mark.parametrize("description", ["", "MLIR Converted.", "0 many\n", "0 1.0\nand more"])
def test_other_descriptions_say_nothing_about_training(description: str) -> None:
    engine = ImprintingEngine(with_description(plain(), description), keep_classes=True)
    with pytest.raises(TrainingError, match="Cannot change"):
        engine.train(embeddings(1)[0], 0)


@pytest.mark.parametrize("flat", [False, True])
def test_kernels_quantised_per_channel_get_a_scale_for_each_class(flat: bool) -> None:
    base = trained(ImprintingEngine(plain(DType.INT8, flat)), embeddings(3), [0, 1, 2])
    scale = find_tail(base).weights.quantization.scale[0]  # type: ignore[union-attr]
    scales = Quantization(np.array([1, 1.5, 2], np.float32) * scale, np.zeros(3, np.int64))
    per_channel = with_description(changed(base, **{"imprinted/weights": {"quantization": scales}}), "0 1.0\n")
    engine = ImprintingEngine(per_channel, keep_classes=True)
    extra = np.zeros((1, DIM), np.float32)
    extra[0, 3] = 1.0
    model = trained(engine, np.concatenate([extra, 9 * extra]), [3, 0])
    # Class 0 turned into a direction with one large weight: its old scale would cut that off.
    np.testing.assert_allclose(weights(model)[3], extra[0], atol=0.01)
    assert weights(model)[0][3] > 0.98
    np.testing.assert_array_equal(find_tail(model).weights.array[1:3], find_tail(per_channel).weights.array[1:3])
    assert on_cpu(model)(np.zeros((32, 32, 3), np.uint8)).shape == (4,)


def test_bad_training_data() -> None:
    engine = ImprintingEngine(plain())
    good = embeddings(1)[0]
    for value, class_id, message in (
        (good, 1, "The class index of a new category is too large!"),
        (good, -1, "negative"),
        (good[:-1], 0, f"has {DIM - 1} numbers"),
        (np.full(DIM, np.nan), 0, "not finite"),
        (np.full(DIM, np.inf), 0, "not finite"),
        (np.zeros(DIM), 0, "all zeros"),
        (np.ones(DIM, np.uint8), 0, "stored values"),
    ):
        with pytest.raises(TrainingError, match=message):
            engine.train(value, class_id)
    assert engine.num_classes == 0
    with pytest.raises(RuntimeError, match=r"Model is not trained\."):
        engine.serialize_model()
    engine.train(good, 0)
    engine.train(-good, 0)
    with pytest.raises(TrainingError, match="cancel each other out"):
        engine.serialize_model()


def test_files(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"Failed to open file: .*missing\.tflite"):
        ImprintingEngine(tmp_path / "missing.tflite")
    with pytest.raises(ValueError, match="Failed to open file"):
        ImprintingEngine(str(tmp_path))
    write_model(plain(), tmp_path / "model.tflite")
    engine = ImprintingEngine(str(tmp_path / "model.tflite"))
    assert engine.embedding_dim == DIM
    assert dump(parse_model(engine.serialize_extractor_model()))
    assert bytes(model_bytes(parse_model(engine.serialize_extractor_model()))) == engine.serialize_extractor_model()
