"""One process at a time per device, first come first served, whatever happens to the holders."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import branched, compiled

from atoll.device.interpreter import make_interpreter
from atoll.device.inventory import VARIABLE, select
from atoll.device.leasing import arbiter as arbiter_module
from atoll.device.leasing import directory as leasedir
from atoll.device.leasing import locks
from atoll.device.leasing.arbiter import Arbiter
from atoll.device.leasing.lease import PATIENCE_VARIABLE, holders, lease, patience
from atoll.errors import (
    DeviceBusyError,
    DeviceError,
    LeaseDirectoryError,
    LeaseFileError,
    LeaseFileSystemError,
    UsageError,
)
from atoll.model import Model

Save = Callable[[Model], Path]

LIMIT = 60.0
"""Seconds before a test gives up; nothing here should take more than one."""


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(leasedir.VARIABLE, str(tmp_path / "leases"))
    monkeypatch.setenv(VARIABLE, "pci:4,usb:2,usb2:1")
    return tmp_path / "leases"


@contextlib.contextmanager
def another_process(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``code`` with everything imported; it says "ready" when it has what it wants."""
    prelude = (
        "import os, sys, time\nfrom atoll.device import lease, make_interpreter\n"
        "def ready():\n    print('ready', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_lease_gives_what_it_says() -> None:
    with lease(3) as devices:
        assert [device.path for device in devices] == ["virtual:pci:0", "virtual:pci:1", "virtual:pci:2"]
        assert holders(devices).keys() == {device.path for device in devices}
        assert {holder.pid for holder in holders(devices).values()} == {os.getpid()}
    assert holders(devices) == {}


@pytest.mark.parametrize(
    ("bus", "paths"),
    [
        ("pcie", [f"virtual:pci:{i}" for i in range(4)]),
        ("usb", [f"virtual:usb:{i}" for i in range(3)]),
        ("usb3", ["virtual:usb:0", "virtual:usb:1"]),
        ("usb2", ["virtual:usb:2"]),
    ],
)
def test_bus(bus: str, paths: list[str]) -> None:
    with lease(len(paths), bus=bus) as devices:
        assert [device.path for device in devices] == paths
    with pytest.raises(DeviceError, match=f"{len(paths) + 1} Edge TPUs on {bus}"):
        lease(len(paths) + 1, bus=bus)


def test_named_devices() -> None:
    with lease(devices=["usb:1", "pci:2"]) as devices:
        assert [device.path for device in devices] == ["virtual:usb:1", "virtual:pci:2"]
        with pytest.raises(DeviceBusyError, match=r"virtual:pci:2 is asked for: process \d+ .* holds virtual:pci:2"):
            lease(devices=["pci:2"], timeout=0).acquire()
        with lease(1, devices=["pci:2", "pci:3"], timeout=0) as (other,):
            assert other is select("pci:3")


def test_leases_within_a_process_are_disjoint() -> None:
    with lease(4, timeout=0) as first, lease(3, timeout=0) as second:
        assert not {device.path for device in first} & {device.path for device in second}
        with pytest.raises(DeviceBusyError):
            lease(1, timeout=0).acquire()


@pytest.mark.parametrize("arguments", [{"count": 0}, {"count": -1}, {"bus": "isa"}, {"devices": [], "count": 0}])
def test_nonsense_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        lease(**arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        lease(1, priority=101).acquire()


def test_a_lease_can_be_taken_again_but_not_twice_at_once() -> None:
    taken = lease(2)
    with taken, pytest.raises(UsageError):
        taken.acquire()
    with taken as devices:
        assert len(devices) == 2
    taken.release()
    taken.release()


def test_an_exception_in_the_block_frees_the_devices() -> None:
    with pytest.raises(ZeroDivisionError), lease(7):
        _ = 1 / 0
    with lease(7, timeout=0):
        pass


def test_another_process_is_named_and_waited_for() -> None:
    code = "with lease(6) as devices:\n    ready(); sys.stdin.readline()\nready(); sys.stdin.readline()"
    with another_process(code) as process:
        with lease(1, timeout=0), pytest.raises(DeviceBusyError, match=f"1 of 7 .* process {process.pid}"):
            lease(1, timeout=0).acquire()
        waiting: queue.Queue[str] = queue.Queue()
        with ThreadPoolExecutor(1) as pool:
            taken = pool.submit(lease(7, timeout=LIMIT, on_wait=waiting.put).acquire)
            assert str(process.pid) in waiting.get(timeout=LIMIT)
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert len(taken.result(LIMIT)) == 7
        assert waiting.empty()


def test_kill_9_frees_the_devices(own_directory: Path) -> None:
    with another_process("taken = lease(7).acquire(); ready(); time.sleep(1000)") as process:
        with pytest.raises(DeviceBusyError):
            lease(1, timeout=0).acquire()
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT)
        with lease(7, timeout=0):  # nothing to wait for: the system freed them with the process
            pass
    assert not list(own_directory.glob("wait-*"))


def test_a_killed_waiter_does_not_stand_in_the_way() -> None:
    code = "lease(7, on_wait=lambda _: ready()).acquire()"
    with lease(7):
        with another_process(code) as process:
            process.send_signal(signal.SIGKILL)
            process.wait(LIMIT)
        with pytest.raises(DeviceBusyError):
            lease(1, timeout=0).acquire()
    with lease(7, timeout=0):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_keep_the_lease() -> None:
    taken = lease(7)
    taken.acquire()
    read, write = os.pipe()
    child = os.fork()
    if not child:  # lives on after the parent gave the devices back
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        taken.release()
        with lease(7, timeout=0):
            pass
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)


