"""What was measured is never measured again, by this process or the next."""

from __future__ import annotations

import math
import threading

import pytest

from atoll.errors import PartitionError
from atoll.partitioning.measured.store import Failure, MeasurementFile, Recorder, measurement_key, remembered


def test_a_recorder_asks_once_and_turns_failures_into_infinity():
    asked = []

    def measure(start, end):
        asked.append((start, end))
        return Failure("too large") if end - start > 2 else float(end - start)

    recorder = Recorder(measure, range(9))
    assert [recorder(0, 2), recorder(0, 2), recorder(0, 3), recorder(0, 3)] == [2.0, 2.0, math.inf, math.inf]
    assert asked == [(0, 2), (0, 3)] and recorder.calls == 2
    assert recorder.failures == {(0, 3): Failure("too large")}


def test_what_is_no_compiler_is_given_up_after_a_few_segments():
    recorder = Recorder(lambda _start, _end: Failure("left no file"), range(50))
    with pytest.raises(PartitionError, match=r"none of 8 segments .* not even the shortest") as caught:
        for end in range(49, 0, -1):
            recorder(0, end)
    assert "Is the compiler one?" in caught.value.hint and "left no file" in caught.value.hint


def test_what_compiles_short_segments_only_is_not_given_up():
    recorder = Recorder(lambda start, end: Failure("too large") if end - start > 2 else 1.0, range(50))
    assert [recorder(0, end) for end in range(49, 0, -1)] == [math.inf] * 47 + [1.0, 1.0]


def test_a_file_remembers_across_processes_what_was_measured_and_what_failed(tmp_path):
    path = tmp_path / "cache" / "measurements.json"
    first = remembered(lambda s, e: Failure("no") if s else 0.25, MeasurementFile(path), lambda s, e: f"{s}-{e}")
    assert [first(0, 1), first(1, 2)] == [0.25, Failure("no")]

    def never(start, end):
        raise AssertionError("measured twice")

    again = remembered(never, MeasurementFile(path), lambda s, e: f"{s}-{e}")
    assert [again(0, 1), again(1, 2)] == [0.25, Failure("no")]


def test_a_device_that_disappears_leaves_the_measurements_made_before(tmp_path):
    path = tmp_path / "measurements.json"

    def measure(start, end):
        if start == 2:
            raise ConnectionError("device lost")
        return 1.0

    look_up = remembered(measure, MeasurementFile(path), lambda s, e: f"{s}")
    look_up(0, 1)
    look_up(1, 2)
    with pytest.raises(ConnectionError):
        look_up(2, 3)
    assert set(MeasurementFile(path)) == {"0", "1"}


def test_processes_that_share_a_file_keep_each_others_measurements(tmp_path):
    path = tmp_path / "measurements.json"
    files = [MeasurementFile(path) for _ in range(4)]

    def fill(number):
        for n in range(5):
            files[number][f"{number}.{n}"] = float(n)

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(MeasurementFile(path)) == 20
    del files[0]["0.0"]
    assert len(MeasurementFile(path)) == 19


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"schema": "other/1"}',
        '{"schema": "atoll.measurements/1", "measurements": {"a": {"seconds": -1}}}',
        '{"schema": "atoll.measurements/1", "measurements": {"a": {"seconds": NaN}}}',
        '{"schema": "atoll.measurements/1", "measurements": {"a": 3}}',
        '{"schema": "atoll.measurements/1", "measurements": []}',
        "[" * 100_000,
    ],
)
def test_a_file_that_is_something_else_is_not_overwritten(tmp_path, content):
    path = tmp_path / "measurements.json"
    path.write_text(content)
    with pytest.raises(PartitionError, match="not a file of measurements"):
        MeasurementFile(path)
    assert path.read_text() == content


def test_the_key_depends_on_every_part_and_on_where_one_ends():
    parts = [(b"model", "atoll", "virtual", "usb3"), (b"model2", "atoll", "virtual", "usb3")]
    parts += [(b"model", "atollv", "irtual", "usb3"), (b"model", "atoll", "virtual", "pcie")]
    assert len({measurement_key(*p) for p in parts}) == 4
    assert measurement_key(*parts[0]) == measurement_key(*parts[0])
