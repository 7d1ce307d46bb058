"""Commands -> the way a call takes through our own code: how deep, through how many functions, and where it goes up.

    python benchmarks/way.py [MODEL.tflite] [--json FILE]

A profile function watches each command in a fresh process, with all modules of the package imported before, so that
imports are no part of it. What counts:

- Functions whose code is in the package; not bodies of modules and classes, and not what dataclasses generate.
- Lambdas, comprehensions and generator expressions are part of the function that holds them: they add nothing to the
  depth. Called from another room, a lambda is a call into the room that holds it. Those that no function holds (in a
  table of rules, say) are part of their module's body and do not count.
- A generator is called by whoever asks it for its next item, and is on the stack until it gives it.
- A room is the first folder or module below the package. The layers contract of pyproject.toml orders them, and a call
  goes up if our function of a lower room calls one of a higher room with no foreign frame in between. It is said
  whether it calls a function, a lambda that the function holds, or takes the next item of a generator.
- What the garbage collector calls stands above whatever it interrupts: it is off meanwhile.
- A thread has a stack of its own. Processes that a command starts are not seen.

Exits with 1 where a chain is deeper than the command's limit, or a call goes up that no argument says
(``SAID_BY_ARGUMENTS``). Needs Python 3.11.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import inspect
import io
import json
import pkgutil
import re
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import CodeType, FrameType
from typing import Literal

import tomllib

import atoll

PACKAGE = Path(atoll.__file__).parent
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
NETWORK = "mobilenet_v2_1.0_224"
COMMANDS = {
    "plan MODEL --tpus 1..4": 14,
    "plan MODEL --tpus 2 --memory-limit fit": 14,
    "run MODEL --tpus 2 --inferences 3": 14,
    "run MODEL --tpus 2 --inferences 3 --real-time --bus usb3": 14,
    "partition MODEL --tpus 3": 19,
}
"""How deep each may go. The searches of ``partition`` are nested: devices, numbers of stages, cuts, paths, costs."""

SAID_BY_ARGUMENTS = {
    ("*", "cli/live.py:LiveView.on_progress"): "on_progress",
    ("pipeline/run_deployment.py:run_deployment", "api/run.py:run"): "watch",
    ("device/virtual/virtual_device.py:VirtualEdgeTpu._model", "estimate/latency.py:latency_function"): "latency",
    (
        "model/flatbuffer.py:TableSchema.*",
        "compiler/package_format/package_schema.py:*",
    ): "the kinds of fields, as declared",
}
"""Caller and callee (patterns) of the calls up that there may be -> the argument that says so."""
HELD = re.compile(r"\.<locals>\.<(lambda|genexpr|\w+comp)>.*")
Kind = Literal["function", "lambda", "generator"]


@dataclass(frozen=True, slots=True)
class Up:
    """A call from a lower room into a higher one."""

    caller: str
    callee: str
    callee_is: Kind
    times: int

    @property
    def said_by(self) -> str:
        """The argument that says so; "" if there is none."""
        said = (
            why
            for (caller, callee), why in SAID_BY_ARGUMENTS.items()
            if fnmatchcase(self.caller, caller) and fnmatchcase(self.callee, callee)
        )
        return next(said, "")


@dataclass(frozen=True, slots=True)
class Way:
    """What one command's call did; functions are written ``file:function``."""

    command: str
    exit_code: int
    depth: int
    thread: str
    """Where the deepest chain was."""
    chain: tuple[str, ...]
    functions: int
    """How many distinct ones."""
    ups: tuple[Up, ...]


@cache
def function_of(code: CodeType) -> str:
    """``file:function`` that this code is part of; "" if it is not ours, or no function's."""
    path = Path(code.co_filename)
    if not (code.co_flags & inspect.CO_OPTIMIZED and path.is_relative_to(PACKAGE)):
        return ""
    name = HELD.sub("", code.co_qualname)
    return "" if "<lambda>" in name or "<genexpr>" in name else f"{path.relative_to(PACKAGE)}:{name}"


