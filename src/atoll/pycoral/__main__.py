"""``python -m atoll.pycoral SCRIPT ARGS``: an unmodified program for ``pycoral`` → the same on this package."""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import sys
from pathlib import Path

MODULES = (
    "",
    ".adapters",
    ".adapters.classify",
    ".adapters.common",
    ".adapters.detect",
    ".adapters.segment",
    ".learn",
    ".learn.backprop",
    ".learn.backprop.softmax_regression",
    ".learn.imprinting",
    ".learn.imprinting.engine",
    ".pipeline",
    ".pipeline.pipelined_model_runner",
    ".utils",
    ".utils.dataset",
    ".utils.edgetpu",
)
USAGE = 2
"""Exit code for wrong arguments, as Python's own."""


def install() -> None:
    """Make ``import pycoral`` mean this package, and ``tflite_runtime`` too unless it is installed."""
    for name in MODULES:
        sys.modules[f"pycoral{name}"] = importlib.import_module(f"atoll.pycoral{name}")
    if importlib.util.find_spec("tflite_runtime") is None:
        for name in ("", ".interpreter"):
            sys.modules[f"tflite_runtime{name}"] = importlib.import_module(f"atoll.pycoral.tflite_runtime{name}")


def main() -> None:
    """Run the program that ``sys.argv`` names, with its arguments, as ``__main__``."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m atoll.pycoral SCRIPT [ARGUMENT...]", file=sys.stderr)  # noqa: T201
        sys.exit(USAGE if len(sys.argv) < 2 else 0)
    script = Path(sys.argv[1])
    if not script.is_file():
        print(f"error: there is no program {script}", file=sys.stderr)  # noqa: T201
        sys.exit(USAGE)
    install()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
