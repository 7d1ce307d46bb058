"""Real and generated models -> wall time and memory of `atoll compile` beside Arm's `vela`, as JSON.

Both are run as commands, start-up included, in turns, so that a busy machine slows both. `vela` (PyPI: ethos-u-vela)
lives in a virtual environment of its own, made on first use. Chains of 100 to 2,000 convolutions show how time grows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from atoll.model import Buffer, DType, Graph, Model, Operator, Quantization, Tensor
from atoll.model.tflite import write_model

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "compile_speed.json"
MODELS = HERE.parents[1] / "shared" / "data" / "models"
NETWORKS = (
    "uncompiled/mobilenet_v2_1.0_224_quant.tflite",
    "random/DenseNet121_int8.tflite",
    "random/InceptionV3_int8.tflite",
)
ATOLL = [sys.executable, "-m", "atoll"]
CHAINS = (100, 250, 500, 1000, 2000)
VENV = Path(tempfile.gettempdir()) / "atoll-vela"


def vela_command(venv: Path) -> list[str]:
    """The `vela` command, installed if need be."""
    vela = venv / "bin" / "vela"
    if not vela.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(venv / "bin" / "pip"), "install", "-q", "ethos-u-vela"], check=True)
    return [str(vela)]


def measure(command: list[str], **environment: str) -> tuple[float, float, float]:
    """Wall seconds, largest resident set in bytes, and processor seconds of a command and its children."""
    environment = os.environ | environment
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)  # wait4 has reaped it
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss * 1024.0, usage.ru_utime + usage.ru_stime


def best(command: list[str], others: list[str] | None, repeats: int) -> list[dict[str, float]]:
    """The least wall time, memory and processor time of each of two commands, run in turns."""
    commands = [command, *([others] if others else [])]
    rounds = [[measure(item) for item in commands] for _ in range(repeats)]
    return [
        {
            "seconds": round(min(r[i][0] for r in rounds), 3),
            "bytes": min(r[i][1] for r in rounds),
            "cpu": round(min(r[i][2] for r in rounds), 3),
        }
        for i in range(len(commands))
    ]


def chain(length: int, size: int = 8, channels: int = 32) -> Model:
    """Convolutions of 3×3 one after the other, int8, per-channel scales."""
    rng = np.random.default_rng(length)
    activation = Quantization(np.array([0.05], np.float32), np.array([0], np.int64))
    scales = Quantization(np.full(channels, 0.01, np.float32), np.zeros(channels, np.int64))
    options = {
        "padding": 0, "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1,
        "fused_activation_function": 1,
    }  # fmt: skip
    shape = (1, size, size, channels)
    tensors, operators = [Tensor("input", shape, DType.INT8, activation)], []
    last = 0
    for i in range(length):
        weights = rng.integers(-127, 128, (channels, 3, 3, channels)).astype(np.int8)
        bias = rng.integers(-500, 500, channels).astype(np.int32)
        for name, array, dtype in (("weights", weights, DType.INT8), ("bias", bias, DType.INT32)):
            buffer = Buffer(array.reshape(-1).view(np.uint8))
            tensors.append(Tensor(f"conv_{i}/{name}", array.shape, dtype, scales, buffer))
        tensors.append(Tensor(f"conv_{i}", shape, DType.INT8, activation))
        at = len(tensors)
        operators.append(Operator("CONV_2D", (last, at - 3, at - 2), (at - 1,), options, "Conv2DOptions", 3))
        last = at - 1
    return Model((Graph(tuple(tensors), tuple(operators), (0,), (last,)),))


def compare(vela: list[str], folder: Path, repeats: int) -> list[dict[str, Any]]:
    own = interpreter_bytes()
    rows = []
    for name in NETWORKS:
        path = MODELS / name
        ours, theirs = best(
            [*ATOLL, "compile", str(path), "-q", "-o", str(folder / "ours")],
            [*vela, str(path), "--output-dir", str(folder / "theirs")],
            repeats,
        )
        rows.append(
            {
                "model": path.stem,
                "file_bytes": path.stat().st_size,
                "atoll_s": ours["seconds"],
                "vela_s": theirs["seconds"],
                "atoll_cpu_s": ours["cpu"],
                "vela_cpu_s": theirs["cpu"],
                "atoll_bytes": ours["bytes"],
                "interpreter_bytes": own,
                "files": round((ours["bytes"] - own) / path.stat().st_size, 2),
            }
        )
        print(rows[-1], flush=True)
    return rows


def interpreter_bytes() -> float:
    """What Python with all modules of the command takes, before it has done anything."""
    modules = "atoll.cli.compile, atoll.api.compile_job, rich.table, rich.console"
    return measure([sys.executable, "-c", f"import {modules}"])[1]


def growth(folder: Path, repeats: int) -> list[dict[str, float]]:
    rows = []
    for length in CHAINS:
        path = folder / f"chain_{length}.tflite"
        write_model(chain(length), path)
        (ours,) = best([*ATOLL, "compile", str(path), "-q", "-o", str(folder / "ours")], None, repeats)
        (check,) = best([*ATOLL, "check", str(path)], None, repeats)
        times = {"compile": ours, "check": check}
        rows.append(
            {"operators": length}
            | {f"{name}_s": item["seconds"] for name, item in times.items()}
            | {f"{name}_cpu_s": item["cpu"] for name, item in times.items()}
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--venv", type=Path, default=VENV)
    arguments = parser.parse_args()
    vela = vela_command(arguments.venv)
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "vela": subprocess.run([*vela, "--version"], capture_output=True, text=True, check=True).stdout.strip(),
            "networks": compare(vela, Path(folder), arguments.repeats),
            "chains": growth(Path(folder), arguments.repeats),
        }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
