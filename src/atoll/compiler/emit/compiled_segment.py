"""What a compilation gives: the compiled segments, ready to be written or run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atoll.findings import Finding
from atoll.model.dump import dump
from atoll.model.graph import Model


class Placed(Protocol):
    """What emission and reports need of a layer's parameters (``atoll.compiler.memory.LayerParameters``)."""

    @property
    def name(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def operator(self) -> int: ...


class LayerPlan(Protocol):
    """Where a layer's parameters lie (``atoll.compiler.memory.LayerPlan``)."""

    @property
    def layer(self) -> Placed: ...
    @property
    def cached(self) -> bool: ...
    @property
    def placements(self) -> Sequence[tuple[int, int, int, int]]: ...


class Memory(Protocol):
    """The parameter memory of one segment (``atoll.compiler.memory.ModelPlan``); bytes."""

    @property
    def layers(self) -> Sequence[LayerPlan]: ...
    @property
    def used(self) -> int: ...
    @property
    def remaining(self) -> int: ...
    @property
    def off_chip(self) -> int: ...


class Mapping(Protocol):
    """Which operators run where (``atoll.mapping.Mapping``)."""

    @property
    def regions(self) -> tuple[tuple[int, ...], ...]: ...
    @property
    def findings(self) -> tuple[tuple[Finding, ...], ...]: ...
    @property
    def statuses(self) -> tuple[str, ...]: ...
    @property
    def runtime(self) -> int: ...


@dataclass(frozen=True, slots=True)
class CompiledSegment:
    """One output file: ``source`` is the segment before, ``model`` after its regions became custom operators."""

    name: str
    """File name, as the vendor's compiler would name it."""
    source: Model
    model: Model
    mapping: Mapping
    memory: Memory
    seconds: float = 0.0
    """How long the compilation of this segment (and of those compiled together with it) took."""

    @property
    def regions(self) -> tuple[tuple[int, ...], ...]:
        """Operators of ``source`` that each custom operator stands for."""
        return self.mapping.regions

    @property
    def on_chip_bytes(self) -> int:
        """On-chip memory used for caching parameters, as the vendor counts it: whole rows of 256 bytes."""
        return self.memory.used

    @property
    def remaining_bytes(self) -> int:
        """On-chip memory left for parameters; 0 when nothing is mapped, as the vendor prints it."""
        return self.memory.remaining if self.mapping.regions else 0

    @property
    def off_chip_bytes(self) -> int:
        """Parameters sent to the Edge TPU with every inference."""
        return self.memory.off_chip


@dataclass(frozen=True, slots=True)
class Compiled:
    """All files of one compilation, which share one caching token."""

    segments: tuple[CompiledSegment, ...]
    token: int


def segment_name(model_name: str, index: int, count: int) -> str:
    """``X_edgetpu.tflite``, or ``X_segment_0_of_3_edgetpu.tflite`` (``../shared/facts/compiler.md``)."""
    stem = Path(model_name).name.removesuffix(".tflite")
    return f"{stem}_edgetpu.tflite" if count == 1 else f"{stem}_segment_{index}_of_{count}_edgetpu.tflite"


def caching_token(models: Iterable[Model], *options: object) -> int:
    """A 64-bit number, never 0 (which would mean "do not cache"), the same for the same models and options."""
    digest = hashlib.sha256()
    for model in models:
        digest.update(dump(model).encode("utf-8", "surrogateescape"))
    digest.update(repr(options).encode())
    return int.from_bytes(digest.digest()[:8], "little") or 1
