"""Softmax regression: it learns, the same every time with a seed, and its 8-bit model answers as it does."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.errors import UsageError
from atoll.learning import (
    CurvePoint,
    LearningCurve,
    ModelFileError,
    SoftmaxRegression,
    TrainingError,
    UntrainableModelError,
)
from atoll.model import DType, Model
from atoll.model.tflite import parse_model, read_model, write_model
from atoll.toolchain import compile_model
from extractors import DIM, extractor, on_cpu, real_values
from pictures import pictures

VARIANTS = [(DType.UINT8, False), (DType.UINT8, True), (DType.INT8, False), (DType.INT8, True)]
each_variant = pytest.mark.parametrize(("dtype", "flat"), VARIANTS, ids=lambda v: str(getattr(v, "name", v)))


def blobs(spread: float, count: int = 230, seed: int = 0) -> dict[str, np.ndarray]:
    """Three normal distributions in the plane; the last 30 points are for validation."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    means = np.array([[1, 1], [-1, -1], [1, -1]]) * spread
    points = means[labels] + random.standard_normal((count, 2))
    return {
        "data_train": points[:-30],
        "labels_train": labels[:-30],
        "data_val": points[-30:],
        "labels_val": labels[-30:],
    }


@pytest.mark.parametrize(("spread", "steps", "rate", "least"), [(3, 20, 0.01, 0.99), (1, 50, 0.1, 0.8)])
def test_it_learns_what_can_be_learnt(spread: float, steps: int, rate: float, least: float) -> None:
    data = blobs(spread)
    model = SoftmaxRegression(2, 3, seed=1)
    model.train_with_sgd(data, steps, rate, batch_size=100, print_every=5)
    assert model.get_accuracy(data["data_train"], data["labels_train"]) > least
    answers = model.run_inference(data["data_val"])
    assert model.get_accuracy(data["data_val"], data["labels_val"]) == np.mean(answers == data["labels_val"])


def test_sizes_come_from_the_data_when_not_given() -> None:
    model = SoftmaxRegression(seed=0)
    model.train_with_sgd(blobs(3), 5, 0.01)
    assert (model.feature_dim, model.num_classes) == (2, 3)


def test_a_seed_makes_training_reproducible() -> None:
    models = [SoftmaxRegression(2, 3, seed=seed) for seed in (7, 7, 8)]
    for model in models:
        model.train_with_sgd(blobs(1), 30, 0.1)
    np.testing.assert_array_equal(models[0].weights, models[1].weights)
    assert not np.array_equal(models[0].weights, models[2].weights)


@pytest.mark.parametrize("reg", [0.0, 0.1])
def test_a_step_goes_down_the_numerical_gradient(reg: float) -> None:
    """On a single example every batch is that example, so the step must be rate times the gradient of its loss."""
    x, label, rate = np.array([[0.5, -1.0]]), 1, 0.01

    def loss(weights: np.ndarray, biases: np.ndarray) -> float:
        scores = x @ weights + biases
        return float(np.log(np.exp(scores).sum()) - scores[0, label] + 0.5 * reg * (weights**2).sum())

    model = SoftmaxRegression(2, 3, weight_scale=1.0, reg=reg, seed=3)
    weights, biases = model.weights.astype(np.float64), model.biases.astype(np.float64)
    curve = model.train_with_sgd({"data_train": x, "labels_train": [label]}, 1, rate)
    assert curve.points[0].loss == pytest.approx(loss(weights, biases), rel=1e-5)
    for index in np.ndindex(weights.shape):
        shift = np.zeros_like(weights)
        shift[index] = 1e-5
        slope = (loss(weights + shift, biases) - loss(weights - shift, biases)) / 2e-5
        assert (weights - model.weights)[index] == pytest.approx(rate * slope, abs=2e-6)


@pytest.mark.parametrize("classes", [3, 70])
def test_block_products_are_whole_products(classes: int) -> None:
    """Sizes on both sides of the limit, and rows that do not divide evenly."""
    random = np.random.default_rng(0)
    x, labels = random.random((37, 1024)).astype(np.float32), random.integers(0, classes, 37)
    model = SoftmaxRegression(1024, classes, seed=0)
    model.train_with_sgd({"data_train": x, "labels_train": labels}, 3, 0.1)
    expected = np.argmax(x.astype(np.float64) @ model.weights + model.biases, axis=1)
    assert np.mean(model.run_inference(x) == expected) > 0.95


