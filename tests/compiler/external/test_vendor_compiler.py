"""The vendor's compiler behind our cuts: what is compiled fits, is compared with the prediction, and fails in words."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from atoll import toolchain
from atoll.compiler.external.agreement import sentences
from atoll.compiler.external.calling import VendorResult
from atoll.compiler.external.installed import VARIABLE
from atoll.compiler.external.vendor_compiler import VendorCompiler, _publish
from atoll.compiler.interface import CompiledFiles, CompileOptions
from atoll.compiler.packages import packages
from atoll.errors import (
    CompilerFailedError,
    CompilerMissingError,
    CompilerResultError,
    OutputError,
    UnsupportedModelError,
)
from atoll.model import Model
from atoll.model.tflite import read_model, write_model
from atoll.partitioning import Partition, partition_of
from builders import branched, chain
from standin_compiler import VERSION, install

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the vendor's compiler is for Linux")


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VendorCompiler:
    monkeypatch.delenv(VARIABLE, raising=False)
    return VendorCompiler(str(install(tmp_path / "bin")), VERSION)


@pytest.fixture
def err(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the stand-in err: ``err("MODEL=ERROR")``."""
    return lambda how: monkeypatch.setenv("STANDIN_COMPILER", how)


def loaded(model: Model, tmp_path: Path) -> Model:
    write_model(model, tmp_path / "net.tflite")
    return toolchain.load(tmp_path / "net.tflite")


def in_segments(model: Model, *ends: int) -> Partition:
    starts = (0, *ends)
    return partition_of(model.main, [range(a, b) for a, b in zip(starts, (*ends, len(model.main.operators)))], "test")


