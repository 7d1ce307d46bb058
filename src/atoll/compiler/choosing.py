"""What the user asked for, and what will run the result → the compiler. The choice is made here and nowhere else."""

from __future__ import annotations

from typing import Literal, TypeAlias

from atoll.compiler.external.installed import INSTALL, Program, find_compiler, find_program
from atoll.compiler.interface import CompileOptions, Compiler
from atoll.compiler.own_compiler import OwnCompiler
from atoll.errors import CompilerInvalidError, CompilerMissingError, UsageError
from atoll.products.progress import OnMessage, ignore

Codegen: TypeAlias = Literal["auto", "virtual", "vendor"]
"""Whose compiler: ours, for virtual devices, the vendor's, or whichever fits the devices."""


def choose_compiler(
    codegen: Codegen = "auto",
    path: str | None = None,
    *,
    real_devices: bool,
    options: CompileOptions = CompileOptions(),
    any_program: bool = False,
    on_message: OnMessage = ignore,
) -> Compiler:
    """Ours, or the vendor's.

    Args:
        codegen: ``auto`` takes the vendor's when real devices will run the result and it is installed.
        path: The vendor's compiler; None: what ``ATOLL_EDGETPU_COMPILER`` names, or the first in PATH.
        real_devices: Whether real devices will run the result.
        options: What to compile with.
        any_program: ``path`` may be any program with the vendor's command line, ours included.
        on_message: Called with what was chosen, and why.

    Raises:
        CompilerMissingError: One was asked for and is not there.
        CompilerInvalidError: What was named, or all that is found under its name, is something else.
        UsageError: A compiler is named and not to be used.
    """
    if codegen == "virtual" and path is not None:
        raise UsageError("--compiler names the vendor's compiler, --codegen virtual does not use it", "Drop one.")
    if codegen == "virtual":
        return OwnCompiler(options)
    if codegen == "auto" and path is None and not real_devices:
        on_message("code generator: atoll's own, because the devices are virtual")
        return OwnCompiler(options)
    found = find_program(path) if any_program and path is not None else _vendors(path)
    if found is not None:
        from atoll.compiler.external.vendor_compiler import VendorCompiler  # where there is one; it takes a while

        compiler = VendorCompiler(found.path, found.version, options)
        on_message(f"code generator: {compiler.name}, {found.path}")
        return compiler
    if codegen == "vendor":
        raise CompilerMissingError("the vendor's compiler is not installed", INSTALL)
    on_message("code generator: atoll's own, for virtual devices; the vendor's compiler, for real ones, was not found")
    return OwnCompiler(options)


def _vendors(path: str | None) -> Program | None:
    try:
        return find_compiler(path)
    except CompilerInvalidError as error:
        raise CompilerInvalidError(error.message, f"{error.hint} --codegen virtual does without.") from error