def test_early_stopping_returns_to_the_best_point() -> None:
    data = blobs(1)
    data["labels_val"] = (data["labels_val"] + 1) % 3  # what training learns makes validation worse
    model = SoftmaxRegression(2, 3, seed=0)
    curve = model.train_with_sgd(data, 1000, 0.1, print_every=5, patience=4)
    accuracies = [point.validation_accuracy for point in curve.points]
    assert len(curve.points) < 200
    best = int(np.argmax(accuracies))  # type: ignore[arg-type]
    assert curve.best == curve.points[best].iteration and len(accuracies) == best + 5
    assert model.get_accuracy(data["data_val"], data["labels_val"]) == accuracies[best]


def test_training_goes_on() -> None:
    data = blobs(1)
    model = SoftmaxRegression(2, 3, seed=0)
    first = model.train_with_sgd(data, 10, 0.01).points[-1]
    second = model.train_with_sgd(data, 200, 0.1).points[-1]
    assert second.train_accuracy >= first.train_accuracy
    assert model.curve.points[-1] == second


def test_curve_is_a_picture() -> None:
    model = SoftmaxRegression(2, 3, seed=0)
    points: list[CurvePoint] = []
    curve = model.train_with_sgd(blobs(1), 95, 0.1, print_every=10, patience=50, on_point=points.append)
    assert [point.iteration for point in curve.points] == [*range(10, 91, 10), 95]
    assert points == list(curve.points)
    root = ET.fromstring(curve.svg())
    lines = [element.attrib["points"].split() for element in root.iter() if element.tag.endswith("polyline")]
    assert [len(line) for line in lines] == [10, 10, 10]
    for line in lines:
        xs = [float(point.split(",")[0]) for point in line]
        assert xs == sorted(xs)
    ET.fromstring(LearningCurve(()).svg())


def trained_on_pictures(model: Model) -> tuple[SoftmaxRegression, np.ndarray, list[int], list[np.ndarray]]:
    """A regression trained on drawn pictures, and held-out embeddings, labels and pictures."""
    embed = on_cpu(model)
    images, labels = pictures(8, seed=1, size=32)
    regression = SoftmaxRegression(DIM, 5, seed=0)
    data = {"data_train": np.stack([embed(image) for image in images]), "labels_train": labels}
    regression.train_with_sgd(data, 300, 0.3, batch_size=32)
    held_out, truth = pictures(20, seed=2, size=32)
    return regression, np.stack([embed(image) for image in held_out]), truth, held_out


@each_variant
def test_quantised_model_is_within_a_point_of_the_float_one(dtype: DType, flat: bool) -> None:
    model = extractor(dtype, flat)
    regression, x, truth, images = trained_on_pictures(model)
    classify = on_cpu(regression.serialize_model(model))
    accuracy = np.mean([classify(image).argmax() == label for image, label in zip(images, truth)])
    assert regression.get_accuracy(x, truth) > 0.9
    assert abs(accuracy - regression.get_accuracy(x, truth)) <= 0.01


@each_variant
def test_scores_are_the_softmax_of_the_logits(dtype: DType, flat: bool) -> None:
    model = extractor(dtype, flat)
    regression, x, _, images = trained_on_pictures(model)
    classify = on_cpu(regression.serialize_model(model))
    scores = np.exp(x @ regression.weights + regression.biases)
    scores /= scores.sum(axis=1, keepdims=True)
    result = np.stack([classify(image) for image in images])
    assert np.abs(result - scores).mean() < 0.01


@each_variant
def test_compiled_extractor_gives_the_same_answers(dtype: DType, flat: bool, tmp_path: Path) -> None:
    model = extractor(dtype, flat)
    regression = SoftmaxRegression(DIM, 5, weight_scale=1.0, seed=0)
    compiled = compile_model(model, name="extractor").segments[0].model
    write_model(compiled, tmp_path / "extractor.tflite")
    (tmp_path / "new.tflite").write_bytes(regression.serialize_model(tmp_path / "extractor.tflite"))
    on_device = real_values(make_interpreter(tmp_path / "new.tflite", VirtualEdgeTpu()))
    plain = on_cpu(regression.serialize_model(model))
    for image in pictures(2, seed=3, size=32)[0]:
        np.testing.assert_array_equal(on_device(image), plain(image))


