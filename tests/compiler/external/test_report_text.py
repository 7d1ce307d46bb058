"""What we print is, to the byte, what the vendor's compiler prints for the same facts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from atoll.compiler.external.report_parser import ParsedModel, Size, parse_vendor
from atoll.compiler.external.report_text import (
    SUCCEEDED,
    VERSION,
    WITHIN_TIMEOUT,
    VendorBlock,
    attempt_lines,
    log_text,
    search_line,
    success_lines,
    timer_line,
)
from atoll.support.operator_rows import OperatorRow, vendor_rows
from builders import branched
from shared_data import DATA

LOGS = DATA / "vendor_logs.json"
ENTRIES: list[dict[str, Any]] = json.loads(LOGS.read_text()) if LOGS.exists() else []
WHOLE = [e for e in ENTRIES if e["version"] == "16.0.384591198" and e["complete"] and len(e["models"]) == 1]
REPORTS = [e for e in WHOLE if "Compilation succeeded! \n" in e["raw"] and "Try to compile" not in e["raw"]]
OPERATION_LOGS = [e for e in WHOLE if "\nInput: " in e["raw"]]

needs_logs = pytest.mark.skipif(not ENTRIES, reason="../shared/data is absent")


def _bytes(size: Size | None) -> int:
    assert size is not None
    return size.nbytes


def _block(model: ParsedModel) -> VendorBlock:
    operators = model.operators
    if not operators:  # only the sums are printed
        mapped = model.mapped_operators if model.mapped_operators is not None else model.total_operators
        assert mapped is not None and model.total_operators is not None
        counts = ((mapped, "Mapped to Edge TPU"), (model.total_operators - mapped, "Operation not supported"))
        operators = tuple(OperatorRow("ADD", count, status) for count, status in counts)
    return VendorBlock(
        input_model=model.input_model or "",
        input_bytes=_bytes(model.input_size),
        output_model=model.output_model or "",
        output_bytes=_bytes(model.output_size),
        on_chip_used=_bytes(model.on_chip_used),
        on_chip_remaining=_bytes(model.on_chip_remaining),
        off_chip_used=_bytes(model.off_chip_used),
        subgraphs=model.subgraphs or 0,
        operators=operators,
        operation_log=model.operation_log or "",
    )


@needs_logs
@pytest.mark.parametrize("entry", REPORTS, ids=lambda e: str(e["id"]))
def test_real_reports_are_printed_again_byte_for_byte(entry: dict[str, Any]) -> None:
    report = parse_vendor(entry["raw"])
    (model,) = report.models
    seconds = re.search(r"timer of (\d+) seconds", entry["raw"])
    assert seconds is not None and report.milliseconds is not None
    lines = [VERSION, timer_line(int(seconds[1]))]
    lines += success_lines([_block(model)], report.milliseconds, show_operations=bool(model.operators))
    assert "\n".join([*lines, WITHIN_TIMEOUT, SUCCEEDED]) + "\n" == entry["raw"]


@needs_logs
@pytest.mark.parametrize("entry", OPERATION_LOGS, ids=lambda e: str(e["id"]))
def test_real_operation_logs_are_printed_again_byte_for_byte(entry: dict[str, Any]) -> None:
    (model,) = parse_vendor(entry["raw"]).models
    block = VendorBlock(
        model.input_model or "", 0, model.output_model or "", 0, 0, 0, 0, 1, model.operators, "unused.log"
    )
    assert log_text(block) == entry["raw"]


@needs_logs
def test_there_are_real_texts_to_compare_with() -> None:
    assert len(REPORTS) >= 4
    assert len(OPERATION_LOGS) >= 4


def test_search_lines_are_the_vendors() -> None:
    assert search_line(10) == "Searching for valid delegate with step 10"
    assert attempt_lines(534, ()) == ["Try to compile segment with 534 ops"]
    assert attempt_lines(533, ("a:11", "b")) == ["Try to compile segment with 533 ops", "Intermediate tensors: a:11,b"]


def test_rows_of_one_operator_stay_together_and_count_every_operator() -> None:
    graph = branched().main
    statuses = ["Mapped to Edge TPU" if i % 2 else "Operation not supported" for i in range(len(graph.operators))]
    rows = vendor_rows(graph, statuses)
    assert sum(row.count for row in rows) == len(graph.operators)
    kinds = [row.operator for row in rows]
    assert kinds == sorted(kinds, key=kinds.index)
    assert len({(row.operator, row.status) for row in rows}) == len(rows)


def test_custom_operators_are_called_custom() -> None:
    from dataclasses import replace

    graph = branched().main
    custom = replace(graph.operators[0], kind="CUSTOM", custom_code="TFLite_Detection_PostProcess")
    rows = vendor_rows(replace(graph, operators=(custom,)), ["Operation not supported"])
    assert [row.operator for row in rows] == ["CUSTOM"]
