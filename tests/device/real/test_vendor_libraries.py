"""The vendor's own libraries, where the environment names some: no hardware, but their real code.

``ATOLL_TEST_LIBEDGETPU`` names files of ``libedgetpu`` and ``posenet_decoder.so``, separated as in PATH. Nobody commits
them. A stand-in for libusb shows them one USB device; ../shared/prototypes/runtime has it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from atoll.device import adapt_delegate
from atoll.device.doctor import diagnose
from atoll.device.real import layouts, library, runtime, trial
from standins import SOURCE

VARIABLE = "ATOLL_TEST_LIBEDGETPU"
LIBRARIES = [Path(path) for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
PROTOTYPE = Path(__file__).parents[3].parent / "shared/prototypes/runtime/fakeusb2.c"

EDGE_TPU = [path for path in LIBRARIES if b"edgetpu_create_delegate" in path.read_bytes()]
POSENET = [path for path in LIBRARIES if b"PosenetDecoderOp" in path.read_bytes()]


def named(paths: list[Path], what: str) -> pytest.MarkDecorator:
    absent = pytest.mark.skip(reason=f"{VARIABLE} names no {what}")
    return pytest.mark.parametrize("path", paths or [pytest.param(None, marks=absent)], ids=str)


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(layouts.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(layouts, "_here", {})


@pytest.fixture
def usb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A libusb with one emulated device, for this process and its children."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not PROTOTYPE.exists() or compiler is None:
        pytest.skip("the stand-in for libusb needs ../shared/prototypes/runtime and a C compiler")
    folder = tmp_path / "usb"
    folder.mkdir()
    target = folder / "libusb-1.0.so.0"
    flags = ["-shared", "-fPIC", "-O1", "-w", f"-I{SOURCE}", "-Wl,-soname,libusb-1.0.so.0", "-lpthread"]
    subprocess.run([compiler, "-o", str(target), str(PROTOTYPE), *flags], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    ctypes.CDLL(str(target), ctypes.RTLD_GLOBAL)  # found by its name from now on


@named(EDGE_TPU, "libedgetpu")
@pytest.mark.usefixtures("usb")
def test_a_runtime_of_the_vendor_prepares_a_model(path: Path) -> None:
    delegate = adapt_delegate(path)
    old = b"CL_NUMBER=291256449" in path.read_bytes() or b"CL_NUMBER=317268237" in path.read_bytes()
    assert delegate.tensor_bytes == (104 if old else 112)  # ../shared/facts/runtime-library.md
    with trial.model_file(str(path)) as (file, _):
        interpreter = Interpreter(str(file), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    assert delegate.complete is False


@named(EDGE_TPU, "libedgetpu")
@pytest.mark.usefixtures("usb")
def test_the_doctor_on_a_runtime_of_the_vendor(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.VARIABLE, str(path))
    runtime.forget()
    (check,) = [check for check in diagnose().checks if check.name == "fit"]
    assert check.state == "ok"
    assert "through atoll's adapter" in check.finding
    runtime.forget()


@named(POSENET, "posenet_decoder.so")
def test_the_posenet_decoder_decodes(path: Path) -> None:
    """A pose whose keypoints all lie in one place, without offsets, is found there."""
    delegate = adapt_delegate(path)
    model = trial.posenet_model(side=9, detections=1)
    from atoll.model.tflite import model_bytes

    interpreter = Interpreter(model_content=bytes(model_bytes(model)), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    inputs = interpreter.get_input_details()
    heat = np.full(inputs[0]["shape"], -10, np.float32)
    heat[0, 4, 5] = 10
    values = [heat] + [np.zeros(detail["shape"], np.float32) for detail in inputs[1:]]
    for detail, value in zip(inputs, values):
        interpreter.set_tensor(detail["index"], value)
    for _ in range(3):
        interpreter.invoke()
    poses, _, scores, count = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    assert count == 1
    assert scores[0, 0] > 0.99
    assert np.allclose(poses[0, 0], poses[0, 0, 0])
