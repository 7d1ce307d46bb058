"""The public API is a list that changes on purpose only, and the reference is the one made from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import atoll

REPOSITORY = Path(__file__).parents[1]


def test_the_public_names_are_these_and_exist() -> None:
    assert set(atoll.__all__) == {
        "AtollError",
        "Pipeline",
        "StageStats",
        "VirtualEdgeTpu",
        "__version__",
        "adapt_delegate",
        "calibrate",
        "check",
        "classify",
        "compile",
        "devices",
        "doctor",
        "inspect",
        "learn",
        "lease",
        "list_edge_tpus",
        "make_interpreter",
        "measure",
        "partition",
        "plan",
        "profile",
        "read_model",
        "run",
        "write_model",
        "zoo",
    }
    assert all(getattr(atoll, name) for name in atoll.__all__)
    assert set(atoll._HOMES) == set(atoll.__all__) - {"__version__"}


def test_the_reference_is_up_to_date() -> None:
    script = REPOSITORY / "docs" / "generate.py"
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{result.stdout}{result.stderr}Run: make docs"


def test_versions_agree() -> None:
    assert f'version = "{atoll.__version__}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
