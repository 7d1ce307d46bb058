"""A segment just compiled, and the file it becomes, ask for the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll import toolchain
from atoll.compiler.interface import CompileOptions
from atoll.compiler.package_format import read_package
from atoll.errors import AtollError, DeviceError, UnsupportedModelError
from atoll.estimate import timing_of
from atoll.estimate.workload import workload
from atoll.hardware.host import profile
from atoll.model import CUSTOM_OP, Model
from atoll.model.tflite import read_model, write_model
from builders import branched, chain


@pytest.mark.parametrize("cpu_graph", [True, False], ids=["with originals", "weights in the blobs only"])
@pytest.mark.parametrize("model", [chain(6), branched()], ids=["chain", "branched"])
@pytest.mark.parametrize("segments", [1, 2])
def test_a_segment_and_its_file_agree(tmp_path: Path, model: Model, segments: int, cpu_graph: bool) -> None:
    compiled = toolchain.compile_model(model, segments, CompileOptions(cpu_graph=cpu_graph), name="m")
    for segment, path in zip(compiled.segments, compiled.write(tmp_path)):
        here, there = workload(segment), workload(path)
        assert (there.regions, dict(there.parameters)) == (here.regions, dict(here.parameters))
        assert timing_of(there.demand, profile("pi4-usb3")) == timing_of(here.demand, profile("pi4-usb3"))


def test_a_file_that_is_not_compiled(tmp_path: Path) -> None:
    write_model(chain(2), tmp_path / "m.tflite")
    with pytest.raises(UnsupportedModelError, match="not compiled"):
        workload(tmp_path / "m.tflite")


def pairs(shared: Path) -> list[tuple[Path, Path]]:
    models = shared / "data/models"
    compiled = sorted((models / "v16").glob("*_edgetpu.tflite"))
    found = [(path, models / "uncompiled" / path.name.replace("_edgetpu", "")) for path in compiled]
    return [(path, original) for path, original in found if original.exists()]


def test_vendor_files_are_read_as_they_are(shared: Path) -> None:
    """All their parameters are placed, and their own instruction streams counted."""
    tested = 0
    for path, original in pairs(shared):
        try:
            work = workload(path, original)
        except DeviceError:
            continue  # those that were not made from this very original
        tested += 1
        packages = [
            read_package(operator.custom_options, "")
            for operator in read_model(path).main.operators
            if operator.custom_code == CUSTOM_OP
        ]
        streams = [
            sum(
                len(chunk.bitstream)
                for e in p.executables
                if e.kind.name != "PARAMETER_CACHING"
                for chunk in e.instructions
            )
            for p in packages
        ]
        assert work.instruction_bytes == tuple(streams) and all(streams)
        held = sum(package.cached_bytes + package.streamed_bytes for package in packages)
        if any(operator.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM" for operator in work.graph.operators):
            continue  # parameter_size says that it counts too little for them
        placed = sum(use.cached + use.streamed for use in work.parameters.values())
        assert placed == pytest.approx(held, rel=0.02, abs=1024), path.name  # identities that the vendor inserts
    assert tested >= 4


def test_a_vendor_file_without_its_original(shared: Path) -> None:
    path, _ = pairs(shared)[0]
    with pytest.raises(DeviceError, match="original"):
        workload(path)


def test_a_vendor_file_with_another_original(shared: Path) -> None:
    (one, _), (_, other) = pairs(shared)[0], pairs(shared)[2]
    with pytest.raises(AtollError):
        workload(one, other)