@pytest.mark.parametrize("name", ["uncompiled/{}.tflite", "v16/{}_edgetpu.tflite"])
def test_real_extractor(name: str, shared: Path) -> None:
    path = shared / "data/models" / name.format("mobilenet_v1_1.0_224_quant_embedding_extractor")
    model = parse_model(SoftmaxRegression(1024, 5, seed=0).serialize_model(str(path)))
    source = read_model(path)
    before = len(source.main.operators)
    assert [operator.kind for operator in model.main.operators[before:]] == ["CONV_2D", "RESHAPE", "SOFTMAX"]
    assert model.main.tensors[model.main.outputs[0]].shape == (1, 5)
    if "edgetpu" in name:
        custom = model.main.operators[0], source.main.operators[0]
        assert bytes(custom[0].custom_options) == bytes(custom[1].custom_options)


def test_an_untrained_layer_can_be_serialised_and_huge_biases_fit() -> None:
    model = extractor(DType.INT8)
    regression = SoftmaxRegression(DIM, 4, weight_scale=1e-6, seed=0)
    on_cpu(regression.serialize_model(model))
    regression.biases[:] = [1e6, 0, 0, 0]
    assert on_cpu(regression.serialize_model(model))(np.zeros((32, 32, 3), np.uint8)).argmax() == 0


def broken(**changes: object) -> dict[str, object]:
    return {name: value for name, value in {**blobs(1), **changes}.items() if value is not None}


BAD = np.array([[0.0, 1.0]] * 200)
BAD[17, 1] = np.nan


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (broken(data_train=None), "no 'data_train'"),
        (broken(labels_val=None), "no 'labels_val'"),
        (broken(data_train=BAD), r"data_train\[17\] holds numbers that are not finite"),
        (broken(data_train=np.zeros((200, 3))), "data_train has 3 numbers per row, feature_dim is 2"),
        (broken(data_train=np.zeros((0, 2))), "count > 0"),
        (broken(data_train=np.zeros(200)), "feature_dim"),
        (broken(data_train=np.array([["a", "b"]])), "must be numbers"),
        (broken(labels_train=np.zeros(7, int)), r"labels_train is int64\[7\], data_train has 200 rows"),
        (broken(labels_train=np.zeros(200)), "one integer per row"),
        (broken(labels_train=np.full(200, 3)), r"labels_train\[0\] is 3, out of range"),
        (broken(labels_val=np.full(30, -1)), r"labels_val\[0\] is -1, out of range"),
    ],
)
def test_bad_data(data: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        SoftmaxRegression(2, 3, seed=0).train_with_sgd(data, 5, 0.1)


@pytest.mark.parametrize(
    "options",
    [{"num_iter": 0}, {"batch_size": 0}, {"print_every": 0}, {"learning_rate": np.nan}, {"patience": 0}],
)
def test_bad_options(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        SoftmaxRegression(2, 3).train_with_sgd(blobs(1), **{"num_iter": 5, "learning_rate": 0.1, **options})  # type: ignore[arg-type]


def test_bad_sizes_and_weights_that_grow_without_bounds() -> None:
    for wrong in ({"feature_dim": 0}, {"num_classes": -1}, {"reg": -1.0}, {"weight_scale": np.inf}):
        with pytest.raises(UsageError):
            SoftmaxRegression(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="smaller learning rate"), np.errstate(all="ignore"):
        SoftmaxRegression(2, 3, seed=0).train_with_sgd(blobs(1), 50, 1e38)
    with pytest.raises(RuntimeError, match=r"Model is not trained\."):
        SoftmaxRegression().run_inference(np.zeros((1, 2)))


def test_wrong_extractors(tmp_path: Path) -> None:
    regression = SoftmaxRegression(DIM + 1, 3)
    with pytest.raises(TrainingError, match=f"embeddings of {DIM} numbers, the layer was trained on {DIM + 1}"):
        regression.serialize_model(extractor())
    with pytest.raises(ModelFileError, match="Failed to open file"):
        regression.serialize_model(tmp_path / "none.tflite")
    graph = extractor().main
    two = Model((type(graph)(graph.tensors, graph.operators, graph.inputs, (*graph.outputs, *graph.outputs)),))
    with pytest.raises(UntrainableModelError, match="2 outputs"):
        regression.serialize_model(two)
    cut = Model((type(graph)(graph.tensors, graph.operators[:1], graph.inputs, graph.operators[0].outputs),))
    with pytest.raises(UntrainableModelError, match=r"'conv0' is \[1, 16, 16, 16\]"):
        regression.serialize_model(cut)
