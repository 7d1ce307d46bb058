"""``atoll compile`` with the vendor's compiler: a model → its files, and our prediction beside the vendor's answer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from atoll.cli.old_output import print_json, progress, table
from atoll.errors import UsageError

if TYPE_CHECKING:
    from atoll.api.codegen import Mode, VendorCompiled
    from atoll.compiler.external import VendorCompiler

_OURS = {
    "stop_at": "--intermediate-tensors",
    "search_step": "--search-step",
    "order": "--order",
    "generation": "--generation",
    "no_cpu_subgraph": "--no-cpu-subgraph",
    "csv_file": "--csv",
}
"""Options of ``atoll compile`` that only our own code generator has."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the vendor's compiler is asked for."""

    models: tuple[str, ...]
    directory: str
    segments: int
    min_runtime: int | None
    all_regions: bool
    timeout: float
    """Seconds per segment."""
    partition: str | None


def vendor_compiler(codegen: Mode, path: str | None, quiet: bool) -> VendorCompiler | None:
    """The vendor's compiler when it shall be used, None for our own; says which and why on standard error.

    Raises:
        UsageError: options that exclude each other; CompilerMissingError, CompilerInvalidError: there is no compiler.
    """
    if codegen == "virtual" and path is None:
        return None
    from atoll.api.codegen import choose_codegen

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    ours = _only_ours()
    if ours and codegen == "auto" and path is None:
        say(f"code generator: atoll's own, for virtual devices: only it has {ours}")
        return None
    found = choose_codegen(codegen, path, devices_real=True, say=say)
    if found is not None and ours:
        raise UsageError(f"the vendor's compiler is not asked for {ours}", "Leave it out, or take --codegen virtual.")
    return found


def _only_ours() -> str:
    """What was given that only our code generator does, "" if nothing."""
    context = click.get_current_context()
    for name, option in _OURS.items():
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            return option
    return "several models on one Edge TPU" if len(context.params["models"]) > 1 else ""


def compile_with_vendor(compiler: VendorCompiler, request: Request, as_json: bool, quiet: bool) -> None:
    """Cut, compile, write the files, and print the report."""
    from atoll import toolchain
    from atoll.api.codegen import vendor_compile
    from atoll.partitioning import read_partition
    from atoll.support import require_compilable

    model = toolchain.load(request.models[0])
    require_compilable(model)
    if request.partition is not None:
        partition = read_partition(request.partition, model.main).partition
    else:
        partition = toolchain.equal_partition(model.main, request.segments)
    title = f"compiling {request.models[0]} with {compiler.path}"
    with progress(title, len(partition.segments), quiet) as show:
        done = vendor_compile(
            model,
            partition,
            compiler,
            request.directory or ".",
            min_runtime=request.min_runtime,
            seconds=math.ceil(request.timeout),
            all_regions=request.all_regions,
            on_segment=show,
        )
    if as_json:
        _print_fields(done)
    else:
        _show(done)


def _print_fields(done: VendorCompiled) -> None:
    files = [
        {"output": str(path), "log": str(path.with_suffix(".log")), "output_bytes": path.stat().st_size, **asdict(item)}
        for path, item in zip(done.paths, done.segments)
    ]
    print_json("compile_vendor", compiler=asdict(done.compiler), files=files)


def _show(done: VendorCompiled) -> None:
    from atoll.compiler.external.agreement import COLUMNS, sentences, table_rows

    table(COLUMNS, table_rows(done.segments))
    for line in sentences(done.segments):
        click.echo(line)
    click.echo(f"Compiled by the vendor's compiler {done.compiler.version}, for real Edge TPUs.")
