"""Whole commands -> how long they take, start-up included, beside what they cannot do without or compete with.

    python benchmarks/startup.py [MODEL.tflite] [--json FILE]

`atoll --help` and `atoll check` stand beside a Python that imports numpy and the interpreter, `atoll compile` beside
Arm's `vela`. The two commands of a pair run in turns, so that a busy machine slows both; a ratio is the median of the
rounds' ratios. One round before, not counted, warms the disk's cache. The ratios hold on an idle machine only: numpy
starts threads as it is imported, which take longer on a busy one than what we do. Wide quartiles tell.
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
from dataclasses import asdict, dataclass
from pathlib import Path

from compile_speed import VENV, measure, vela_command

NETWORK = "mobilenet_v2_1.0_224"
ATOLL = str(Path(sysconfig.get_path("scripts")) / "atoll")
IMPORTS = [sys.executable, "-c", "import numpy, ai_edge_litert.interpreter"]


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
    most: float
    """The target."""


def compare(command: list[str], beside: list[str], rounds: int) -> tuple[float, float, list[float]]:
    """Median seconds of both, and the quartiles of their ratios."""
    times = [(measure(command)[0], measure(beside)[0]) for _ in range(rounds + 1)][1:]
    ours, theirs = zip(*times)
    return statistics.median(ours), statistics.median(theirs), statistics.quantiles((a / b for a, b in times), n=4)


def ratios(model: str, folder: Path, rounds: int, vela: list[str]) -> list[Ratio]:
    compiling = [ATOLL, "compile", model, "-q", "-o", str(folder / "ours")]
    pairs = (
        ("atoll --help", [ATOLL, "--help"], "imports", IMPORTS, 0.42),
        ("atoll check", [ATOLL, "check", model], "imports", IMPORTS, 1.7),
        ("atoll compile", compiling, "vela", [*vela, model, "--output-dir", str(folder / "theirs")], 0.45),
    )
    found = []
    for name, command, beside, other, most in pairs:
        seconds, beside_seconds, quartiles = compare(command, other, rounds)
        low, ratio, high = (round(quartile, 3) for quartile in quartiles)
        found.append(Ratio(name, beside, round(seconds, 4), round(beside_seconds, 4), ratio, (low, high), most))
        print(
            f"{name}: {seconds:.3f} s, {ratio:.2f} of {beside} ({beside_seconds:.3f} s), "
            f"quartiles {low:.2f} and {high:.2f}; at most {most}",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help=f"by default the zoo's {NETWORK}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--venv", type=Path, default=VENV, help="of vela; made if it is not there")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    vela = vela_command(arguments.venv)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or str(Path(folder) / f"{NETWORK}.tflite")
        if arguments.model is None:
            measure([ATOLL, "zoo", "build", NETWORK, "-o", model])
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "rounds": arguments.rounds,
            "ratios": [asdict(ratio) for ratio in ratios(model, Path(folder), arguments.rounds, vela)],
        }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
