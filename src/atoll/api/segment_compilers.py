"""What compiles the segments that are to be measured: ours, or any with the vendor's command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atoll import toolchain
from atoll.compiler.external import find_compiler
from atoll.compiler.external.command import find_command
from atoll.compiler.external.vendor_compiler import INSTALL
from atoll.device import EdgeTpu
from atoll.errors import CompilerMissingError
from atoll.model.tflite import read_model


class SegmentCompiler(Protocol):
    """What compiles one file; :class:`atoll.compiler.external.command.CommandCompiler` is the other one."""

    @property
    def identity(self) -> str:
        """Compiler, version and options."""

    def compile(self, model: Path, directory: Path) -> Path:
        """Compile a file into a directory; raises an AtollError when it cannot."""


@dataclass(frozen=True, slots=True)
class OwnCompiler:
    """Our compiler, in this process. With a ``search_step`` it stops earlier and earlier where it fails."""

    search_step: int = 0

    @property
    def identity(self) -> str:
        """Compiler, version and options."""
        return f"{toolchain.COMPILER} -k {self.search_step}"

    def compile(self, model: Path, directory: Path) -> Path:
        """Compile a file into a directory; raises as :func:`atoll.toolchain.compile_models`."""
        options = toolchain.CompileOptions(search_step=self.search_step)
        _, compiled = toolchain.compile_models([read_model(model)], options)
        return toolchain.write_compiled(compiled, directory)[0]


def choose_compiler(path: str | None, devices: Sequence[EdgeTpu], seconds: int, step: int = 0) -> SegmentCompiler:
    """The compiler that is named, or ours; for real devices the vendor's that is installed.

    Args:
        path: An executable with the vendor's command line; None: not named.
        devices: What the segments are measured on; nothing: the timing model.
        seconds: How long an executable may take for one segment.
        step: Operators by which it stops earlier where it fails; 0: it does not.

    Raises:
        CompilerMissingError, CompilerInvalidError: it is not there, or is none.
    """
    if path is None and (not devices or devices[0].virtual):
        return OwnCompiler(step)
    if path is None:
        vendors = find_compiler()
        if vendors is None:
            raise CompilerMissingError(
                f"{devices[0].path} runs only what the vendor's compiler made, and that is not installed",
                f"{INSTALL} --device model uses the timing model instead.",
            )
        path = vendors.path
    return find_command(path, step, seconds)
