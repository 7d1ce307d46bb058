"""What is in compiled files: packages, the original operators, each weight once, the same bytes every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from atoll import networks, toolchain
from atoll.compiler.package_format import VIRTUAL_CHIP, read_package
from atoll.model import Model
from atoll.model.dump import dump
from atoll.model.tflite import model_bytes, parse_model
from builders import branched, chain


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
    model = networks.build("mobilenet_v1_0.25_128")
    compiled = toolchain.compile_model(model, name="m")
    written = compiled.segments[0].model
    buffers = [t.buffer for graph in written.graphs for t in graph.tensors if t.buffer is not None]
    assert len({id(b) for b in buffers}) == len({bytes(b.data) for b in buffers})


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
