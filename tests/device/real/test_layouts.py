"""Which layout a library has: tried in a child process, remembered in a file, told by the doctor."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from atoll.device import adapt_delegate, make_interpreter
from atoll.device.doctor import Check, diagnose
from atoll.device.leasing.lease import lease
from atoll.device.real import layouts, runtime
from atoll.errors import (
    DeviceError,
    LibraryArchitectureError,
    LibraryInvalidError,
    LibraryMissingError,
    RuntimeMisfitError,
    UsageError,
)
from small_models import chain, package
from standins import OF_2019, OF_2021, PCI, TODAY, UNKNOWN, Install, Layout, Standin, library_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    path.write_bytes(chain(package(chip="beagle")))
    return path


def children(standin: Standin) -> int:
    """How many processes other than this one made a delegate."""
    return len({event["pid"] for event in standin.events()} - {os.getpid()})


@pytest.mark.parametrize(("layout", "size", "tries"), [(TODAY, 112, 1), (OF_2021, 112, 1), (OF_2019, 104, 2)])
def test_found_once_and_remembered(
    install: Install, standin: Standin, file: Path, layout: Layout, size: int, tries: int
) -> None:
    library = install(layout)
    make_interpreter(file)
    assert children(standin) == tries
    adapt_delegate(library)
    standin.monkeypatch.setattr(layouts, "_here", {})  # as the next process finds it
    make_interpreter(file)
    adapt_delegate(library)
    assert children(standin) == tries
    (entry,) = json.loads(layouts.cache_file().read_text())["libraries"].values()
    assert entry == {"tensor_bytes": size, "plain": ""}


def test_another_library_under_the_same_name_is_tried_anew(install: Install, standin: Standin, tmp_path: Path) -> None:
    path = tmp_path / "libedgetpu.so.1"
    for count, layout in enumerate((OF_2021, OF_2019), 1):
        path.unlink(missing_ok=True)
        path.write_bytes(library_of(layout).read_bytes())
        install(layout)
        adapt_delegate(path)
        assert len(json.loads(layouts.cache_file().read_text())["libraries"]) == count


@pytest.mark.parametrize(("layout", "wrong"), [(OF_2019, 112), (OF_2021, 104), (TODAY, 104), (OF_2019, None)])
def test_a_wrong_layout_ends_the_child_and_is_told(install: Install, file: Path, layout: Layout, wrong: int) -> None:
    answer = runtime.ask(str(install(layout)), ("pci", PCI), {}, file, 30, wrong)  # type: ignore[arg-type]
    assert not answer.worked
    said = answer.ending + answer.failure
    assert "crashed" in said or "Unsupported data type in custom op handler" in said or "unresolved custom op" in said


def test_the_adapter_sees_how_old_a_library_is(install: Install, file: Path) -> None:
    for layout, complete in ((TODAY, True), (OF_2021, False)):
        answer = runtime.ask(str(install(layout)), ("pci", PCI), {}, file, 30, 112)
        assert answer.worked
        assert answer.complete is complete


def test_a_layout_that_nobody_knows(install: Install, standin: Standin, file: Path) -> None:
    library = install(UNKNOWN)
    for attempt in (lambda: make_interpreter(file), lambda: adapt_delegate(library)):
        with pytest.raises(RuntimeMisfitError, match="with tensors of 112 and of 104 bytes") as caught:
            attempt()
        assert "built for this LiteRT" in caught.value.hint
    assert not layouts.cache_file().exists()
    assert fit()[0].state == "problem"
    standin.monkeypatch.setenv("ATOLL_LIBEDGETPU", str(library_of(OF_2019)))
    runtime.forget()
    make_interpreter(file)  # the device was released


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"schema": "layouts/0", "libraries": {}}',
        b'{"schema": "layouts/1", "libraries": []}',
        b'{"schema": "layouts/1"}',
        {"tensor_bytes": 96, "plain": ""},
        {"tensor_bytes": "104", "plain": ""},
        {"tensor_bytes": True, "plain": ""},
        {"tensor_bytes": 112, "plain": 1},
        {"tensor_bytes": 112, "plain": "x" * 201},
        {"tensor_bytes": 112},
        112,
    ],
    ids=lambda content: str(content)[:60],
)
def test_a_damaged_file_counts_as_empty(install: Install, standin: Standin, content: object) -> None:
    library = install(OF_2019)
    adapt_delegate(library)
    before = children(standin)
    path = layouts.cache_file()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        (key,) = json.loads(path.read_text())["libraries"]
        path.write_text(json.dumps({"schema": layouts.SCHEMA, "libraries": {key: content}}))
    standin.monkeypatch.setattr(layouts, "_here", {})
    assert adapt_delegate(library).tensor_bytes == 104
    assert children(standin) == before + 2  # tried anew
    standin.monkeypatch.setattr(layouts, "_here", {})
    assert layouts.remembered(str(library)) == layouts.TrialVerdict(104)  # and mended


def test_a_file_that_cannot_be_written_is_done_without(install: Install, standin: Standin, tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    standin.monkeypatch.setenv(layouts.VARIABLE, str(tmp_path / "in the way"))
    library = install(OF_2021)
    adapt_delegate(library)
    count = children(standin)
    adapt_delegate(library)
    assert children(standin) == count


def test_the_file_stays_small(install: Install, standin: Standin, tmp_path: Path) -> None:
    del install
    for number in range(70):
        path = tmp_path / f"{number}.so"
        path.write_bytes(str(number).encode())
        layouts.remember(str(path), layouts.TrialVerdict(104, "crashed (SIGSEGV)"))
    standin.monkeypatch.setattr(layouts, "_here", {})
    assert len(json.loads(layouts.cache_file().read_text())["libraries"]) == 64
    assert layouts.remembered(str(tmp_path / "69.so")) == layouts.TrialVerdict(104, "crashed (SIGSEGV)")
    assert layouts.remembered(str(tmp_path / "0.so")) is None
    layouts.forget(str(tmp_path / "69.so"))
    assert layouts.remembered(str(tmp_path / "69.so")) is None


def test_a_library_that_hangs_or_refuses(install: Install, standin: Standin, file: Path) -> None:
    library = install(OF_2021)
    standin.monkeypatch.setattr(runtime, "OPEN_SECONDS", 1.0)
    standin.set(fail="hang_open")
    with pytest.raises(RuntimeMisfitError, match="did not answer within 1 s opening the device"):
        adapt_delegate(library)
    with pytest.raises(RuntimeMisfitError, match="did not answer within 1 s"):
        make_interpreter(file)
    standin.set(fail="refuse")
    standin.monkeypatch.setattr(runtime, "OPEN_SECONDS", 30.0)
    with pytest.raises(DeviceError, match=r"makes no delegate: .*the stand-in refuses") as caught:
        adapt_delegate(library)
    assert type(caught.value) is DeviceError
    assert children(standin) == 0


def test_what_is_no_library_of_delegates(tmp_path: Path, standin: Standin) -> None:
    other = tmp_path / "other.so"
    other.write_bytes(b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack("<HH", 3, 243) + bytes(40))
    with pytest.raises(LibraryArchitectureError, match="RISC-V"):
        adapt_delegate(other)
    other.write_text("<html>")
    with pytest.raises(LibraryInvalidError, match="web page"):
        adapt_delegate(other)
    with pytest.raises(LibraryMissingError):
        adapt_delegate(tmp_path / "nothing.so")
    strange = next(Path("/").glob("lib/*/libm.so.6"), None)
    if strange is not None:
        with pytest.raises(UsageError, match="neither an Edge TPU runtime nor"):
            adapt_delegate(strange)
    del standin


def test_a_foreign_library_is_tried_with_the_model_that_is_named(
    install: Install, standin: Standin, file: Path, tmp_path: Path
) -> None:
    content = library_of(OF_2019).read_bytes().replace(b"edgetpu_create_delegate\0", b"another_create_delegate\0")
    install(OF_2019)
    path = tmp_path / "foreign.so"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="has to be tried with a model"):
        adapt_delegate(path)
    assert adapt_delegate(path, model=file).tensor_bytes == 104
    del standin


def fit() -> list[Check]:
    return [check for check in diagnose().checks if check.name == "fit"]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (TODAY, "fit each other as they are"),
        (OF_2021, "(tensors of 112 bytes); without it"),
        (OF_2019, "(tensors of 104 bytes); without it"),
    ],
)
def test_the_doctor_tries(install: Install, standin: Standin, layout: Layout, words: str) -> None:
    library = install(layout)
    (check,) = fit()
    assert check.state == "ok"
    assert words in check.finding
    count = children(standin)
    assert fit() == [check]  # remembered
    assert children(standin) == count
    adapt_delegate(library)  # and for the next interpreter
    assert children(standin) == count


def test_the_doctor_leaves_devices_alone_that_are_in_use(install: Install, standin: Standin, file: Path) -> None:
    install(OF_2021)
    standin.set(devices="pci=/dev/apex_0")
    with lease(1) as devices:
        make_interpreter(file, devices[0])
        assert "fit each other" not in fit()[0].finding or children(standin) <= 2
    standin.set(fail="refuse")
    layouts.forget(str(library_of(OF_2021)))
    assert fit()[0].state == "problem"


def test_the_doctor_without_a_device(install: Install, standin: Standin) -> None:
    install(OF_2021)
    standin.monkeypatch.delenv("STANDIN_DEVICES")
    runtime.forget()
    (check,) = fit()
    assert check.state == "note"
    assert "makes no delegate without a device" in check.finding
