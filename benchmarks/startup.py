"""Whole commands -> how long they take, start-up included, beside what they cannot do without or compete with.

    python benchmarks/startup.py [MODEL.tflite] [--write]

`atoll --help` and `atoll check` stand beside a Python that imports numpy and the interpreter, `atoll compile` beside
Arm's `vela`. What is run is the script `atoll` that is installed beside the Python which runs this. The two commands of
a pair run in turns, so that a busy machine slows both; a ratio is the median of the rounds' ratios. One round before,
not counted, warms the disk's cache and compiles the sources (PYTHONDONTWRITEBYTECODE is taken away).

`atoll check`, `compile` and `inspect` import numpy with OPENBLAS_NUM_THREADS=1, because they multiply no matrices: that
saves the start of a thread per core, 30 to 60 ms of processor time on two cores (5 to 20 ms of an idle machine's clock,
more of a busy one's). The other side of a pair imports numpy as it comes, as anybody's Python does; the pairs "with one
thread" give it the same advantage and have no target. Ratios hold on an idle machine only; wide quartiles tell.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import sysconfig
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from compile_speed import VENV, measure, vela_command

NETWORK = "mobilenet_v2_1.0_224"
RESULTS = Path(__file__).parent / "results" / "startup.json"
ATOLL = str(Path(sysconfig.get_path("scripts")) / "atoll")
IMPORTS = [sys.executable, "-c", "import numpy, ai_edge_litert.interpreter"]
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Pair:
    """One of our commands, and what it is held against."""

    name: str
    command: list[str]
    beside: str
    other: list[str]
    most: float | None
    """The target."""
    environment: dict[str, str] = field(default_factory=dict)
    """Of ``other``."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Medians of the rounds of one pair."""

    command: str
    beside: str
    seconds: float
    beside_seconds: float
    ratio: float
    quartiles: tuple[float, float]
    """Of the ratios; far apart on a busy machine."""
    cpu_seconds: float
    beside_cpu_seconds: float
    """Processor time of all threads and children, which other processes hardly change."""
    most: float | None


def pairs(model: str, folder: Path, vela: list[str]) -> tuple[Pair, ...]:
    check = [ATOLL, "check", model]
    compiling = [ATOLL, "compile", model, "-q", "-o", str(folder / "ours")]
    competing = [*vela, model, "--output-dir", str(folder / "theirs")]
    return (
        Pair("atoll --help", [ATOLL, "--help"], "imports", IMPORTS, 0.42),
        Pair("atoll check", check, "imports", IMPORTS, 1.7),
        Pair("atoll check", check, "imports with one thread", IMPORTS, None, ONE_THREAD),
        Pair("atoll compile", compiling, "vela", competing, 0.45),
        Pair("atoll compile", compiling, "vela with one thread", competing, None, ONE_THREAD),
    )


def compare(pair: Pair, rounds: int) -> Ratio:
    times = [(measure(pair.command), measure(pair.other, **pair.environment)) for _ in range(rounds + 1)][1:]
    low, ratio, high = statistics.quantiles((ours[0] / theirs[0] for ours, theirs in times), n=4)
    (seconds, _, cpu), (other_seconds, _, other_cpu) = (
        [round(statistics.median(values), 4) for values in zip(*side)] for side in zip(*times)
    )
    result = Ratio(
        pair.name,
        pair.beside,
        seconds,
        other_seconds,
        round(ratio, 3),
        (round(low, 3), round(high, 3)),
        cpu,
        other_cpu,
        pair.most,
    )
    print(
        f"{pair.name}: {seconds:.3f} s, {ratio:.2f} of {pair.beside} ({other_seconds:.3f} s), "
        f"quartiles {low:.2f} and {high:.2f}; of processor time {cpu / other_cpu:.2f}"
        + ("" if pair.most is None else f"; at most {pair.most}"),
        flush=True,
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help=f"by default the zoo's {NETWORK}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--venv", type=Path, default=VENV, help="of vela; made if it is not there")
    parser.add_argument("--write", action="store_true", help="keep the results in benchmarks/results/startup.json")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    vela = vela_command(arguments.venv)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or str(Path(folder) / f"{NETWORK}.tflite")
        if arguments.model is None:
            measure([ATOLL, "zoo", "build", NETWORK, "-o", model])
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "rounds": arguments.rounds,
            "numpy": "check and compile import it with OPENBLAS_NUM_THREADS=1, the other side as it comes unless named",
            "ratios": [asdict(compare(pair, arguments.rounds)) for pair in pairs(model, Path(folder), vela)],
        }
    if arguments.write:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
