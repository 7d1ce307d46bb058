"""How fast is a large model read and written, and how much memory does that take?

    python benchmarks/file_io.py [MODEL]        default: ResNet-152, built and written first

Times are the best of several runs; memory is the growth of the peak resident set over a process that imported the same
modules, as a ratio to the file size.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "file_io.json"
REPEATS = 7


def measure(path: str) -> None:
    """In a process of its own, so that the peak is that of reading and writing alone."""
    from atoll.model.tflite import model_bytes, read_model
    from atoll.model.tflite.schema import builtin_operators, option_types

    builtin_operators(), option_types("BuiltinOptions"), option_types("BuiltinOptions2")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reads, writes = [], []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        model = read_model(path)
        middle = time.perf_counter()
        content = model_bytes(model)
        end = time.perf_counter()
        reads.append(middle - begin)
        writes.append(end - middle)
        del model, content
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"read_ms": min(reads) * 1e3, "write_ms": min(writes) * 1e3, "memory_bytes": (peak - before) * 1024}
    print(json.dumps(result))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "resnet152.tflite"
        if not path.exists():
            from atoll import networks, write_model

            write_model(networks.build("resnet152"), path)
        command = [sys.executable, __file__, "--measure", str(path)]
        result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        size = path.stat().st_size
    result = {"file_bytes": size, **result, "memory_over_file": result["memory_bytes"] / size}
    print(json.dumps(result, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
    else:
        main()
