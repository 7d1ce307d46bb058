"""Virtual devices take as long as the model says."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atoll import toolchain
from atoll.device import VirtualEdgeTpu, make_interpreter
from atoll.device.virtual.virtual_device import Invocation
from atoll.estimate import timing_of
from atoll.estimate.latency import latency_function
from atoll.estimate.workload import Workload, workload
from atoll.hardware.host import profile
from builders import chain

USB2 = profile("pi3-usb2")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    compiled = toolchain.compile_model(chain(4), name="m")
    (path,) = compiled.write(tmp_path)
    return path


def at(source: Path | Workload, clock_mhz: float = 500.0, loaded_bytes: int = 0, slowdown: float = 1.0) -> float:
    """Seconds of an invocation."""
    return latency_function(source, USB2)(Invocation("m", "usb2", loaded_bytes, clock_mhz, slowdown))


def test_seconds_of_an_inference_without_the_cpu(file: Path) -> None:
    work = workload(file)
    timing = timing_of(work.demand, USB2)
    assert at(file) == pytest.approx(timing.total_ms / 1e3)
    part = replace(work, regions=((0, 1),))
    timing = timing_of(part.demand, USB2)
    assert timing.cpu_ms > 0
    assert at(part) == pytest.approx((timing.total_ms - timing.cpu_ms) / 1e3)


def test_a_slower_clock_takes_longer(file: Path) -> None:
    timing = timing_of(workload(file).demand, USB2, clock_mhz=62.5)
    slow = at(file, clock_mhz=62.5)
    assert slow == pytest.approx(timing.total_ms / 1e3)
    assert slow > at(file)


def test_loading_and_a_slow_link_cost_what_the_bus_says(file: Path) -> None:
    plain, loaded = at(file), at(file, loaded_bytes=10**6)
    assert (loaded - plain) * 1e3 == pytest.approx(USB2.bus.load_fixed_ms + 1e3 / USB2.bus.load_mb_s)
    timing = timing_of(workload(file).demand, USB2)
    crossing = sum(r.input_ms + r.instructions_ms + r.output_ms for r in timing.regions)
    assert (at(file, slowdown=3.0) - plain) * 1e3 == pytest.approx(2 * crossing)


def test_invocations_of_several_regions_add_up(file: Path) -> None:
    work: Workload = replace(workload(file), regions=((0, 1), (3,)))
    timing = timing_of(work.demand, USB2)
    assert 2 * at(work) == pytest.approx((timing.total_ms - timing.cpu_ms) / 1e3)


def test_a_real_time_device_takes_the_modelled_time(file: Path) -> None:
    """At least that long, whatever the machine does; and says how long it was meant to be."""
    device = VirtualEdgeTpu(type="usb", usb=2, latency=latency_function(file, USB2))
    interpreter = make_interpreter(file, device)
    interpreter.allocate_tensors()
    detail = interpreter.get_input_details()[0]
    interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
    first = device.modelled_s
    begin = time.perf_counter()
    interpreter.invoke()
    taken = time.perf_counter() - begin
    assert device.modelled_s == at(file) <= taken
    assert first - device.modelled_s > USB2.bus.load_fixed_ms / 1e3  # the parameters were loaded
