"""What a compilation gives: the compiled segments, ready to be written or run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from atoll.ir.dump import dump
from atoll.ir.graph import Model


@dataclass(frozen=True, slots=True)
class CompiledSegment:
    """One output file: ``source`` is the segment before, ``model`` after its regions became custom operators."""

    name: str
    """File name, as the vendor's compiler would name it."""
    source: Model
    model: Model
    regions: tuple[tuple[int, ...], ...]
    """Operators of ``source`` that each custom operator stands for."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """All files of one compilation, which share one caching token."""

    segments: tuple[CompiledSegment, ...]
    token: int


def segment_name(model_name: str, index: int, count: int) -> str:
    """``X_edgetpu.tflite``, or ``X_segment_0_of_3_edgetpu.tflite`` (``../shared/facts/compiler.md``)."""
    stem = Path(model_name).name.removesuffix(".tflite")
    return f"{stem}_edgetpu.tflite" if count == 1 else f"{stem}_segment_{index}_of_{count}_edgetpu.tflite"


def caching_token(model: Model, *options: object) -> int:
    """A 64-bit number, never 0 (which would mean "do not cache"), the same for the same model and options."""
    digest = hashlib.sha256(dump(model).encode("utf-8", "surrogateescape"))
    digest.update(repr(options).encode())
    return int.from_bytes(digest.digest()[:8], "little") or 1
