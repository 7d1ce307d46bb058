"""Every vendor file at hand is read as the goldens say and survives being written again."""

from __future__ import annotations

import json

import pytest

from atoll.compiler.package_format import (
    Base,
    ExecutableKind,
    InstructionTransfer,
    Interrupt,
    Package,
    Transfer,
    input_size,
    output_size,
    read_package,
    write_package,
)
from atoll.model import CUSTOM_OP
from atoll.model.tflite import read_model
from shared_data import DATA

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the vendor's files in ../shared/data")

GOLDENS = json.loads((DATA / "goldens.json").read_text()) if DATA.is_dir() else []
KINDS = {
    "EO": ExecutableKind.EXECUTION_ONLY,
    "PC": ExecutableKind.PARAMETER_CACHING,
    "SA": ExecutableKind.STAND_ALONE,
}
each_file = pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden["file"])


def packages(golden) -> list[tuple[dict, Package, memoryview]]:
    operators = read_model(DATA / "models" / golden["file"]).main.operators
    found = []
    for subgraph in golden["subgraphs"]:
        operator = operators[subgraph["custom_op_index"]]
        assert operator.custom_code == CUSTOM_OP
        found.append((subgraph, read_package(operator.custom_options), operator.custom_options))
    assert len(found) == sum(operator.custom_code == CUSTOM_OP for operator in operators)
    return found


def hints(executable) -> list[str]:
    lines = []
    for item in executable.dma_hints.hints:
        way, hint = item.direction.name.lower(), item.hint
        if isinstance(hint, Transfer):
            name = {Base.OUTPUT: "OUT", Base.INPUT: "IN", Base.PARAMETER: "PARAM", Base.SCRATCH: "SCRATCH"}
            lines.append(f"DMA {way} {(name[hint.address.base], hint.offset, hint.size)}")
        elif isinstance(hint, InstructionTransfer):
            lines.append(f"INSTR {way} {hint.chunk}")
        elif isinstance(hint, Interrupt):
            lines.append(f"INT {way} {hint.number}")
        else:
            lines.append(f"FENCE {way}")
    return lines


def as_golden(executable) -> dict:
    return {
        "name": executable.name,
        "chip": executable.chip,
        "batch": executable.batch,
        "token": f"{executable.token:#018x}",
        "parameters": len(executable.parameters),
        "instruction_bytes": [len(chunk.bitstream) for chunk in executable.instructions],
        "scratch": executable.scratch_bytes,
        "narrow_per_tile": executable.narrow_bytes_per_tile,
        "estimated_cycles": executable.estimated_cycles,
        "hints": hints(executable),
        "hints_deterministic": executable.dma_hints.fully_deterministic,
    }


@each_file
def test_fields_equal_the_golden(golden):
    for subgraph, package, _ in packages(golden):
        assert package.min_runtime_version == subgraph["min_runtime_version"]
        assert package.compiler_version == subgraph["compiler_version"]
        assert package.keypair_version == subgraph["keypair"]
        assert len(package.signature) == subgraph["signature_bytes"]
        for executable, expected in zip(package.executables, subgraph["executables"], strict=True):
            assert executable.kind is KINDS[expected["type"]]
            ours = as_golden(executable)
            assert ours == {name: expected[name] for name in ours}


@each_file
def test_layers_equal_the_golden(golden):
    for subgraph, package, _ in packages(golden):
        for executable, expected in zip(package.executables, subgraph["executables"], strict=True):
            for layer, line in zip(executable.input_layers, expected["inputs"], strict=True):
                ours = (layer.name, [layer.y, layer.x, layer.z], layer.size_bytes, layer.data_type)
                assert ours == (line["name"], line["yxz"], line["size"], line["dt"])
                assert layer.numerics.zero_point == line["zp"]
                assert layer.numerics.scale == pytest.approx(line["scale"], rel=1e-6)
            for layer, line in zip(executable.output_layers, expected["outputs"], strict=True):
                ours = (layer.name, [layer.y, layer.x, layer.z], layer.size_bytes, layer.executions)
                assert ours == (line["name"], line["yxz"], line["size"], line["execs"])


@each_file
def test_cached_and_streamed_bytes_equal_the_golden(golden):
    found = [package for _, package, _ in packages(golden)]
    assert sum(package.cached_bytes for package in found) == golden["cached_bytes"]
    assert sum(package.streamed_bytes for package in found) == golden["streamed_bytes"]


@each_file
def test_layer_sizes_follow_the_rules(golden):
    for _, package, _ in packages(golden):
        for executable in package.executables:
            for layers, size in ((executable.input_layers, input_size), (executable.output_layers, output_size)):
                for layer in layers:
                    whole = size(layer.y, layer.x, layer.z, layer.data_type.itemsize)
                    assert layer.size_bytes == whole // layer.executions


@each_file
def test_read_write_read_is_the_identity(golden):
    for _, package, options in packages(golden):
        written = write_package(package)
        assert read_package(written) == package
        assert abs(len(written) - len(options)) <= 4096
