"""Interpreters through the vendor's calls compute what ours do, and say why they cannot be made."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from atoll import device
from atoll.pycoral.tflite_runtime import interpreter as tflite
from atoll.pycoral.utils import dataset, edgetpu

X = np.random.default_rng(3).integers(-128, 128, (1, 8, 8, 4)).astype(np.int8)


def output(interpreter: tflite.Interpreter) -> np.ndarray:
    interpreter.allocate_tensors()
    edgetpu.run_inference(interpreter, X.tobytes())
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.fixture(scope="module")
def reference(models: Path) -> np.ndarray:
    return output(device.make_interpreter(models / "net_edgetpu.tflite"))


def test_from_a_path_and_from_bytes_on_any_device_and_on_a_named_one(models: Path, reference: np.ndarray) -> None:
    path = models / "net_edgetpu.tflite"
    assert reference.any()
    for interpreter in (
        edgetpu.make_interpreter(str(path)),
        edgetpu.make_interpreter(path.read_bytes(), ":1"),
        edgetpu.make_interpreter(str(path), device="pci:2"),
        edgetpu.make_interpreter(str(path), delegate=edgetpu.load_edgetpu_delegate({"device": "pci:3"})),
        tflite.Interpreter(str(path), experimental_delegates=[tflite.load_delegate("libedgetpu.so.1")]),
        tflite.Interpreter(
            model_content=path.read_bytes(),
            experimental_delegates=[tflite.load_delegate("/usr/lib/libedgetpu.so.1.0", {"device": "pci"})],
        ),
    ):
        assert output(interpreter).tobytes() == reference.tobytes()
    plain = output(tflite.Interpreter(model_path=str(models / "net.tflite")))
    assert np.abs(plain.astype(int) - reference).max() <= 7  # other kernels: ../shared/facts/runtime.md


def test_every_way_to_give_the_input(models: Path, reference: np.ndarray) -> None:
    interpreter = edgetpu.make_interpreter(str(models / "net_edgetpu.tflite"))
    interpreter.allocate_tensors()
    flat = np.ascontiguousarray(X).view(np.uint8).reshape(-1)
    pointer = ctypes.c_void_p(flat.ctypes.data)
    index = interpreter.get_output_details()[0]["index"]
    for data in (X.tobytes(), flat, (pointer, flat.size)):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.zeros_like(X))
        edgetpu.run_inference(interpreter, data)
        assert interpreter.get_tensor(index).tobytes() == reference.tobytes()
    for data in (b"123", flat[:5], (pointer, 5)):
        with pytest.raises(ValueError, match=r"input size=\d, expected=256\."):
            edgetpu.run_inference(interpreter, data)
    with pytest.raises(TypeError, match="not supported"):
        edgetpu.run_inference(interpreter, [1, 2, 3])


def test_what_cannot_be_made_is_a_value_error_with_the_reason(models: Path, tmp_path: Path) -> None:
    path = str(models / "net_edgetpu.tflite")
    with pytest.raises(ValueError, match="Failed to load delegate: no Edge TPU 'pci:99'"):
        edgetpu.make_interpreter(path, "pci:99")
    with pytest.raises(ValueError, match="usb"):
        edgetpu.load_edgetpu_delegate({"device": "usb"})
    with pytest.raises(ValueError, match=r"nothing\.tflite"):
        edgetpu.make_interpreter(str(tmp_path / "nothing.tflite"))
    with pytest.raises(ValueError):
        edgetpu.make_interpreter(b"no model")


def test_devices_version_and_verbosity() -> None:
    tpus = edgetpu.list_edge_tpus()
    assert len(tpus) == 8
    assert all(set(tpu) == {"type", "path"} for tpu in tpus)
    assert "RuntimeVersion(" in edgetpu.get_runtime_version()
    assert edgetpu.set_verbosity(0)
    assert not edgetpu.set_verbosity(11)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat\ndog\n", {0: "cat", 1: "dog"}),
        ("3 cat\n7: big dog\n", {3: "cat", 7: "big dog"}),
        ("  1   person  \n2\tbicycle\n", {1: "person", 2: "bicycle"}),
        ("12\n", {0: "12"}),
        ("", {}),
    ],
)
def test_labels(tmp_path: Path, text: str, labels: dict[int, str]) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    assert dataset.read_label_file(str(path)) == labels
