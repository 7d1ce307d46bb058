"""A process that dies costs a pipeline nothing but, at worst, the item that it died of."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from atoll.pipeline import Pipeline, StageError
from atoll.pipeline.processes.chain import ProcessDiedError
from pipeline_fakes import PATIENCE_S, Fake, expected, frame, step
from process_fakes import GONE, Before, Dies, hangs, opens_once, outcomes, right, segments, sleeps, slow
from shared_data import HELPERS

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.mark.parametrize("segment", range(3))
@pytest.mark.parametrize("how", [3, -signal.SIGKILL, -signal.SIGSEGV])
def test_a_process_that_dies_costs_nothing_with_retries(segment: int, how: int, tmp_path: Path) -> None:
    before: dict[str, Before] = {f"s{segment}": Dies(tmp_path / "died", expected(11, segment), how=how)}
    with Pipeline(segments(3, **before), processes=3, on_error="retry") as pipeline:
        assert outcomes(pipeline, 40) == right(40, 3)
    assert (tmp_path / "died").stat().st_size == 1


@pytest.mark.parametrize(("processes", "replicas"), [(3, 1), (2, 1), (1, 1), (1, 2)])
@pytest.mark.parametrize("segment", [0, 2])
@pytest.mark.parametrize("on_error", ["stop", "continue", "retry"])
def test_the_item_that_a_process_always_dies_of_is_the_only_one_to_fail(
    segment: int, processes: int, replicas: int, on_error: Any, tmp_path: Path
) -> None:
    before: dict[str, Before] = {f"s{segment}": Dies(tmp_path / "died", expected(4, segment), times=1000)}
    parts = segments(3, replicas, **before)
    with Pipeline(parts, processes=processes, on_error=on_error, retries=1) as pipeline:
        found = outcomes(pipeline, 12)
    head = [first for first in (n * 3 // processes for n in range(processes)) if first <= segment][-1]
    rest = [] if on_error == "stop" else right(12, 3)[5:]
    assert found == [*right(4, 3), (head, 4, ProcessDiedError), *rest]
    deaths = (tmp_path / "died").stat().st_size
    assert deaths <= 2 + (on_error == "retry"), "once with others about, and then alone, as often as it may be tried"


def test_a_process_that_has_nothing_to_do_is_nobodys_fault() -> None:
    with Pipeline(segments(2, s0=slow), processes=2) as pipeline:  # stops at the first failure
        pipeline.push(frame(1))
        children = {child.name: child for child in multiprocessing.active_children()}
        os.kill(children["atoll-segment-1"].pid or 0, signal.SIGKILL)
        assert int(pipeline.pop(PATIENCE_S)["t2"][0]) == expected(1, 2)  # type: ignore[index]


def test_a_process_that_has_only_the_end_left_is_nobodys_fault(tmp_path: Path) -> None:
    with Pipeline(segments(2, s1=slow), processes=2, stage_queue=1) as pipeline:
        for value in range(4):
            pipeline.push(frame(value))
        pipeline.close()
        children = {child.name: child for child in multiprocessing.active_children()}
        while pipeline._engine._chain.inside(0) != range(4, 4):  # type: ignore[union-attr]
            time.sleep(0.001)
        os.kill(children["atoll-segment-0"].pid or 0, signal.SIGKILL)
        assert [int(pipeline.pop(PATIENCE_S)["t2"][0]) for _ in range(4)] == right(4, 2)  # type: ignore[index]
        assert pipeline.pop(PATIENCE_S) is None


def test_processes_killed_at_any_time_lose_nothing() -> None:
    chance = random.Random(1)
    pids: list[int] = []
    stop = threading.Event()

    def kill_now_and_then() -> None:
        while not stop.wait(chance.uniform(0.3, 0.8)):
            children = [child.pid for child in multiprocessing.active_children() if child.pid]
            if len(pids) < 4 and children:
                pids.append(chance.choice(children))
                os.kill(pids[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_now_and_then)
    with Pipeline(segments(3, 2, s1=sleeps), processes=2, on_error="retry", retries=100) as pipeline:
        killer.start()
        try:
            for value, result in enumerate(pipeline.map(frame(i) for i in range(100_000))):
                assert int(result["t3"][0]) == expected(value, 3)
                if len(pids) >= 4 and value > 2000:
                    break
        finally:
            stop.set()
            killer.join(PATIENCE_S)
    assert len(pids) >= 4


@pytest.mark.parametrize("reason", [GONE, RuntimeError("LiteRT does not like it"), OSError(5, "no")], ids=repr)
@pytest.mark.parametrize("on_error", ["continue", "retry"])
def test_no_new_process_is_to_be_had(on_error: Any, reason: Exception, tmp_path: Path) -> None:
    dies = Dies(tmp_path / "died", expected(3, 1))
    parts = [partial(step, 0), partial(opens_once, tmp_path / "gone", dies, reason)]
    with Pipeline(parts, processes=2, on_error=on_error) as pipeline:
        found = outcomes(pipeline, 20)
    assert found[:3] == right(3, 2)
    assert found[3][1:] in ((3, type(reason)), (3, ProcessDiedError)) and len(found) == 4
    assert pipeline.failure is not None
    with pytest.raises(StageError):
        pipeline.push(frame(0))


def test_processes_that_never_live_long_enough_end_it(tmp_path: Path) -> None:
    parts = [partial(step, 0), partial(opens_and_dies, tmp_path / "first")]
    with Pipeline(parts, processes=2, on_error="retry", retries=0) as pipeline, pytest.raises(StageError) as caught:
        pipeline.push(frame(0))
        pipeline.pop(PATIENCE_S)
    assert isinstance(caught.value.__cause__, ProcessDiedError)


def opens_and_dies(marker: Path) -> Fake:
    threading.Timer(0.2 if marker.exists() else 0.5, os._exit, (4,)).start()
    marker.touch()
    return step(1, hangs)


def test_cancel_ends_a_restart_that_hangs(tmp_path: Path) -> None:
    parts = [partial(step, 0), partial(opens_once_then_hangs, tmp_path / "first", Dies(tmp_path / "died", 4))]
    pipeline = Pipeline(parts, processes=2, on_error="retry")
    pipeline.push(frame(1))
    while not (tmp_path / "hangs").exists():
        time.sleep(0.01)
    pipeline.cancel()
    assert pipeline.join(PATIENCE_S) and pipeline.pop() is None


def opens_once_then_hangs(marker: Path, before: Before) -> Fake:
    if marker.exists():
        (marker.parent / "hangs").touch()
        threading.Event().wait()
    marker.touch()
    return step(1, before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_copy_leaves_the_pipeline_alone(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FORKING.format(path=[str(HELPERS)]))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.split() == ["copy", str(expected(1, 2))], done.stderr


FORKING = """
import os, sys
sys.path[:0] = {path!r}
from functools import partial
from pipeline_fakes import step, frame
from process_fakes import slow
from atoll.pipeline import Pipeline

if __name__ == "__main__":
    with Pipeline([partial(step, 0), partial(step, 1, slow)], processes=2) as pipeline:  # any failure stops it
        pipeline.push(frame(1))
        pid = os.fork()
        if not pid:
            print("copy", flush=True)
            sys.exit(0)
        os.waitpid(pid, 0)
        print(pipeline.pop(30)["t2"][0])
"""


SCRIPT = """
import sys, time
sys.path[:0] = {path!r}
from functools import partial
from pipeline_fakes import step, frame
from atoll.pipeline import Pipeline
import multiprocessing

if __name__ == "__main__":
    pipeline = Pipeline([partial(step, 0), partial(step, 1)], processes=2)
    pipeline.push(frame(1))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    {then}
"""


@pytest.mark.parametrize("then", ["time.sleep(1000)", "sys.exit(0)"])
def test_no_process_outlives_its_parent(then: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(path=[str(HELPERS)], then=then))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        if "sleep" in then:
            parent.kill()
        assert parent.wait(PATIENCE_S) in (0, -signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while any(map(_runs, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_runs, children))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
