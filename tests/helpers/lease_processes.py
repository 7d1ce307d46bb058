"""Other processes that take devices."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

LIMIT = 60.0
"""Seconds before a test gives up; nothing here should take more than one."""


@contextlib.contextmanager
def another_process(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``code`` with everything imported; it says "ready" when it has what it wants."""
    prelude = (
        "import os, sys, time\nfrom atoll.device import lease, make_interpreter\n"
        "def ready():\n    print('ready', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()
