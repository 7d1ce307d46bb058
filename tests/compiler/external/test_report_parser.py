"""The parser reads every report and log of the vendor at hand, and all that we print ourselves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.compiler.external.report_parser import ParsedModel, Size, parse_vendor
from atoll.compiler.external.report_text import (
    SUCCEEDED,
    WITHIN_TIMEOUT,
    VendorBlock,
    log_text,
    success_lines,
    timer_line,
)
from atoll.support.operator_rows import OperatorRow
from shared_data import DATA

LOGS = DATA / "vendor_logs.json"
ENTRIES: list[dict[str, Any]] = json.loads(LOGS.read_text()) if LOGS.exists() else []

NAMES = {
    "input_model": "input_model",
    "input_size": "input_size",
    "output_model": "output_model",
    "output_size": "output_size",
    "on_chip_available": "on_chip_available",
    "on_chip_used": "on_chip_used",
    "on_chip_remaining": "on_chip_remaining",
    "off_chip_used": "off_chip_used",
    "subgraphs": "subgraphs",
    "total_ops": "total_operators",
    "operation_log": "operation_log",
    "ops_tpu": "mapped_operators",
    "ops_cpu": "cpu_operators",
}


def _value(value: Any) -> Any:
    return value["text"] if isinstance(value, dict) else value


def _field(model: ParsedModel, name: str) -> Any:
    value = getattr(model, name)
    return value.text if isinstance(value, Size) else value


@pytest.mark.skipif(not ENTRIES, reason="../shared/data is absent")
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["id"]))
def test_every_vendor_text_gives_the_fields_recorded_for_it(entry: dict[str, Any]) -> None:
    report = parse_vendor(entry["raw"])
    assert report.version == entry["version"]
    assert report.milliseconds == entry["compile_ms"]
    ours = [
        {
            **{key: _field(m, name) for key, name in NAMES.items() if _field(m, name) is not None},
            "ops": [[row.operator, row.count, row.status] for row in m.operators],
        }
        for m in report.models
    ]
    assert ours == [{key: _value(value) for key, value in m.items()} for m in entry["models"]]
    for parsed, recorded in zip(report.models, entry["models"]):
        for key in ("on_chip_used", "off_chip_used", "input_size"):
            if key in recorded:
                assert abs(getattr(parsed, NAMES[key]).nbytes - recorded[key]["bytes_approx"]) <= 1


_names = st.from_regex(r"[A-Za-z0-9_./-]{1,30}\.tflite", fullmatch=True)
_bytes = st.integers(0, 2**33)
_statuses = st.sampled_from(
    ["Mapped to Edge TPU", "Operation not supported", "More than one subgraph is not supported"]
)
_rows = st.lists(
    st.builds(OperatorRow, st.sampled_from(["CONV_2D", "ADD", "CUSTOM"]), st.integers(1, 10**9), _statuses)
)
_blocks = st.builds(
    VendorBlock, _names, _bytes, _names, _bytes, _bytes, _bytes, _bytes, st.integers(0, 99), _rows.map(tuple), _names
)


@given(st.lists(_blocks, min_size=1, max_size=4), st.integers(0, 10**9), st.booleans())
def test_our_standard_output_is_read_back(blocks: list[VendorBlock], milliseconds: int, show: bool) -> None:
    lines = [timer_line(180), *success_lines(blocks, milliseconds, show), WITHIN_TIMEOUT, SUCCEEDED]
    report = parse_vendor("\n".join(lines) + "\n")
    assert (report.milliseconds, report.succeeded) == (milliseconds, True)
    assert len(report.models) == len(blocks)
    for parsed, block in zip(report.models, blocks):
        assert parsed.input_model == block.input_model
        assert parsed.operation_log == block.operation_log
        assert parsed.total_operators == block.total_operators
        assert parsed.operators == (block.operators if show else ())
        for field in ("input_bytes", "output_bytes", "on_chip_used", "on_chip_remaining", "off_chip_used"):
            printed = getattr(parsed, field.replace("_bytes", "_size"))
            unit = {"B": 1, "KiB": 1024, "MiB": 1024**2}[printed.text.lstrip("0123456789.")]
            assert abs(printed.nbytes - getattr(block, field)) <= 0.00501 * unit + 1


@given(_blocks)
def test_our_log_is_read_back(block: VendorBlock) -> None:
    report = parse_vendor(log_text(block))
    (parsed,) = report.models
    assert report.version == "16.0.384591198"
    assert (parsed.input_model, parsed.output_model) == (block.input_model, block.output_model)
    assert parsed.operators == block.operators


@given(st.text(), st.lists(_blocks, max_size=2))
def test_any_text_is_read_without_an_error(noise: str, blocks: list[VendorBlock]) -> None:
    parse_vendor(noise)
    parse_vendor(noise.join(success_lines(blocks, 1, True)))
