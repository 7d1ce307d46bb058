"""Extractors of the zoo learn: imprinted or regressed on a few drawn pictures, they recognise others.

Accuracies of random networks on 50 held-out pictures, seeds 0 and 1 (chance: 20 %), are in docs/learning.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from atoll import networks
from atoll.learning import ImprintingEngine, SoftmaxRegression
from atoll.model.tflite import parse_model
from atoll.networks.catalog import RECIPES
from atoll.support import operator_support
from atoll.toolchain import compile_model

sys.path.insert(0, str(Path(__file__).parents[1] / "learning"))
from extractors import on_cpu
from pictures import pictures

EMBEDDINGS = sorted(name for name in RECIPES if name.endswith("_embedding"))
SMALL = "mobilenet_v1_0.25_128"


def test_extractors_come_in_pairs() -> None:
    assert {name.replace("_embedding", "_l2") for name in EMBEDDINGS} == {n for n in RECIPES if n.endswith("_l2")}
    assert {"mobilenet_v1_1.0_224_embedding", "resnet50_embedding"} <= set(EMBEDDINGS)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_the_plain_extractor_is_its_classifier_without_the_end(name: str) -> None:
    whole, plain = (RECIPES[n].declare(RECIPES[n].resolution) for n in (name.removesuffix("_embedding"), name))
    assert [layer.name for layer in plain.layers] == [layer.name for layer in whole.layers[: len(plain.layers)]]
    (embedding,) = plain.outputs.values()
    assert embedding is plain.layers[-1] and embedding.shape[:-1] in ((1,), (1, 1, 1))


def test_the_imprintable_model_has_the_vendors_tail_and_is_mapped_whole() -> None:
    model = networks.build(f"{SMALL}_l2")
    assert [operator.kind for operator in model.main.operators[-5:]] == [
        *("L2_NORMALIZATION", "CONV_2D", "MUL", "RESHAPE", "SOFTMAX")
    ]
    assert all(not verdict.findings for verdict in operator_support(model.main).verdicts)
    segment = compile_model(model, name="m").segments[0]
    assert sum(map(len, segment.regions)) == len(model.main.operators)


@pytest.mark.parametrize(("name", "least"), [("mobilenet_v1_0.25_128", 0.8), ("mobilenet_v2_0.35_96", 0.7)])
def test_a_few_drawn_pictures_are_enough_to_learn(name: str, least: float) -> None:
    """Five classes, five pictures of each to train on, twenty of each to recognise.

    Averages of four sets of training pictures: a single one moves by up to 0.1 with the draw and with how the machine
    rounds floats. Measured over eight: 0.93 and 0.94 (imprinting, regression), and 0.87 and 0.88.
    """
    extractor = ImprintingEngine(networks.build(f"{name}_l2")).serialize_extractor_model()
    size = parse_model(extractor).main.tensors[0].shape[1]
    embed, plain = on_cpu(extractor), on_cpu(networks.build(f"{name}_embedding"))
    others, truth = pictures(20, seed=9, size=size)
    test = np.stack([plain(image) for image in others])
    imprinted, regressed = [], []
    for seed in range(4):
        train, labels = pictures(5, seed=seed, size=size)
        engine = ImprintingEngine(networks.build(f"{name}_l2"))
        for image, label in zip(train, labels):
            engine.train(embed(image), label)
        classify = on_cpu(engine.serialize_model())
        imprinted.append(np.mean([np.argmax(classify(image)) == label for image, label in zip(others, truth)]))

        x = np.stack([plain(image) for image in train])
        regression = SoftmaxRegression(x.shape[1], 5, seed=0)
        regression.train_with_sgd({"data_train": x, "labels_train": np.array(labels)}, 500, 0.05)
        regressed.append(regression.get_accuracy(test, np.array(truth)))
    print(f"{name}: imprinting {np.mean(imprinted):.0%}, softmax regression {np.mean(regressed):.0%}")  # noqa: T201
    assert min(np.mean(imprinted), np.mean(regressed)) >= least


def test_images_of_the_zoo_give_different_embeddings() -> None:
    model = networks.build("mobilenet_v2_0.35_96_embedding")
    embed = on_cpu(model)
    found = np.stack([embed((image.astype(int) + 128).astype(np.uint8)) for image in networks.images((96, 96, 3), 6)])
    assert found.std(axis=0).mean() > 0
    assert len(np.unique(found, axis=0)) == 6