def test_waiters_come_in_order_and_the_urgent_first() -> None:
    keys, order, threads = ["a"], [], []
    arbiter = Arbiter(leasedir.lease_directory())
    first = arbiter.acquire(keys, 1)
    for name, priority in [("first", 0), ("second", 0), ("late", -1), ("urgent", 5), ("third", 0)]:
        queued = threading.Event()

        def wait(name: str = name, priority: int = priority, queued: threading.Event = queued) -> None:
            lock = Arbiter(arbiter.directory).acquire(keys, 1, priority, LIMIT, lambda _: queued.set())["a"]
            order.append(name)
            lock.release()

        threads.append(threading.Thread(target=wait))
        threads[-1].start()
        assert queued.wait(LIMIT)
    first["a"].release()
    for thread in threads:
        thread.join(LIMIT)
    assert order == ["urgent", "first", "second", "third", "late"]


@pytest.mark.parametrize(("worth", "expected"), [(60.0, ["urgent", "old"]), (1e-3, ["old", "urgent"])])
def test_urgent_ones_do_not_starve_who_waits_for_longer_than_their_priority_is_worth(
    worth: float, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arbiter_module, "PRIORITY_SECONDS", worth)
    arbiter, order, threads = Arbiter(leasedir.lease_directory()), list[str](), list[threading.Thread]()
    held = arbiter.acquire(["a"], 1)
    for name, priority in (("old", 0), ("urgent", 10)):
        queued = threading.Event()

        def wait(name: str = name, priority: int = priority, queued: threading.Event = queued) -> None:
            lock = Arbiter(arbiter.directory).acquire(["a"], 1, priority, LIMIT, lambda _: queued.set())["a"]
            order.append(name)
            lock.release()

        threads.append(threading.Thread(target=wait))
        threads[-1].start()
        assert queued.wait(LIMIT)
        time.sleep(0.02)  # more than 10 steps of a millisecond
    held["a"].release()
    for thread in threads:
        thread.join(LIMIT)
    assert order == expected


