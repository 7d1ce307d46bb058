"""``atoll.run``: any network, cut into any number of segments, run as a pipeline, equals the whole bit for bit."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atoll import networks, toolchain
from atoll.api.run import run
from atoll.device.plain import plain_interpreter
from atoll.errors import VerificationError
from atoll.model import Model
from atoll.model.tflite import read_model, write_model
from atoll.partitioning import legal_cuts
from atoll.pipeline.run_deployment import RunSettings
from atoll.products.random_inputs import random_inputs
from atoll.products.run_result import RunResult, Tensors
from atoll.reporting.comparison import compare
from builders import branched, chain

MOST = 8


def result_of(sample: list[tuple[Tensors, Tensors]]) -> RunResult:
    """A run on real devices that gave these outputs."""
    return RunResult(len(sample), 1.0, 1.0, (), "", tuple(sample), False, False, False, 1, ())


def check_all_cuts(model: Model, inferences: int = 3) -> None:
    """``run`` itself compares with the uncut model, and raises where they differ."""
    for segments in range(1, 1 + min(MOST, len(legal_cuts(model.main)) + 1)):
        inputs = random_inputs(model.main, seed=segments)
        report = run(model, tpus=segments, inferences=inferences, verify=inferences, input=inputs, wait=0)
        assert report.verified == inferences and len(report.segments) == segments


def test_every_cut_of_a_real_model_equals_the_whole(original_model: Path) -> None:
    check_all_cuts(read_model(original_model))


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128", "mobilenet_v2_0.35_96", "unet_small", "ssd_mobilenet_v1"])
def test_every_cut_of_a_zoo_model_equals_the_whole(name: str) -> None:
    model = replace(networks.build(name), path=f"{name}.tflite")
    check_all_cuts(model)
    whole = plain_interpreter(model)
    whole.allocate_tensors()
    answers = set()
    for inputs in itertools.islice(random_inputs(model.main), 3):
        for detail in whole.get_input_details():
            whole.set_tensor(detail["index"], inputs[detail["name"]])
        whole.invoke()
        answers.add(b"".join(whole.get_tensor(d["index"]).tobytes() for d in whole.get_output_details()))
    assert len(answers) == 3, "a network whose output does not vary makes every equality empty"


@pytest.mark.parametrize("model", [chain(), branched()], ids=["chain", "branched"])
def test_every_cut_of_a_small_model_equals_the_whole(model: Model) -> None:
    check_all_cuts(replace(model, path="small.tflite"))


def test_a_difference_is_found() -> None:
    """The proof must be able to fail: compile one model, compare with another."""
    model = replace(chain(seed=1), path="m.tflite")
    inputs = list(itertools.islice(random_inputs(model.main), 1))
    wrong = [(inputs[0], {"conv_5": np.zeros((1, 8, 8, 4), np.int8)})]
    [deviation] = compare(result_of(wrong), model)
    assert (deviation.inference, deviation.output) == (0, "conv_5")
    assert 0 < deviation.count <= deviation.size and deviation.most >= 1


def test_a_run_whose_outputs_differ_is_an_error(tmp_path: Path) -> None:
    right, other = (replace(chain(seed=seed), path="m.tflite") for seed in (1, 2))
    deployment = toolchain.deploy(right, toolchain.equal_partition(right.main, 2), tmp_path)
    with pytest.raises(VerificationError, match="'conv_5' of inference 0"):
        toolchain.run(deployment, other, random_inputs(right.main), RunSettings(1, wait=0))


def test_the_file_runs_without_any_delegate_through_its_cpu_signature(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = replace(branched(), path="m.tflite")
    compiled = toolchain.compile_model(model)
    write_model(compiled.segments[0].model, tmp_path / "c.tflite")
    inputs = next(random_inputs(model.main))
    plain = Interpreter(
        model_path=str(tmp_path / "c.tflite"),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    outputs = plain.get_signature_runner("cpu")(**inputs)
    assert not compare(result_of([(inputs, outputs)]), model)
    assert set(outputs) == {"d", "f"}
