"""What every compiler takes and gives: models, with their cuts, → files for Edge TPUs in a directory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atoll.compiler.emit.compiled_segment import CompiledSegment
from atoll.errors import AtollError
from atoll.hardware.generations import DEFAULT, Generation
from atoll.model.graph import Model
from atoll.products.partition import Partition
from atoll.products.progress import OnProgress, ignore

if TYPE_CHECKING:
    from atoll.compiler.external.agreement import Agreement

SECONDS = 180
"""The vendor's own default time limit."""


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """What a compilation is asked for, beside where to cut; the vendor's option in brackets."""

    min_runtime: int | None = None
    """The oldest Edge TPU runtime that must be able to run the result (``-m``); None: the compiler's default."""
    all_regions: bool = False
    """Map later regions too, each as a custom operator of its own (``-a``)."""
    search_step: int = 0
    """When compilation fails, stop this many operators earlier and try again (``-d``, ``-k``); 0: do not."""
    seconds: int = SECONDS
    """What the vendor's compiler may take for a file (``-t``)."""
    stop_at: tuple[tuple[str, ...], ...] = ()
    """Per model, the tensors behind which everything stays on the CPU (``-i``); our compiler only."""
    generation: Generation = DEFAULT
    """Which of the vendor's compilers ours follows."""
    cpu_graph: bool = True
    """Ours keeps the original operators in the file, so that it runs without any delegate."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to compile a segment: reported when it begins, and again, with ``failure``, if it fails."""

    segment: int
    operators: int
    """How many operators, from the first on, may be mapped."""
    tensors: tuple[str, ...]
    """Where mapping stops; empty when it does not."""
    failure: AtollError | None = None


@dataclass(frozen=True, slots=True)
class CompiledFiles:
    """What a compiler wrote: one file per segment, in the order of the segments, or one per co-compiled model."""

    compiler: str
    """Its name and version."""
    virtual: bool
    """Whether the files are for virtual devices only."""
    paths: tuple[Path, ...]
    segments: tuple[CompiledSegment, ...]
    """How our compiler compiled them, or would have: its prediction."""
    agreements: tuple[Agreement, ...] = ()
    """What the vendor's compiler says of each file, beside the prediction."""
    program: str = ""
    """Path of the vendor's compiler; "" of ours."""


class Compiler(ABC):
    """A compiler with the options that it is to compile with."""

    __slots__ = ()
    options: CompileOptions

    @property
    @abstractmethod
    def virtual(self) -> bool:
        """Whether what it makes runs on virtual devices only."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As people read it, with the version."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Compiler, version and options: what a result depends on beside the model."""

    @abstractmethod
    def compile(
        self,
        models: Sequence[Model],
        directory: str | Path,
        partition: Partition | None = None,
        on_progress: OnProgress = ignore,
    ) -> CompiledFiles:
        """Write the compiled files into ``directory``, named as the vendor names them, all of them or none.

        Args:
            models: One model; or several that share the memory of one Edge TPU, which only our compiler takes. Tensor
                names must be unique (:func:`atoll.model.load.load`).
            directory: Made if it is not there.
            partition: Where to cut the one model; None: nowhere.
            on_progress: Called with how many segments are compiled.

        Raises:
            UnsupportedModelError: A model is not quantised, has dynamic shapes, or is compiled already.
            UsageError: Options contradict each other, or name a tensor or a runtime that does not exist.
            CompilerFailedError: The vendor's compiler failed: with the segment, what it said, and what that means.
            CompilerResultError: A file that it made does not fit its segment.
            OutputError: ``directory`` cannot be written.
        """

    @abstractmethod
    def compile_file(self, path: Path, directory: Path) -> Path:
        """Compile one file, whatever comes out, into a directory of its own; the compiled file.

        Raises:
            AtollError: As :meth:`compile`.
        """