def test_a_big_request_is_not_overtaken_for_ever_and_others_pass_beside_it() -> None:
    arbiter = Arbiter(leasedir.lease_directory())
    held = arbiter.acquire(["a", "b"], 1)
    queued, done = threading.Event(), []

    def take_both() -> None:
        done.append(Arbiter(arbiter.directory).acquire(["a", "b"], 2, 0, LIMIT, lambda _: queued.set()))

    big = threading.Thread(target=take_both)
    big.start()
    assert queued.wait(LIMIT)
    with pytest.raises(DeviceBusyError, match="others were there earlier"):  # "b" is free, but spoken for
        arbiter.acquire(["b"], 1, timeout=0)
    arbiter.acquire(["b"], 1, timeout=0, priority=1)["b"].release()
    arbiter.acquire(["b", "c"], 1, timeout=0)["c"].release()
    held["a"].release()
    big.join(LIMIT)
    assert done[0].keys() == {"a", "b"}


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_history_keeps_the_books(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Never two holders; what a lease cannot have at once it does not have in part."""
    arbiter = Arbiter(tmp_path_factory.mktemp("history"))
    names = ["a", "b/b", "c:0", "ü", "."]
    taken: list[dict[str, locks.Lock]] = []
    for _ in range(data.draw(st.integers(1, 12))):
        if taken and data.draw(st.booleans()):
            for lock in taken.pop(data.draw(st.integers(0, len(taken) - 1))).values():
                lock.release()
        else:
            wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
            count = data.draw(st.integers(1, len(wanted)))
            held = {key for each in taken for key in each}
            free = [key for key in wanted if key not in held]
            if len(free) >= count:
                taken.append(arbiter.acquire(wanted, count, timeout=0))
                assert list(taken[-1]) == free[:count]
            else:
                with pytest.raises(DeviceBusyError):
                    arbiter.acquire(wanted, count, timeout=0)
        assert arbiter.holders(names).keys() == {key for each in taken for key in each}


def test_many_processes_never_share_a_device(tmp_path: Path) -> None:
    """Each writes its name into a file per device and finds it unchanged before it leaves; some are killed."""
    code = (
        "import pathlib, random\n"
        f"ledger = pathlib.Path({str(tmp_path)!r}) / 'ledger'; ledger.mkdir(exist_ok=True)\n"
        "ready()\n"
        "rounds = int(sys.stdin.readline())\n"
        "me = str(os.getpid())\n"
        "for _ in range(rounds):\n"
        "    with lease(random.choice([1, 1, 2, 3]), bus='pcie') as devices:\n"
        "        for device in devices: (ledger / device.path).write_text(me)\n"
        "        time.sleep(random.random() * 0.004)\n"
        "        for device in devices: assert (ledger / device.path).read_text() == me\n"
    )
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(another_process(code)) for _ in range(4)]
        for process, rounds in zip(processes, (1_000_000, 1_000_000, 30, 30)):
            assert process.stdin is not None
            process.stdin.write(f"{rounds}\n")
            process.stdin.flush()
        for process in processes[:2]:
            time.sleep(0.05)
            process.kill()
        codes = [process.wait(LIMIT) for process in processes]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0, 0]
    with lease(4, bus="pcie", timeout=0):
        pass


def test_interpreters_take_part(save: Save) -> None:
    path = save(compiled(branched(), [0]))
    with another_process(f"i = make_interpreter({str(path)!r}, 'pci:0'); ready(); time.sleep(1000)") as process:
        with pytest.raises(DeviceBusyError, match=f"pci:0 is asked for: process {process.pid}"):
            make_interpreter(path, "pci:0")
        interpreter = make_interpreter(path)  # any: another one
        assert holders([select("pci:1")]).keys() == {"virtual:pci:1"}
        with pytest.raises(DeviceBusyError):
            lease(devices=["pci:1"], timeout=0).acquire()
        second = make_interpreter(path, "pci:1")  # the same process may: the chip knows one owner, not one model
    del interpreter
    with pytest.raises(DeviceBusyError):
        lease(devices=["pci:1"], timeout=0).acquire()
    del second
    gc.collect()
    with lease(7, timeout=0):
        pass


def test_interpreters_use_the_leased_devices(save: Save) -> None:
    path = save(compiled(branched(), [0]))
    with lease(devices=["usb:0", "usb:1"]):
        interpreters = [make_interpreter(path) for _ in range(3)]
        assert [select(f"usb:{i}").interpreters for i in range(2)] == [2, 1]
        assert make_interpreter(path, "pci:3") is not None  # by name: any
    with lease(6, devices=["pci:0", "pci:1", "pci:2", "usb:0", "usb:1", "usb:2"], timeout=0):
        assert [select(f"usb:{i}").interpreters for i in range(2)] == [0, 0]
    for use in (interpreters[0].invoke, interpreters[1].allocate_tensors, interpreters[2].get_input_details):
        with pytest.raises(DeviceError, match="the lease of its device has ended"):
            use()


def test_the_end_of_a_lease_waits_for_what_is_under_way(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device stays taken while the interpreter still runs on it."""
    from atoll.device.virtual import virtual_device as virtual

    entered, leave = threading.Event(), threading.Event()
    monkeypatch.setattr(virtual.Region, "run", lambda _: (entered.set(), leave.wait(LIMIT)))
    with lease(devices=["pci:0"]), ThreadPoolExecutor(1) as pool:
        interpreter = make_interpreter(save(compiled(branched(), [0])))
        interpreter.allocate_tensors()
        running = pool.submit(interpreter.invoke)
        assert entered.wait(LIMIT)
        interpreter.close()
        assert select("pci:0").interpreters == 1
        leave.set()
        running.result(LIMIT)
        assert select("pci:0").interpreters == 0


def test_a_failed_interpreter_leaves_its_device_free(save: Save) -> None:
    path = save(compiled(branched(), [0], payload=b"no package"))
    for _ in range(2):
        with pytest.raises(Exception, match="damaged"):
            make_interpreter(path)
    gc.collect()
    with lease(7, timeout=0):
        pass


def test_private_devices_are_nobody_elses_business(save: Save) -> None:
    from atoll.device import VirtualEdgeTpu

    with lease(7):
        make_interpreter(save(compiled(branched(), [0])), VirtualEdgeTpu())


def test_patience_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, seconds in [("", 0.0), ("2.5", 2.5), ("none", None)]:
        monkeypatch.setenv(PATIENCE_VARIABLE, text)
        assert patience() == seconds
    for text in ["soon", "-1", "nan", "inf"]:
        monkeypatch.setenv(PATIENCE_VARIABLE, text)
        with pytest.raises(UsageError, match=PATIENCE_VARIABLE):
            patience()


def test_timeout_is_kept() -> None:
    with lease(7):
        begin = time.monotonic()
        with pytest.raises(DeviceBusyError, match=r"after 0\.05 s"):
            lease(1, timeout=0.05).acquire()
        assert time.monotonic() - begin >= 0.05


def test_directory_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(leasedir.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(LeaseDirectoryError, match="is a file"):
        lease().acquire()
    monkeypatch.setenv(leasedir.VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(LeaseDirectoryError, match="cannot be made"):
        lease().acquire()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_directory_without_permission(own_directory: Path) -> None:
    own_directory.mkdir(mode=0o500)
    with pytest.raises(LeaseDirectoryError, match="is not writable"):
        lease().acquire()


def test_network_file_system(tmp_path: Path, own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    lines = [
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw",
        f"30 21 0:50 / {own_directory.parent} rw shared:1 - nfs4 server:/ rw",
    ]
    mounts.write_text("\n".join(lines))
    monkeypatch.setattr(leasedir, "MOUNTS", mounts)
    with pytest.raises(LeaseFileSystemError, match=r"network file system \(nfs4\)"):
        lease().acquire()
    assert leasedir.file_system(Path("/"), mounts) == "ext4"


def test_lock_file_that_is_none(own_directory: Path) -> None:
    own_directory.mkdir()
    (own_directory / "device-virtual%3Apci%3A0.lock").mkdir()
    with pytest.raises(LeaseFileError, match=r"device-virtual.*cannot be opened"):
        lease().acquire()
    os.mkfifo(own_directory / "device-virtual%3Apci%3A1.lock")
    with pytest.raises(LeaseFileError, match="is not a file"):
        lease(devices=["pci:1"]).acquire()


def test_stale_files_of_the_dead_mean_nothing(own_directory: Path) -> None:
    own_directory.mkdir()
    dead = json.dumps({"pid": 1, "command": "gone", "since": 0})
    (own_directory / "device-virtual%3Apci%3A0.lock").write_text(dead)
    (own_directory / "wait-000000000000000-000000000001-1-1.json").write_text(json.dumps({"keys": ["virtual:pci:0"]}))
    (own_directory / "wait-000000000000000-000000000002-1-1.json").write_text("{torn")
    assert holders([select("pci:0")]) == {}
    with lease(7, timeout=0):
        pass
    assert not list(own_directory.glob("wait-*"))


def test_holder_that_wrote_nonsense_is_still_a_holder() -> None:
    with lease(1) as (device,):
        lock_file = next(Path(os.environ[leasedir.VARIABLE]).glob("device-*"))
        for text in [b"", b"\xff\xfe", b"[]", b'{"pid": "x"}', b'{"pid": 1e999, "command": 1, "since": 2}']:
            lock_file.write_bytes(text)
            assert "did not say its name" in str(holders([device])[device.path])
