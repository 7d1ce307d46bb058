"""Real compiler logs: every operator they call mapped is in the table, and every status is one of ours."""

from __future__ import annotations

import json

import pytest

from atoll.support.operators import ROWS, Status
from shared_data import DATA

LOGS = DATA / "vendor_logs.json"
pytestmark = pytest.mark.skipif(not LOGS.is_file(), reason="needs ../shared/data, which is not here")
RUNTIME = {"16": 14, "15": 13, "14": 13, "2": 13, "1": 10}
"""Default minimum runtime by compiler generation (shared facts, compiler.md)."""


def rows() -> list[tuple[str, str, str]]:
    """Compiler version, operator and status of every row of every log."""
    return [
        (log["version"] or "", kind, status)
        for log in json.loads(LOGS.read_text())
        for model in log["models"]
        for kind, _, status in model["ops"]
    ]


def test_every_status_is_known() -> None:
    known = [status.value for status in Status]  # Some logs were cut in the middle of a status.
    for _, kind, status in rows():
        assert any(name.startswith(status) for name in known), (kind, status)


def test_every_mapped_operator_is_in_the_table_for_its_runtime() -> None:
    mapped = {(version, kind) for version, kind, status in rows() if status == Status.MAPPED.value}
    assert len(mapped) > 50
    for version, kind in mapped:
        assert kind in ROWS
        # A log without a version could be of any compiler.
        assert ROWS[kind].since <= RUNTIME.get(version.split(".")[0], 14), (version, kind)


def test_every_operator_called_not_supported_is_not_in_the_table_for_its_runtime() -> None:
    for version, kind, status in rows():
        if status == Status.NOT_SUPPORTED.value:
            assert kind not in ROWS or ROWS[kind].since > RUNTIME[version.split(".")[0]]
