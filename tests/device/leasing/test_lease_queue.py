"""First come first served, the urgent earlier, and what the dead leave behind means nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.device.leasing import directory as leasedir
from atoll.device.leasing import locks
from atoll.device.leasing import queue as queue_module
from atoll.device.leasing.lease import holders, lease
from atoll.device.leasing.queue import LeaseQueue
from atoll.errors import (
    DeviceBusyError,
)
from atoll.model import Model
from devices import device_named
from lease_processes import LIMIT, another_process

Save = Callable[[Model], Path]


def test_kill_9_frees_the_devices(own_directory: Path) -> None:
    with another_process("taken = lease(7).acquire(); ready(); time.sleep(1000)") as process:
        with pytest.raises(DeviceBusyError):
            lease(1, wait=0).acquire()
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT)
        with lease(7, wait=0):  # nothing to wait for: the system freed them with the process
            pass
    assert not list(own_directory.glob("wait-*"))


def test_a_killed_waiter_does_not_stand_in_the_way() -> None:
    code = "lease(7, on_message=lambda _: ready()).acquire()"
    with lease(7):
        with another_process(code) as process:
            process.send_signal(signal.SIGKILL)
            process.wait(LIMIT)
        with pytest.raises(DeviceBusyError):
            lease(1, wait=0).acquire()
    with lease(7, wait=0):
        pass


def test_waiters_come_in_order_and_the_urgent_first() -> None:
    keys, order, threads = ["a"], [], []
    line = LeaseQueue(leasedir.lease_directory())
    first = line.acquire(keys, 1)
    for name, priority in [("first", 0), ("second", 0), ("late", -1), ("urgent", 5), ("third", 0)]:
        queued = threading.Event()

        def wait(name: str = name, priority: int = priority, queued: threading.Event = queued) -> None:
            lock = LeaseQueue(line.directory).acquire(keys, 1, priority, LIMIT, lambda _: queued.set())["a"]
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
    monkeypatch.setattr(queue_module, "PRIORITY_SECONDS", worth)
    line, order, threads = LeaseQueue(leasedir.lease_directory()), list[str](), list[threading.Thread]()
    held = line.acquire(["a"], 1)
    for name, priority in (("old", 0), ("urgent", 10)):
        queued = threading.Event()

        def wait(name: str = name, priority: int = priority, queued: threading.Event = queued) -> None:
            lock = LeaseQueue(line.directory).acquire(["a"], 1, priority, LIMIT, lambda _: queued.set())["a"]
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
    line = LeaseQueue(leasedir.lease_directory())
    held = line.acquire(["a", "b"], 1)
    queued, done = threading.Event(), []

    def take_both() -> None:
        done.append(LeaseQueue(line.directory).acquire(["a", "b"], 2, 0, LIMIT, lambda _: queued.set()))

    big = threading.Thread(target=take_both)
    big.start()
    assert queued.wait(LIMIT)
    with pytest.raises(DeviceBusyError, match="others were there earlier"):  # "b" is free, but spoken for
        line.acquire(["b"], 1, wait=0)
    line.acquire(["b"], 1, wait=0, priority=1)["b"].release()
    line.acquire(["b", "c"], 1, wait=0)["c"].release()
    held["a"].release()
    big.join(LIMIT)
    assert done[0].keys() == {"a", "b"}


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_history_keeps_the_books(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Never two holders; what a lease cannot have at once it does not have in part."""
    line = LeaseQueue(tmp_path_factory.mktemp("history"))
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
                taken.append(line.acquire(wanted, count, wait=0))
                assert list(taken[-1]) == free[:count]
            else:
                with pytest.raises(DeviceBusyError):
                    line.acquire(wanted, count, wait=0)
        assert line.holders(names).keys() == {key for each in taken for key in each}


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
    with lease(4, bus="pcie", wait=0):
        pass


def test_stale_files_of_the_dead_mean_nothing(own_directory: Path) -> None:
    own_directory.mkdir()
    dead = json.dumps({"pid": 1, "command": "gone", "since": 0})
    (own_directory / "device-virtual%3Apci%3A0.lock").write_text(dead)
    (own_directory / "wait-000000000000000-000000000001-1-1.json").write_text(json.dumps({"keys": ["virtual:pci:0"]}))
    (own_directory / "wait-000000000000000-000000000002-1-1.json").write_text("{torn")
    assert holders([device_named("pci:0")]) == {}
    with lease(7, wait=0):
        pass
    assert not list(own_directory.glob("wait-*"))


def test_holder_that_wrote_nonsense_is_still_a_holder() -> None:
    with lease(1) as (device,):
        lock_file = next(Path(os.environ[leasedir.VARIABLE]).glob("device-*"))
        for text in [b"", b"\xff\xfe", b"[]", b'{"pid": "x"}', b'{"pid": 1e999, "command": 1, "since": 2}']:
            lock_file.write_bytes(text)
            assert "did not say its name" in str(holders([device])[device.path])
