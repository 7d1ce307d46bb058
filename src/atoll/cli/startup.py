"""What makes a command start sooner."""

from __future__ import annotations

import os
import sys

_THREADS = "OPENBLAS_NUM_THREADS"


def import_numpy_without_threads() -> None:
    """Import numpy for a command that multiplies no matrices.

    numpy's OpenBLAS starts a thread per core when it is imported, which takes as long as the rest of the import
    (measured on two cores: 55 of 140 ms), and a process with threads should not fork, as ``atoll compile`` does.
    """
    if "numpy" in sys.modules or _THREADS in os.environ:
        return
    os.environ[_THREADS] = "1"
    try:
        import numpy  # noqa: F401
    finally:
        del os.environ[_THREADS]