@dataclass(frozen=True)
class Made:
    model: Model
    partition: Partition
    done: CompiledFiles
    seen: list[int]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model in three segments, of which the second skips the last."""
    folder = tmp_path_factory.mktemp("made")
    model, seen = loaded(branched(3), folder), list[int]()
    partition = in_segments(model, 1, 3)
    compiler = VendorCompiler(str(install(folder / "bin")), VERSION)
    done = compiler.compile([model], folder / "out", partition, lambda _title, n=0, _total=None: seen.append(n))
    return Made(model, partition, done, seen)


def test_segments_are_compiled_for_real_chips_and_agree(made: Made) -> None:
    done, partition, seen = made.done, made.partition, made.seen
    assert [path.name for path in done.paths] == [f"net_segment_{i}_of_3_edgetpu.tflite" for i in range(3)]
    assert sorted(path.name for path in done.paths[0].parent.iterdir()) == sorted(
        name for path in done.paths for name in (path.name, path.with_suffix(".log").name)
    )
    assert seen == [1, 2, 3]
    for path, segment, record in zip(done.paths, partition.segments, done.agreements):
        compiled = read_model(path)
        names = [tensor.name for tensor in compiled.main.tensors]
        assert {names[i] for i in compiled.main.inputs} == set(segment.inputs)
        assert {names[i] for i in compiled.main.outputs} == set(segment.outputs)
        assert {item.chip for package in packages(compiled) for item in package.executables} == {"beagle"}
        assert (record.file, record.differences, record.searched) == (path.name, (), False)
        assert record.predicted.operators == record.vendor.operators == len(segment.operators)
        assert record.predicted.mapped == record.vendor.mapped
        assert record.predicted.runtime == record.vendor.runtime is not None
    assert "agree on every figure" in " ".join(sentences(done.agreements))


def test_the_minimum_runtime_is_passed_on_and_read_from_the_file(compiler: VendorCompiler, tmp_path: Path) -> None:
    model = loaded(chain(), tmp_path)
    done = replace(compiler, options=CompileOptions(min_runtime=13)).compile([model], tmp_path, in_segments(model))
    assert done.paths == (tmp_path / "net_edgetpu.tflite",)
    assert done.agreements[0].vendor.runtime == max(p.min_runtime_version for p in packages(read_model(done.paths[0])))


def test_an_earlier_stop_is_told_and_shows_in_the_figures(
    compiler: VendorCompiler, tmp_path: Path, err: Callable[[str], None]
) -> None:
    model = loaded(chain(6), tmp_path)
    err("segment_1=stop:conv_4")
    done = compiler.compile([model], tmp_path / "out", in_segments(model, 3))
    first, second = done.agreements
    assert (first.searched, second.searched) == (False, True)
    assert (second.predicted.mapped_operators, second.vendor.mapped_operators) == (3, 2)
    differing = {item.what: (item.predicted, item.vendor) for item in second.differences}
    assert differing["operators on the Edge TPU"] == differing["CONV_2D on the Edge TPU"] == ("3", "2")
    assert "on-chip memory" in differing
    assert "operators" not in differing
    text = " ".join(sentences(done.agreements))
    assert "asked to stop earlier: 2 of 3 operators" in text
    assert "agree on every figure of 1 of 2 files" in text


def test_a_failure_names_the_segment_and_leaves_nothing(
    compiler: VendorCompiler, tmp_path: Path, err: Callable[[str], None]
) -> None:
    model = loaded(chain(6), tmp_path)
    err("segment_1=refuse")
    with pytest.raises(CompilerFailedError) as caught:
        compiler.compile([model], tmp_path / "out", in_segments(model, 2))
    assert f"{tmp_path / 'net.tflite'}, segment 1 of 2 (operators #2 CONV_2D 'conv_2' to #5" in caught.value.message
    assert "large activation" in caught.value.message
    assert "atoll partition" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("garbage", "cannot be used"),
        ("virtual", "virtual Edge TPUs"),
        ("mute", "printed no report"),
        ("instead:{other}", "the inputs of the compiled file are left int8"),
    ],
)
def test_results_that_do_not_fit(
    compiler: VendorCompiler, made: Made, tmp_path: Path, err: Callable[[str], None], how: str, message: str
) -> None:
    model = loaded(chain(2), tmp_path)
    err(f"net={how.format(other=made.done.paths[0])}")
    with pytest.raises(CompilerResultError, match=message):
        compiler.compile([model], tmp_path / "out", in_segments(model))
    assert not (tmp_path / "out").exists()


def test_other_failures_come_through(compiler: VendorCompiler, made: Made, tmp_path: Path) -> None:
    model = loaded(chain(2), tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        _publish([VendorResult(tmp_path, tmp_path / "file", tmp_path, "", 0.0, False)], tmp_path / "file")
    with pytest.raises(UnsupportedModelError, match="compiled"):
        compiler.compile([read_model(made.done.paths[0])], tmp_path, in_segments(model))
    Path(compiler.path).unlink()
    with pytest.raises(CompilerMissingError):
        compiler.compile([model], tmp_path / "out", in_segments(model))


def test_what_is_made_runs_in_order(made: Made) -> None:
    """The oracle: the segments one after the other give what the model gives, bit for bit."""
    import numpy as np

    from atoll.device import make_interpreter
    from atoll.device.plain import plain_interpreter

    whole = plain_interpreter(made.model)
    whole.allocate_tensors()
    values = {}
    for detail in whole.get_input_details():
        values[detail["name"]] = np.random.default_rng(1).integers(-128, 128, detail["shape"]).astype(np.int8)
        whole.set_tensor(detail["index"], values[detail["name"]])
    whole.invoke()
    for path in made.done.paths:
        part = make_interpreter(path)
        part.allocate_tensors()
        for detail in part.get_input_details():
            part.set_tensor(detail["index"], values[detail["name"]])
        part.invoke()
        values |= {detail["name"]: part.get_tensor(detail["index"]).copy() for detail in part.get_output_details()}
    for detail in whole.get_output_details():
        assert whole.get_tensor(detail["index"]).tobytes() == values[detail["name"]].tobytes()
