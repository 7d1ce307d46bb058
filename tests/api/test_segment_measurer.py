"""Segments are compiled and measured once, ever; what fails is remembered; a device that fails ends it, resumably."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.api.inference_timers import DeviceTimer, ModelTimer
from atoll.api.segment_measurer import SegmentMeasurer, segment_model
from atoll.compiler.own_compiler import OwnCompiler
from atoll.device import Faults, VirtualEdgeTpu
from atoll.errors import CompilerMissingError, DeviceError, DeviceLostError, UnsupportedModelError
from atoll.hardware.host import profile
from atoll.model import Model
from atoll.model.tflite import model_bytes, write_model
from atoll.networks import build
from atoll.partitioning import equal_parameters
from atoll.partitioning.best_cuts import cut_places
from atoll.partitioning.measured.store import Failure, MeasurementFile, Store
from atoll.partitioning.segment_costs import SegmentCosts
from atoll.toolchain import compile_model
from builders import branched, chain

HOST = profile("x86-pcie")


class Counting:
    """Our compiler, which counts, and refuses segments of a given number of operators."""

    def __init__(self, refuses: int = 0, identity: str = "counting 1") -> None:
        self.calls = 0
        self.identity = identity
        self._refuses = refuses

    def compile_file(self, model: Path, directory: Path) -> Path:
        self.calls += 1
        first, last = (int(part) for part in model.stem.split("_")[1::2])
        if last - first + 1 == self._refuses:
            raise UnsupportedModelError(f"{self._refuses} operators are too many")
        return OwnCompiler().compile_file(model, directory)


@pytest.fixture
def store(tmp_path: Path) -> MeasurementFile:
    return MeasurementFile(tmp_path / "measurements.json")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def modelled() -> ModelTimer:
    return ModelTimer(HOST)


@pytest.fixture(scope="module")
def mobilenet() -> Model:
    return build("mobilenet_v1_0.25_128")


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_the_timing_model_gives_the_numbers_of_the_plan(
    mobilenet: Model, store: Store, scratch: Path, stages: int
) -> None:
    costs = SegmentCosts(mobilenet.main, HOST)
    measure = SegmentMeasurer(mobilenet, OwnCompiler(), ModelTimer(HOST, stages), store, scratch)
    places = cut_places(mobilenet.main, 2)
    for start, end in [(0, places[-1]), (0, 5), (7, 20), (places[-4], places[-1])]:
        own = costs.in_pipeline(1 if (start, end) == (0, places[-1]) else stages)  # all of it is one stage
        assert measure(start, end) == pytest.approx(own.cost(start, end), rel=1e-9)


def test_segments_are_those_of_a_compilation(mobilenet: Model) -> None:
    for model in (mobilenet, branched()):
        cuts = equal_parameters(model.main, 3)
        compiled = compile_model(model, 3)
        bounds = itertools.pairwise([0, *cuts, len(model.main.operators)])
        for segment, (start, end) in zip(compiled.segments, bounds):
            assert bytes(model_bytes(segment.source)) == bytes(model_bytes(segment_model(model, start, end)))
    assert segment_model(mobilenet, 0, len(mobilenet.main.operators)) is mobilenet


def test_nothing_is_compiled_twice(store: MeasurementFile, scratch: Path, modelled: ModelTimer) -> None:
    compiler, told = Counting(), list[str]()
    measure = SegmentMeasurer(
        chain(6), compiler, modelled, store, scratch, on_progress=lambda title, *_: told.append(title)
    )
    found = [measure(0, 3), measure(3, 6), measure(0, 3)]
    assert compiler.calls == 2 and found[0] == found[2] and len(told) == 2 and told[1].startswith("operators 3-5: ")
    again = SegmentMeasurer(chain(6), compiler, modelled, MeasurementFile(store.path), scratch)
    assert [again(0, 3), again(3, 6)] == found[:2] and compiler.calls == 2 and not again.fresh
    assert not any(scratch.iterdir())


@pytest.mark.parametrize("change", ["weights", "compiler", "stages", "host"])
def test_what_a_measurement_depends_on_is_measured_anew(
    store: Store, scratch: Path, modelled: ModelTimer, change: str
) -> None:
    compiler = Counting()
    SegmentMeasurer(chain(6), compiler, modelled, store, scratch)(1, 4)
    other = Counting(identity="counting 2") if change == "compiler" else compiler
    meter = {"stages": ModelTimer(HOST, 2), "host": ModelTimer(profile("pi4-usb3"))}.get(change, modelled)
    before = other.calls
    SegmentMeasurer(chain(6, seed=int(change == "weights")), other, meter, store, scratch)(1, 4)
    assert other.calls == before + 1


def test_failures_are_remembered(store: Store, scratch: Path, modelled: ModelTimer) -> None:
    compiler = Counting(refuses=4)
    for _ in range(2):
        found = SegmentMeasurer(chain(6), compiler, modelled, store, scratch)(1, 5)
        assert isinstance(found, Failure) and "too many" in found.reason
    assert compiler.calls == 1


def test_a_file_made_of_something_else_is_a_failure(
    store: Store, scratch: Path, modelled: ModelTimer, tmp_path: Path
) -> None:
    write_model(branched(), tmp_path / "other.tflite")

    class Other(Counting):
        def compile_file(self, model: Path, directory: Path) -> Path:
            return Path(shutil.copy(tmp_path / "other.tflite", directory / "made.tflite"))

    found = SegmentMeasurer(chain(6), Other(), modelled, store, scratch)(0, 3)
    assert isinstance(found, Failure) and "inputs of the compiled file" in found.reason


def test_a_compiler_that_is_gone_ends_it_and_is_no_failure_of_the_segment(
    store: MeasurementFile, scratch: Path, modelled: ModelTimer
) -> None:
    class Gone(Counting):
        def compile_file(self, model: Path, directory: Path) -> Path:
            raise CompilerMissingError("gone")

    with pytest.raises(CompilerMissingError):
        SegmentMeasurer(chain(6), Gone(), modelled, store, scratch)(0, 3)
    assert len(store) == 0


def test_compiled_files_are_at_hand_for_the_result(store: Store, scratch: Path, modelled: ModelTimer) -> None:
    compiler = Counting()
    measure = SegmentMeasurer(chain(6), compiler, modelled, store, scratch, kept_bytes=1 << 30)
    measure(0, 3)
    kept = bytes(measure.compiled_file(0, 3))
    assert compiler.calls == 1 and len(list(scratch.iterdir())) == 1
    small = SegmentMeasurer(chain(6), compiler, modelled, store, scratch, kept_bytes=1)
    small(0, 3), small(1, 3), small(2, 3)
    assert compiler.calls == 3 and len(list(scratch.iterdir())) <= 2
    assert bytes(small.compiled_file(0, 3)) == kept and compiler.calls == 4  # it is remembered, and not at hand


@pytest.fixture
def device() -> Iterator[VirtualEdgeTpu]:
    tpu = VirtualEdgeTpu()
    yield tpu
    tpu.reset()  # a thread that hangs ends


def test_a_device_is_measured(store: Store, scratch: Path, device: VirtualEdgeTpu) -> None:
    device.latency = 2e-3
    found = SegmentMeasurer(chain(6), OwnCompiler(), DeviceTimer(device), store, scratch)(1, 4)
    assert isinstance(found, float) and found >= 2e-3
    assert device.inferences >= 12 and device.interpreters == 0


def test_a_device_that_disappears_ends_it_and_it_goes_on_from_there(
    store: MeasurementFile, scratch: Path, device: VirtualEdgeTpu
) -> None:
    compiler = Counting()
    measure = SegmentMeasurer(chain(6), compiler, DeviceTimer(device), store, scratch)
    measure(0, 3)
    device.faults = Faults(disconnect_at=device.inferences + 5)
    with pytest.raises(DeviceLostError, match="disconnected") as caught:
        measure(3, 6)
    assert "run the same command again" in caught.value.hint and len(store) == 1
    device.faults = Faults()
    device.reset()
    again = SegmentMeasurer(chain(6), compiler, DeviceTimer(device), MeasurementFile(store.path), scratch)
    assert isinstance(again(0, 3), float) and isinstance(again(3, 6), float)
    assert again.fresh == {(3, 6)} and compiler.calls == 3


def test_a_device_that_hangs_is_given_up(store: MeasurementFile, scratch: Path, device: VirtualEdgeTpu) -> None:
    device.faults = Faults(stall_at=4)
    measure = SegmentMeasurer(chain(6), OwnCompiler(), DeviceTimer(device, silence_s=0.5), store, scratch)
    with pytest.raises(DeviceError, match=r"not answered for 0\.5 s"):
        measure(0, 3)
    assert len(store) == 0
