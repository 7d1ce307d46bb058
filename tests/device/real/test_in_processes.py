"""Devices in worker processes: each process leases its own, and lets it go however it ends."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_commands_on_real import SECOND, Atoll, atoll, machine

from atoll.device import VirtualEdgeTpu, inventory, lease, make_interpreter
from atoll.device.virtual.faults import Faults
from atoll.errors import DeviceBusyError
from atoll.model import Model
from atoll.pipeline import Pipeline, StageError
from small_models import assert_equal, branched, compiled, plain_interpreter, random_input, run
from standins import PCI, Standin

__all__ = ["atoll", "machine"]
Save = Callable[[Model], Path]
FILES = [f"out/net_segment_{i}_of_2_edgetpu.tflite" for i in range(2)]


def values_and_results(count: int) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    oracle = plain_interpreter(branched())
    inputs = [random_input(oracle, np.random.default_rng(i)) for i in range(count)]
    return [(values, run(oracle, values)) for values in inputs]


def test_a_virtual_device_travels_with_its_settings() -> None:
    device = VirtualEdgeTpu(
        "here", type="usb", latency=0.01, clock="reduced", faults=Faults(error_at=3), real_time=False
    )
    device.inferences = 7
    other = pickle.loads(pickle.dumps([device, device]))
    assert other[0] is other[1], "two interpreters on one device stay on one"
    assert (other[0].path, other[0].type, other[0].latency, other[0].clock) == ("here", "usb", 0.01, "reduced")
    assert other[0].faults == device.faults and not other[0].real_time and other[0].inferences == 0


def test_an_unlisted_device_of_each_process_its_own(save: Save) -> None:
    path = save(compiled(branched(), range(len(branched().main.operators))))
    opener = partial(make_interpreter, path, VirtualEdgeTpu(latency=1e-4))
    expected = values_and_results(20)
    with Pipeline([[opener, opener]], processes=1) as pipeline:
        for (_, right), result in zip(expected, pipeline.map(values for values, _ in expected)):
            assert_equal(result, right)
    assert [(stage.device, stage.count) for stage in pipeline.stats()] == [("virtual", 20)]


def test_a_fault_of_the_device_has_its_name(save: Save) -> None:
    path = save(compiled(branched(), range(len(branched().main.operators))))
    opener = partial(make_interpreter, path, VirtualEdgeTpu("far away", faults=Faults(error_at=2)))
    inputs = [values for values, _ in values_and_results(3)]
    with Pipeline([opener], processes=1, on_error="continue") as pipeline:
        for values in inputs:
            pipeline.push(values)
        pipeline.pop()
        with pytest.raises(
            StageError, match=r"segment 0 \(far away\) failed on item 1: far away failed on inference 2"
        ):
            pipeline.pop()
        assert pipeline.pop() is not None


def test_leases_belong_to_the_processes(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(inventory.VARIABLE, "pci:1")
    path = save(compiled(branched(), range(len(branched().main.operators))))
    opener = partial(make_interpreter, path, "pci:0", wait=0)
    with lease(1, devices=["pci:0"]), pytest.raises(DeviceBusyError):
        Pipeline([opener], processes=1)
    with Pipeline([opener], processes=1) as pipeline:
        pipeline.push(values_and_results(1)[0][0])
        assert pipeline.pop() is not None
        with pytest.raises(DeviceBusyError):
            make_interpreter(path, "pci:0", wait=0)
    make_interpreter(path, "pci:0", wait=0).close()  # type: ignore[attr-defined]


def test_real_devices_are_opened_again_when_their_process_dies(atoll: Atoll, machine: Standin) -> None:
    assert atoll("compile", "net.tflite", "-n", 2, "-o", "out")[0] == 0
    machine.set(model=f"{PCI}={FILES[0]},{SECOND}={FILES[1]}")
    openers: list[Any] = [
        partial(make_interpreter, Path(FILES[i]).resolve(), device) for i, device in enumerate((PCI, SECOND))
    ]
    whole = plain("net.tflite")
    detail = whole.get_input_details()[0]
    random = np.random.default_rng(0)
    inputs = [random.integers(-128, 128, detail["shape"], np.int8) for _ in range(30)]
    with Pipeline(openers, processes=2, on_error="retry") as pipeline:
        for number, (value, result) in enumerate(zip(inputs, pipeline.map(inputs))):
            whole.set_tensor(detail["index"], value)
            whole.invoke()
            for output in whole.get_output_details():
                assert (result[output["name"]] == whole.get_tensor(output["index"])).all()
            if number == 5:
                os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        assert [stage.device for stage in pipeline.stats()] == [PCI, SECOND]


def plain(path: str) -> Any:
    interpreter = make_interpreter(path)
    interpreter.allocate_tensors()
    return interpreter
