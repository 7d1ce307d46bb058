"""What a compilation gives: the compiled segments, ready to be written or run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from atoll.compiler.memory import ModelPlan
from atoll.files import output_directory
from atoll.model.dump import dump
from atoll.model.graph import Model
from atoll.model.tflite import model_bytes
from atoll.support.regions import Regions


@dataclass(frozen=True, slots=True)
class CompiledSegment:
    """One output file: ``source`` is the segment before, ``model`` after its regions became custom operators."""

    name: str
    """File name, as the vendor's compiler would name it."""
    source: Model
    model: Model
    mapping: Regions
    memory: ModelPlan
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

    def write(self, directory: str | Path) -> tuple[Path, ...]:
        """Write every file into ``directory``, all of them or none. Raises OutputError."""
        with output_directory(directory) as output:
            return tuple(output.write(segment.name, model_bytes(segment.model)) for segment in self.segments)


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