def kind_of(code: CodeType) -> Kind:
    if code.co_flags & inspect.CO_GENERATOR:
        return "generator"
    return "lambda" if code.co_name == "<lambda>" else "function"


def room_of(function: str) -> str:
    return re.split(r"[/:]", function)[0].removesuffix(".py")


def room_levels() -> dict[str, int]:
    """Room -> how many levels are above it."""
    contracts = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers" and c["containers"] == ["atoll"])
    return {name: level for level, rooms in enumerate(layers) for name in re.findall(r"\w+", rooms)}


class Watch:
    """A profile function that keeps the stacks of our functions, one per thread."""

    def __init__(self) -> None:
        self.functions: set[str] = set()
        self.calls: Counter[tuple[CodeType, CodeType]] = Counter()
        self.deepest: tuple[str, ...] = ()
        self.thread = ""
        self._local = threading.local()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        function = function_of(frame.f_code) if event in ("call", "return") else ""
        if not function:
            return
        held = HELD.search(frame.f_code.co_qualname) is not None
        stack = self._local.__dict__.setdefault("stack", [])
        if event == "call":
            self.functions.add(function)
            if frame.f_back is not None and function_of(frame.f_back.f_code):
                self.calls[frame.f_back.f_code, frame.f_code] += 1
            if not held:
                stack.append(function)
                if len(stack) > len(self.deepest):
                    self.deepest, self.thread = tuple(stack), threading.current_thread().name
        elif not held:
            assert stack.pop() == function

    def ups(self) -> tuple[Up, ...]:
        levels = room_levels()
        found: Counter[tuple[str, str, Kind]] = Counter()
        for (below, above), times in self.calls.items():
            caller, callee = function_of(below), function_of(above)
            if levels.get(room_of(caller), 0) > levels.get(room_of(callee), len(levels)):
                found[caller, callee, kind_of(above)] += times
        return tuple(Up(*pair, times) for pair, times in sorted(found.items()))


def measure(command: str, model: str) -> Way:
    """Run a command in this process."""
    for module in pkgutil.walk_packages(atoll.__path__, "atoll."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    main = importlib.import_module("atoll.cli").main
    watch = Watch()
    code = 0
    gc.disable()
    with contextlib.redirect_stdout(io.StringIO()):
        threading.setprofile(watch)
        sys.setprofile(watch)
        try:
            main([model if word == "MODEL" else word for word in command.split()])
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    depth = len(watch.deepest)
    return Way(command, code, depth, watch.thread, watch.deepest, len(watch.functions), watch.ups())


def show(way: Way) -> None:
    print(f"{way.command}: {way.depth} deep in {way.thread}, {way.functions} functions, {len(way.ups)} calls up")
    for number, function in enumerate(way.chain, start=1):
        print(f"  {number:3} {function}")
    for up in way.ups:
        print(f"  up: {up.caller} -> {up.callee} ({up.callee_is}, {up.times}x): {up.said_by or 'NO ARGUMENT SAYS SO'}")


def faults(way: Way) -> list[str]:
    """What must not be."""
    found = [f"{up.caller} calls {up.callee}, which is above it" for up in way.ups if not up.said_by]
    if way.exit_code:
        found.append(f"it failed with {way.exit_code}")
    if way.depth > COMMANDS[way.command]:
        found.append(f"it is {way.depth} deep, not {COMMANDS[way.command]} at most")
    return [f"{way.command}: {fault}" for fault in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help=f"by default the zoo's {NETWORK}")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh,
    ):
        model = arguments.model or Path(folder) / f"{NETWORK}.tflite"
        if arguments.model is None:
            building = fresh.submit(measure, f"zoo build {NETWORK} -o MODEL", str(model)).result()
            assert building.exit_code == 0, "the zoo did not build the model"
        ways = [fresh.submit(measure, command, str(model)).result() for command in COMMANDS]
    for way in ways:
        show(way)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(way) for way in ways], indent=2) + "\n", encoding="utf-8")
    if wrong := [fault for way in ways for fault in faults(way)]:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
