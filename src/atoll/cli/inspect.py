"""``atoll inspect``: a compiled file → what is in it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from atoll.cli.old_output import brief, json_option, print_json, table

if TYPE_CHECKING:
    from atoll.compiler.inspection import ExecutableReport, InspectReport, LayerReport, RegionReport


@click.command("inspect")
@click.argument("file", type=click.Path(readable=False))
@click.option("--original", metavar="MODEL", help="The model it was compiled from: shows where each layer lies.")
@json_option
def command(file: str, original: str | None, as_json: bool) -> None:
    """Explain the compiled FILE, made by atoll or by the vendor's compiler.

    A damaged file is explained as far as it can be read, with what is wrong where.
    """
    from atoll.compiler.inspection import inspect_model
    from atoll.errors import CorruptPackageError
    from atoll.model.tflite import read_model

    report = inspect_model(read_model(file), read_model(original) if original else None)
    if as_json:
        print_json("inspect", **asdict(report))
    else:
        _show(report)
    if report.problems:
        raise CorruptPackageError(
            f"{file} is damaged ({len(report.problems)} problems): {report.problems[0]}",
            "Compile the model again, or copy the file again.",
        )


def _show(report: InspectReport) -> None:
    click.echo(f"{report.file}: {report.description}" if report.description else report.file)
    for title, tensors in (("input", report.inputs), ("output", report.outputs)):
        for tensor in tensors:
            click.echo(f"  {title:<8}{tensor}")
    click.echo(f"  runtime {report.min_runtime} or newer; caching token {', '.join(report.tokens) or 'none'}")
    if report.cpu_operators:
        click.echo(f"  {len(report.cpu_operators)} operators on the CPU: {', '.join(report.cpu_operators)}")
    for region in report.regions:
        _show_region(region)
    for problem in report.problems:
        click.echo(f"problem: {problem}")


def _show_region(region: RegionReport) -> None:
    from atoll.products.units import size

    click.echo()
    click.echo(f"{brief(region.where)}: {region.compiler or 'unreadable'}")
    if not region.executables:
        return
    version = f"compiler '{region.compiler_version}'; " if region.compiler_version else ""
    click.echo(
        f"  {version}runtime {region.min_runtime}; parameters {size(region.cached_bytes)} cached, "
        f"{size(region.streamed_bytes)} streamed with every inference"
    )
    for executable in region.executables:
        _show_executable(executable)
    if region.mapped:
        click.echo(f"  {len(region.mapped)} operators of the original")
    if region.placed:
        table(
            ("operator", "name", ">bytes", "placement", ">offset"),
            [
                (
                    f"#{p.index} {p.kind}",
                    p.name.partition(";")[0],
                    f"{p.nbytes}",
                    p.placement,
                    f"{p.offset}" if p.offset >= 0 else "-",
                )
                for p in region.placed
            ],
        )


def _show_executable(item: ExecutableReport) -> None:
    from atoll.products.units import size

    chunks = ", ".join(size(nbytes) for nbytes in item.instruction_bytes) or "none"
    cycles = f"{item.estimated_cycles:,}" if item.estimated_cycles else "not given"
    click.echo(
        f"  {item.kind} '{item.name}' for {item.chip}, batch {item.batch}, token {item.token}\n"
        f"    parameters {size(item.parameter_bytes)}; instructions {chunks}; {item.dma_hints} DMA hints; "
        f"scratch {size(item.scratch_bytes)}; narrow memory {size(item.narrow_bytes_per_tile)} per tile; "
        f"estimated cycles {cycles}"
    )
    for title, layers in (("in", item.inputs), ("out", item.outputs)):
        for layer in layers:
            click.echo(f"    {title:<4}{_layer(layer)}")


def _layer(layer: LayerReport) -> str:
    times = f", {layer.executions} executions" if layer.executions != 1 else ""
    numerics = f", {layer.scale:g}·(q - {layer.zero_point})" if layer.scale is not None else ""
    shape = f"{layer.y}×{layer.x}×{layer.z}"
    return f"{layer.name} {shape} {layer.data_type.lower()}, {layer.size_bytes} bytes{numerics}{times}"
