"""Processes that fight for devices, and random kills -> whether the books were kept, and how long it takes, as JSON.

The witness is independent of the leases: shared memory where every holder writes its process id, and looks whose it
finds there. Kills come at any moment, inside the queue too.
"""

from __future__ import annotations

import argparse
import json
import mmap
import multiprocessing
import os
import platform
import random
import signal
import statistics
import struct
import tempfile
import time
from pathlib import Path

from atoll.device.leasing.directory import VARIABLE
from atoll.device.leasing.lease import lease
from atoll.errors import DeviceError

DEVICES = 8
LEDGER = struct.Struct(f"{DEVICES}q")


def uncontended(rounds: int) -> dict[str, float]:
    """Milliseconds for lease and release of one and of eight devices."""
    row = {}
    for count in (1, DEVICES):
        times = []
        for _ in range(rounds):
            begin = time.perf_counter()
            with lease(count):
                pass
            times.append((time.perf_counter() - begin) * 1e3)
        row[f"{count}_median_ms"] = statistics.median(times)
        row[f"{count}_p99_ms"] = sorted(times)[int(0.99 * rounds)]
    return {key: round(value, 3) for key, value in row.items()}


def fight(folder: Path, ledger: mmap.mmap, end: float) -> None:
    """One process: lease, look who was here, work, leave; a line per lease in a file of its own."""
    me = os.getpid()
    generator = random.Random(me)
    with (folder / f"{me}.log").open("w", buffering=1) as log:
        while time.monotonic() < end:
            asked = time.monotonic()
            with lease(generator.choice([1, 1, 1, 2, 4])) as devices:
                got = time.monotonic()
                slots = [8 * int(device.path.rsplit(":", 1)[1]) for device in devices]
                violations = 0
                for slot in slots:
                    before = struct.unpack_from("q", ledger, slot)[0]
                    violations += before not in (0, me) and lives(before)
                    struct.pack_into("q", ledger, slot, me)
                time.sleep(generator.uniform(0.002, 0.02))
                for slot in slots:
                    violations += struct.unpack_from("q", ledger, slot)[0] != me
                    struct.pack_into("q", ledger, slot, 0)
            log.write(f"{got - asked:.6f} {violations}\n")


def lives(process: int) -> bool:
    """Whether the process is there and not merely unburied."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def contended(processes: int, seconds: float) -> dict[str, float]:
    """``processes`` fight for eight devices; every 0.3 s one of them is killed and replaced."""
    context = multiprocessing.get_context("fork")
    ledger = mmap.mmap(-1, LEDGER.size)
    end = time.monotonic() + seconds
    kills = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def start() -> multiprocessing.process.BaseProcess:
            process = context.Process(target=fight, args=(folder, ledger, end))
            process.start()
            return process

        running = [start() for _ in range(processes)]
        while time.monotonic() < end - 1:
            time.sleep(0.3)
            victim = random.randrange(processes)
            if running[victim].is_alive():
                os.kill(running[victim].pid or 0, signal.SIGKILL)
            running[victim].join()
            running[victim] = start()
            kills += 1
        for process in running:
            process.join(30)
        stuck = sum(process.is_alive() for process in running)
        lines = [line.split() for log in folder.glob("*.log") for line in log.read_text().splitlines()]
        survivors = [len((folder / f"{process.pid}.log").read_text().splitlines()) for process in running]
    waits = sorted(float(wait) for wait, _ in lines)
    try:
        with lease(DEVICES, wait=0):
            left_over = 0
    except DeviceError:
        left_over = 1
    return {
        "processes": processes,
        "seconds": seconds,
        "kills": kills,
        "leases": len(waits),
        "two_holders": sum(int(violations) for _, violations in lines),
        "stuck": stuck,
        "left_over": left_over,
        "tickets_left": len(list(Path(os.environ[VARIABLE]).glob("wait-*"))),
        "wait_median_s": round(statistics.median(waits), 4),
        "wait_max_s": round(waits[-1], 4),
        "fewest_leases_of_a_survivor": min(survivors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/lease.json")
    arguments = parser.parse_args()
    os.environ["ATOLL_VIRTUAL_TPUS"] = str(DEVICES)
    with tempfile.TemporaryDirectory() as directory:
        os.environ[VARIABLE] = directory
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "uncontended": uncontended(arguments.rounds),
            "contended": contended(arguments.processes, arguments.seconds),
        }
    text = json.dumps(result, indent=2)
    print(text)
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
