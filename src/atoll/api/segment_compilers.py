"""Which compiler compiles the segments that are to be measured."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.compiler.choosing import choose_compiler
from atoll.compiler.interface import CompileOptions, Compiler
from atoll.device import EdgeTpu
from atoll.errors import CompilerMissingError


def segment_compiler(path: str | None, devices: Sequence[EdgeTpu], seconds: int, step: int = 0) -> Compiler:
    """The compiler that is named, or ours; for real devices the vendor's that is installed.

    Args:
        path: An executable with the vendor's command line; None: not named.
        devices: What the segments are measured on; nothing: the timing model.
        seconds: How long an executable may take for one segment.
        step: Operators by which it stops earlier where it fails; 0: it does not.

    Raises:
        CompilerMissingError, CompilerInvalidError: it is not there, or is none.
    """
    real = bool(devices) and not devices[0].virtual
    options = CompileOptions(search_step=step, seconds=seconds)
    try:
        return choose_compiler("vendor" if real else "auto", path, real_devices=real, options=options, any_program=True)
    except CompilerMissingError as error:
        if path is not None:
            raise
        raise CompilerMissingError(
            f"{devices[0].path} runs only what the vendor's compiler made, and that is not installed",
            f"{error.hint} --device model uses the timing model instead.",
        ) from error
