"""Packages carry the parameters, and a region comes back from its package alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atoll.compiler.emit import CompiledSegment, parameter_blobs
from atoll.compiler.interface import CompileOptions
from atoll.compiler.package_format import ExecutableKind, Package, read_package, write_package
from atoll.compiler.parameters import pack_layer
from atoll.compiler.parameters.skeleton import has_skeletons, restore, restored
from atoll.errors import CorruptPackageError
from atoll.hardware.generations import DEFAULT, GENERATIONS
from atoll.model import CPU_SIGNATURE, CUSTOM_OP, Model
from atoll.model.tflite import model_bytes, parse_model, read_model
from atoll.toolchain import compile_model
from builders import branched, chain


def _compile(model: Model, **options: object) -> CompiledSegment:
    return compile_model(model, 1, CompileOptions(**options), name="m").segments[0]  # type: ignore[arg-type]


def _packages(model: Model) -> list[Package]:
    return [read_package(op.custom_options) for op in model.main.operators if op.custom_code == CUSTOM_OP]


@pytest.mark.parametrize("model", [chain(), branched()], ids=["chain", "branched"])
def test_a_package_holds_every_layers_bytes_in_execution_order(model: Model) -> None:
    segment = _compile(model)
    (package,) = _packages(parse_model(model_bytes(segment.model)))
    caching = package.executable(ExecutableKind.PARAMETER_CACHING)
    graph = segment.source.main
    expected = b"".join(
        pack_layer(graph, graph.operators[item.layer.operator]).tobytes() for item in segment.memory.layers
    )
    assert caching is not None
    assert bytes(caching.parameters) == expected
    assert package.cached_bytes == sum(item.layer.nbytes for item in segment.memory.layers if item.cached)


def test_both_executables_carry_the_token_of_the_compilation() -> None:
    compiled = compile_model(branched(), 2, name="m")
    tokens = {e.token for s in compiled.segments for p in _packages(s.model) for e in p.executables}
    assert tokens == {compiled.token}
    assert compiled.token != 0


def test_streamed_layers_are_in_the_executable_that_runs() -> None:
    segment = _compile(chain(length=3))
    layers = [replace(item, cached=n != 1) for n, item in enumerate(segment.memory.layers)]  # type: ignore[type-var]
    graph = segment.source.main
    cached, streamed = parameter_blobs(graph, segment.regions[0], layers, DEFAULT)
    packed = [pack_layer(graph, graph.operators[item.layer.operator]).tobytes() for item in layers]
    assert cached.tobytes() == packed[0] + packed[2]
    assert streamed.tobytes() == packed[1]


def _same_operators(ours: Model, original: Model) -> None:
    """Every operator reads and writes tensors of the same name, type and, for constants, value."""
    assert [op.kind for op in ours.main.operators] == [op.kind for op in original.main.operators]
    for a, b in zip(ours.main.operators, original.main.operators):
        pairs = zip((*a.inputs, *a.outputs), (*b.inputs, *b.outputs))
        for x, y in ((ours.main.tensors[i], original.main.tensors[j]) for i, j in pairs):
            assert (x.name, x.shape, x.dtype, x.is_constant) == (y.name, y.shape, y.dtype, y.is_constant)
            if x.is_constant:
                assert np.array_equal(x.array, y.array), x.name


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda g: g.name)
@pytest.mark.parametrize("model", [chain(), branched()], ids=["chain", "branched"])
def test_without_the_cpu_graph_the_original_comes_back_from_the_package(model: Model, generation: object) -> None:
    compiled = parse_model(model_bytes(_compile(model, cpu_graph=False, generation=generation, min_runtime=14).model))
    assert len(compiled.graphs) == 1
    assert all(signature.key != CPU_SIGNATURE for signature in compiled.signatures)
    assert has_skeletons(compiled)
    _same_operators(restored(compiled), model)


def test_a_skeleton_holds_no_weights() -> None:
    model = chain()
    (package,) = _packages(_compile(model, cpu_graph=False).model)
    skeleton = bytes(package.executables[0].serialized_model)
    for tensor in model.main.tensors:
        if tensor.name.endswith(("/weights", "/bias")):
            assert tensor.buffer is not None and bytes(tensor.buffer.data) not in skeleton


def test_a_package_with_torn_parameters_is_refused() -> None:
    (package,) = _packages(_compile(chain(), cpu_graph=False).model)
    run, load = package.executables
    torn = replace(package, executables=(run, replace(load, parameters=bytes(load.parameters)[:-4])))
    with pytest.raises(CorruptPackageError):
        restore(read_package(write_package(torn)))


def test_a_package_without_a_skeleton_is_refused() -> None:
    (package,) = _packages(_compile(chain()).model)
    with pytest.raises(CorruptPackageError, match="no model"):
        restore(package)


def test_real_models_come_back(original_model: Path) -> None:
    if original_model.stat().st_size > 5_000_000:
        pytest.skip("large, and like the others")
    model = read_model(original_model)
    compiled = _compile(model, cpu_graph=False).model
    if not has_skeletons(compiled):
        pytest.skip("nothing of it is mapped")
    by_output = {model.main.tensors[op.outputs[0]].name: op for op in model.main.operators}
    back = restored(compiled).main
    for operator in back.operators:
        twin = by_output[back.tensors[operator.outputs[0]].name]
        if operator.kind in ("FULLY_CONNECTED", "CONV_2D"):  # depthwise taps that touch nothing are not stored
            for i, j in zip(operator.inputs[1:], twin.inputs[1:]):
                if i >= 0 and back.tensors[i].shape == model.main.tensors[j].shape:
                    ours, theirs = back.tensors[i].array, model.main.tensors[j].array
                    assert ours.dtype == theirs.dtype
                    assert np.array_equal(ours, theirs) or _only_unused_taps_differ(ours, theirs)


def _only_unused_taps_differ(ours: np.ndarray, theirs: np.ndarray) -> bool:
    differing = (ours != theirs).any(axis=(0, 3))
    return bool(differing.any() and not differing.all())
