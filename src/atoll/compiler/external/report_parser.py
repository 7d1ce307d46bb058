"""Standard output or a log file of the vendor's compiler (or ours), any version, also torn → what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from atoll.compiler.external.report_text import ABORTED, FAILED, SUCCEEDED
from atoll.support.operator_rows import OperatorRow

_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)(B|KiB|MiB|GiB)")
_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_COMPILED = re.compile(r"Models? compiled successfully in ([0-9]{1,15}) ms")
_ATTEMPT = re.compile(r"Try to compile segment with ([0-9]{1,15}) ops")
_TENSORS = re.compile(r"Intermediate tensors: (.+)")
_ROW = re.compile(r"([A-Za-z][A-Za-z0-9_-]*) +([0-9]{1,15}) +(\S.*)")


@dataclass(frozen=True, slots=True)
class Size:
    """A size as printed; ``nbytes`` is exact to the two decimals of ``text``."""

    text: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class ParsedModel:
    """One model of a report; None where the text does not say."""

    input_model: str | None = None
    input_size: Size | None = None
    output_model: str | None = None
    output_size: Size | None = None
    on_chip_available: Size | None = None
    """Compilers 1.0 and 2.0."""
    on_chip_used: Size | None = None
    on_chip_remaining: Size | None = None
    """Compilers 2.1 and later."""
    off_chip_used: Size | None = None
    subgraphs: int | None = None
    total_operators: int | None = None
    operation_log: str | None = None
    mapped_operators: int | None = None
    cpu_operators: int | None = None
    operators: tuple[OperatorRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedAttempt:
    """One try of ``-d``: how many operators, and the tensors where it stopped."""

    operators: int
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedReport:
    """Everything that a report says."""

    version: str | None = None
    milliseconds: int | None = None
    models: tuple[ParsedModel, ...] = ()
    operators: tuple[OperatorRow, ...] = ()
    """Rows of a table that belongs to no model of the text."""
    attempts: tuple[ParsedAttempt, ...] = ()
    succeeded: bool | None = None
    """What the last verdict said; None when the text holds none (compilers before 16, torn texts)."""
    errors: tuple[str, ...] = ()
    """Lines that say what went wrong."""


def _size(text: str) -> Size | None:
    match = _SIZE.fullmatch(text)
    return Size(text, round(float(match[1]) * _UNITS[match[2]])) if match else None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


def _text(text: str) -> str | None:
    return text or None


_FIELDS: dict[str, tuple[str, Callable[[str], object]]] = {
    "Input model": ("input_model", _text),
    "Input": ("input_model", _text),
    "Input size": ("input_size", _size),
    "Output model": ("output_model", _text),
    "Output": ("output_model", _text),
    "Output size": ("output_size", _size),
    "On-chip memory available for caching model parameters": ("on_chip_available", _size),
    "On-chip memory used for caching model parameters": ("on_chip_used", _size),
    "On-chip memory remaining for caching model parameters": ("on_chip_remaining", _size),
    "Off-chip memory used for streaming uncached model parameters": ("off_chip_used", _size),
    "Number of Edge TPU subgraphs": ("subgraphs", _number),
    "Total number of operations": ("total_operators", _number),
    "Operation log": ("operation_log", _text),
    "Number of operations that will run on Edge TPU": ("mapped_operators", _number),
    "Number of operations that will run on CPU": ("cpu_operators", _number),
}

_ERRORS = ("ERROR: ", "Compilation failed: ", "Invalid model: ", "Model not quantized", "Model could not be parsed",
           "Compilation timeout", ABORTED.strip(), "loc(")  # fmt: skip


def parse_vendor(text: str) -> ParsedReport:
    """Read a report or a log. Lines that mean nothing here are passed over, as is whatever a torn text lacks."""
    reading = _Reading()
    for line in text.splitlines():
        reading.line(line.rstrip())
    return reading.result()


class _Reading:
    """The state between lines: the models so far, the last of which is still being read."""

    def __init__(self) -> None:
        self._models: list[dict[str, Any]] = []
        self._rows: list[list[OperatorRow]] = []
        self._loose: list[OperatorRow] = []
        self._open = False
        self._report = ParsedReport()

    def line(self, line: str) -> None:
        label, separator, value = line.partition(":")
        if separator and label in _FIELDS:
            self._field(*_FIELDS[label], value.strip())
        elif match := _ROW.fullmatch(line):
            row = OperatorRow(match[1], int(match[2]), match[3])
            (self._rows[-1] if self._open else self._loose).append(row)
        else:
            self._other(line)

    def _field(self, name: str, convert: Callable[[str], object], text: str) -> None:
        value = convert(text)
        if value is None:
            return
        if not self._open or name in self._models[-1]:
            self._models.append({})
            self._rows.append([])
            self._open = True
        self._models[-1][name] = value

    def _other(self, line: str) -> None:
        report = self._report
        if match := _VERSION.match(line):
            self._open = False
            self._report = replace(report, version=report.version or match[1])
        elif match := _COMPILED.match(line):
            self._open = False
            if report.milliseconds is None:
                self._report = replace(report, milliseconds=int(match[1]))
        elif match := _ATTEMPT.match(line):
            self._open = False
            self._report = replace(report, attempts=(*report.attempts, ParsedAttempt(int(match[1]))))
        elif (match := _TENSORS.match(line)) and report.attempts:
            last = replace(report.attempts[-1], tensors=tuple(match[1].split(",")))
            self._report = replace(report, attempts=(*report.attempts[:-1], last))
        elif line in (SUCCEEDED.strip(), FAILED.strip(), ABORTED.strip()):
            self._open = False
            errors = report.errors if line in (SUCCEEDED.strip(), FAILED.strip()) else (*report.errors, line)
            self._report = replace(report, succeeded=line == SUCCEEDED.strip(), errors=errors)
        elif line.startswith(_ERRORS):
            self._report = replace(report, errors=(*report.errors, line))

    def result(self) -> ParsedReport:
        models = (ParsedModel(**m, operators=tuple(rows)) for m, rows in zip(self._models, self._rows))
        return replace(self._report, models=tuple(models), operators=tuple(self._loose))
