"""Embeddings and drawn pictures -> how fast and how well on-device learning works, as JSON.

Training times are the best of several runs; the accuracy is that of the whole 8-bit model on held-out pictures; the
embedding of 200 images is timed over four virtual devices that each take 20 ms, beside the ideal of 200 / 4 · 20 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.learning import ImprintingEngine, SoftmaxRegression, in_parallel, with_imprinting_tail
from atoll.model import Model
from atoll.model.tflite import read_model, write_model
from atoll.toolchain import compile_model

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))
from extractors import extractor, on_cpu  # noqa: E402
from pictures import pictures  # noqa: E402

RESULTS = HERE / "results" / "learning.json"
REAL = HERE.parents[1] / "shared/data/models/uncompiled/mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
DEVICES, LATENCY_S, IMAGES = 4, 0.02, 200


def best(function: Callable[[], object], repeats: int) -> float:
    """Least wall seconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return round(min(times), 4)


def training_times(repeats: int) -> dict[str, float]:
    """1,000 embeddings of 1,024 numbers, 100 classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 100
    x = (rng.random((100, 1024))[labels] + 0.5 * rng.random((1000, 1024))).astype(np.float32)
    model = with_imprinting_tail(extractor(dim=1024))

    def imprint() -> None:
        engine = ImprintingEngine(model)
        for embedding, label in zip(x, labels):
            engine.train(embedding, int(label))
        engine.serialize_model()

    def descend() -> None:
        SoftmaxRegression(1024, 100, seed=0).train_with_sgd({"data_train": x, "labels_train": labels}, 500, 0.01)

    return {"imprinting_s": best(imprint, repeats), "softmax_500_iterations_s": best(descend, repeats)}


def share_of_ideal(repeats: int) -> dict[str, float]:
    """Throughput over several devices that wait, as a share of the ideal."""
    model = compile_model(extractor(), name="extractor").segments[0].model
    images = [image[None].astype(np.int16) - 128 for image in pictures(IMAGES // 5, seed=1, size=32)[0]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "extractor.tflite"
        write_model(model, path)
        workers = [worker(path, VirtualEdgeTpu(f"virtual:{i}", latency=LATENCY_S)) for i in range(DEVICES)]
        seconds = best(lambda: list(in_parallel(images, workers, lambda image: image.astype(np.int8))), repeats)
    ideal = IMAGES / DEVICES * LATENCY_S
    return {"seconds": seconds, "ideal_seconds": ideal, "share_of_ideal": round(ideal / seconds, 3)}


def worker(path: Path, device: VirtualEdgeTpu) -> Callable[[np.ndarray], np.ndarray]:
    interpreter = make_interpreter(path, device)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(inputs: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, inputs)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


def accuracies(model: Model, size: int, rate: float) -> dict[str, float]:
    """Five drawn pictures per class to train on, twenty to test."""
    images, labels = pictures(5, seed=1, size=size)
    held_out, truth = pictures(20, seed=2, size=size)
    engine = ImprintingEngine(with_imprinting_tail(model))
    embed, plain = on_cpu(engine.serialize_extractor_model()), on_cpu(model)
    for image, label in zip(images, labels):
        engine.train(embed(image), label)
    x, test = np.stack([plain(image) for image in images]), np.stack([plain(image) for image in held_out])
    regression = SoftmaxRegression(x.shape[1], 5, seed=0)
    regression.train_with_sgd({"data_train": x, "labels_train": labels}, 500, rate)

    def accuracy(content: bytes) -> float:
        classify = on_cpu(content)
        return float(np.mean([classify(image).argmax() == label for image, label in zip(held_out, truth)]))

    return {
        "imprinting": accuracy(engine.serialize_model()),
        "softmax_float": regression.get_accuracy(test, truth),
        "softmax_8bit": accuracy(regression.serialize_model(model)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    report = {
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "load": os.getloadavg()[0]},
        "training": training_times(arguments.repeats),
        "embedding": share_of_ideal(arguments.repeats),
        "accuracy_random_extractor": accuracies(extractor(), 32, 0.3),
    }
    if REAL.exists():
        report["accuracy_mobilenet_v1"] = accuracies(read_model(REAL), 224, 0.01)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
