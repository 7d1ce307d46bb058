"""One compiled file through a library of the vendor's, the adapter, and the prototype's emulated chip; an experiment.

    python benchmarks/adapter_end_to_end.py LIBEDGETPU [LIBEDGETPU ...]
        [--compiled X_edgetpu.tflite --original X.tflite]

Needs ../shared (models, and the prototype's stand-in for libusb) and a C compiler. The emulated chip follows the file's
DMA hints; what it answers is worked out beforehand with LiteRT from the original, for one random input, and laid out as
a chip does. So this proves the way through library, adapter and LiteRT, and nothing about a chip: it was never run on
hardware. The models that work here have one compiled operator without streamed parameters between outputs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import atoll
from atoll.compiler.package_format import (
    Base,
    BoundaryLayer,
    Direction,
    Executable,
    ExecutableKind,
    InstructionTransfer,
    Interrupt,
    Transfer,
)
from atoll.compiler.packages import packages
from atoll.device.real import layouts

ROOT = Path(__file__).parents[1]
MODELS = ROOT.parent / "shared/data/models"
PROTOTYPE = ROOT.parent / "shared/prototypes/runtime/fakeusb2.c"
RESOLVER = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def plan(executable: Executable) -> str:
    """The transfers of a request, in the prototype's words."""
    words = []
    for hint in executable.dma_hints.hints if executable.dma_hints else ():
        what = hint.hint
        if isinstance(what, InstructionTransfer):
            words.append(f"0:{len(executable.instructions[what.chunk].bitstream)}")
        elif isinstance(what, Transfer):
            kind = "o" if hint.direction == Direction.OUT else "1" if what.address.base == Base.INPUT else "2"
            words.append(f"{kind}:{what.size}")
        elif isinstance(what, Interrupt):
            words.append("x:0")
    return " ".join(words)


def on_the_wire(values: np.ndarray, layer: BoundaryLayer) -> bytes:
    """An output as a chip sends it: signed values with their highest bit turned, in the tiles' order."""
    stored = np.zeros(layer.size_bytes, np.uint8)
    flat = values.view(np.uint8) ^ np.uint8(0x80) if values.dtype == np.int8 else values
    cube = flat.reshape(layer.y, layer.x, layer.z)
    layout = layer.output.layout if layer.output else None
    if layout is None or layer.y * layer.x == 1:
        stored[: layer.z] = cube.reshape(-1)[: layer.z]
        return stored.tobytes()
    tiles = np.array(layout.y_to_tile)[:, None] + np.array(layout.x_to_tile)[None]
    rows = np.array(layout.y_to_local_row)[:, None] * np.array(layout.x_to_local_row_size)[None]
    at = np.array(layout.tile_byte_offset)[tiles] + rows + np.array(layout.x_to_local_byte)[None]
    stored[at[:, :, None] + np.arange(layer.z)] = cube
    return stored.tobytes()


def answer(executable: Executable, interpreter: Interpreter) -> bytes:
    """All that the chip sends in one request."""
    by_name = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
    sent = b""
    for hint in executable.dma_hints.hints if executable.dma_hints else ():
        what = hint.hint
        if isinstance(what, Transfer) and hint.direction == Direction.OUT:
            layer = next(layer for layer in executable.output_layers if layer.name == what.address.name)
            laid_out = on_the_wire(interpreter.get_tensor(by_name[layer.name]), layer)
            sent += laid_out[what.offset : what.offset + what.size]
    return sent


def expected(original: Path, seed: int) -> tuple[np.ndarray, Interpreter, list[np.ndarray]]:
    """A random input, an interpreter that has run it and kept all tensors, and its outputs."""
    interpreter = Interpreter(
        str(original), experimental_op_resolver_type=RESOLVER, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    detail = interpreter.get_input_details()[0]
    limits = np.iinfo(detail["dtype"])
    values = np.random.default_rng(seed).integers(limits.min, limits.max + 1, detail["shape"]).astype(detail["dtype"])
    interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    return values, interpreter, outputs


def run_child(library: str, compiled: str, folder: Path) -> None:
    """In a process whose libusb is the stand-in: adapt, run, compare, print one line of JSON."""
    delegate = atoll.adapt_delegate(library)
    interpreter = Interpreter(compiled, experimental_delegates=[delegate], experimental_op_resolver_type=RESOLVER)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(folder / "input.npy"))
    times = []
    for _ in range(200):
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    with np.load(folder / "expected.npz") as wanted:
        different = sum(int((value != wanted[f"arr_{i}"]).sum()) for i, value in enumerate(outputs))
    count = sum(value.size for value in outputs)
    print(json.dumps([delegate.tensor_bytes, different, count, float(np.median(times)) * 1e3]))


def main() -> None:
    """Prepare the chip's answer, then one child per library."""
    parser = argparse.ArgumentParser()
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("--compiled", type=Path, default=MODELS / "v2/mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    parser.add_argument("--original", type=Path, default=MODELS / "v2/mobilenet_v1_0.25_128_quant.tflite")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked: Any = parser.parse_args()
    (package,) = packages(atoll.read_model(asked.compiled))
    executable = next(one for one in package.executables if one.kind != ExecutableKind.PARAMETER_CACHING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiler = shutil.which("gcc") or shutil.which("cc") or sys.exit("there is no C compiler")
        include = ROOT / "tests/helpers/standin"
        flags = ["-shared", "-fPIC", "-O1", "-w", f"-I{include}", "-Wl,-soname,libusb-1.0.so.0", "-lpthread"]
        subprocess.run([compiler, "-o", str(folder / "libusb-1.0.so.0"), str(PROTOTYPE), *flags], check=True)
        values, original, outputs = expected(asked.original, asked.seed)
        np.save(folder / "input.npy", values)
        np.savez(folder / "expected.npz", *outputs)
        (folder / "answer").write_bytes(answer(executable, original))
        (folder / "plan").write_text("\n".join(plan(one) for one in package.executables) + "\n")
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": name,
            "FAKE_PLAN": str(folder / "plan"),
            "FAKE_OUTPUT": str(folder / "answer"),
            layouts.VARIABLE: name,
        }
        print(
            f"{asked.compiled.name}, seed {asked.seed}\nlibrary, bytes of a tensor, values that differ, ms per invoke"
        )
        for library in asked.libraries:
            command = [sys.executable, __file__, "--child", str(Path(library).resolve()), str(asked.compiled), name]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                print(Path(library).name, "failed:", (done.stderr.strip().splitlines() or ["crash"])[-1])
                continue
            size, different, count, ms = json.loads(done.stdout.splitlines()[-1])
            print(f"{Path(library).name}, {size}, {different} of {count}, {ms:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_child(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
