"""The main job: any network, cut into any number of segments, run as a pipeline, equals the whole bit for bit."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atoll import networks as zoo
from atoll import toolchain
from atoll.api import running
from atoll.compiler.package_format import VIRTUAL_CHIP, read_package
from atoll.device.plain import plain_interpreter
from atoll.errors import VerificationError
from atoll.model import Model
from atoll.model.dump import dump
from atoll.model.tflite import model_bytes, parse_model, read_model, write_model
from atoll.partitioning import legal_cuts
from atoll.products.inputs import random_inputs
from builders import branched, chain

MOST = 8


def check_all_cuts(model: Model, folder: Path, inferences: int = 3) -> None:
    """``run_pipeline`` itself compares with the uncut model, and raises where they differ."""
    for segments in range(1, 1 + min(MOST, len(legal_cuts(model.main)) + 1)):
        inputs = random_inputs(model.main, seed=segments)
        options = running.RunOptions(inferences, verify=inferences)
        report = running.run_pipeline(model, segments, inputs, folder / str(segments), options)
        assert report.verified == inferences and len(report.segments) == segments


def test_every_cut_of_a_real_model_equals_the_whole(original_model: Path, tmp_path: Path) -> None:
    check_all_cuts(read_model(original_model), tmp_path)


@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128", "mobilenet_v2_0.35_96", "unet_small", "ssd_mobilenet_v1"])
def test_every_cut_of_a_zoo_model_equals_the_whole(name: str, tmp_path: Path) -> None:
    model = replace(zoo.build(name), path=f"{name}.tflite")
    check_all_cuts(model, tmp_path)
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
def test_every_cut_of_a_small_model_equals_the_whole(model: Model, tmp_path: Path) -> None:
    check_all_cuts(replace(model, path="small.tflite"), tmp_path)


def test_a_difference_is_found(tmp_path: Path) -> None:
    """The proof must be able to fail: compile one model, compare with another."""
    model = replace(chain(seed=1), path="m.tflite")
    inputs = list(itertools.islice(random_inputs(model.main), 1))
    wrong = [(inputs[0], {"conv_5": np.zeros((1, 8, 8, 4), np.int8)})]
    [deviation] = running.compare_with_whole(model, wrong)
    assert (deviation.inference, deviation.output) == (0, "conv_5")
    assert 0 < deviation.count <= deviation.size and deviation.most >= 1


def test_a_run_whose_outputs_differ_is_an_error(tmp_path: Path) -> None:
    right, other = (replace(chain(seed=seed), path="m.tflite") for seed in (1, 2))
    deployment = toolchain.deploy(right, toolchain.equal_partition(right.main, 2), tmp_path)
    with pytest.raises(VerificationError, match="'conv_5' of inference 0"):
        running.run_deployment(deployment, other, random_inputs(right.main), running.RunOptions(1))


def test_a_compiled_file_says_what_it_is_and_keeps_the_original(tmp_path: Path) -> None:
    model = replace(branched(), path="m.tflite")
    compiled = toolchain.compile_model(model)
    written = parse_model(model_bytes(compiled.segments[0].model))
    operator = written.main.operators[0]
    assert operator.custom_code == "edgetpu-custom-op"
    package = read_package(operator.custom_options)
    assert {executable.chip for executable in package.executables} == {VIRTUAL_CHIP} != {"beagle"}
    assert {executable.token for executable in package.executables} == {compiled.token}
    assert [signature.key for signature in written.signatures] == ["serving_default", "cpu"]
    on_cpu = replace(written.graphs[-1], name="")
    assert dump(Model((on_cpu,))) == dump(Model((parse_model(model_bytes(model)).main,)))


def test_no_weight_is_stored_twice_in_the_graphs() -> None:
    model = zoo.build("mobilenet_v1_0.25_128")
    compiled = toolchain.compile_model(model, name="m")
    written = compiled.segments[0].model
    buffers = [t.buffer for graph in written.graphs for t in graph.tensors if t.buffer is not None]
    assert len({id(b) for b in buffers}) == len({bytes(b.data) for b in buffers})


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
    assert not running.compare_with_whole(model, [(inputs, outputs)])
    assert set(outputs) == {"d", "f"}


def test_compiling_twice_gives_the_same_bytes_and_another_model_another_token() -> None:
    first, second = (toolchain.compile_model(branched(), 2, name="m") for _ in range(2))
    assert [bytes(model_bytes(s.model)) for s in first.segments] == [
        bytes(model_bytes(s.model)) for s in second.segments
    ]
    other = toolchain.compile_model(branched(seed=1), 2, name="m")
    assert first.token == second.token != other.token


def test_repeated_tensor_names_are_told_apart(tmp_path: Path) -> None:
    model = chain(4)
    tensors = tuple(replace(t, name="same") if not t.is_constant else t for t in model.main.tensors)
    model = replace(model, graphs=(replace(model.main, tensors=tensors),), path="m.tflite")
    compiled = toolchain.compile_model(model, 3)
    names = [t.name for s in compiled.segments for t in (s.source.main.tensors[i] for i in s.source.main.outputs)]
    assert len(set(names)) == len(names) == 3
