"""``atoll compile``: models → files for the Edge TPU, with what was decided and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from atoll.cli.old_output import brief, json_option, print_json, progress, quiet_option, table
from atoll.cli.options import OUTPUT_DIRECTORY, OUTPUT_FILE, FiniteFloat
from atoll.errors import UsageError

if TYPE_CHECKING:
    from atoll.api.codegen import Mode
    from atoll.compiler.memory.order import OrderSearch
    from atoll.reporting.compile_report import FileReport
    from atoll.toolchain import Attempt

_SHOWN_ORDERS = 24


@click.command("compile")
@click.argument("models", nargs=-1, required=True, type=click.Path(readable=False), metavar="MODEL...")
@click.option(
    "-o",
    "--output-dir",
    "directory",
    default="",
    metavar="DIR",
    type=OUTPUT_DIRECTORY,
    help="Where the files go.  [default: .]",
)
@click.option(
    "-n", "--segments", default=1, show_default=True, type=click.IntRange(1), help="Files to cut one model into."
)
@click.option(
    "-m", "--min-runtime-version", "min_runtime", type=int, metavar="N", help="Oldest Edge TPU runtime to support."
)
@click.option("-a", "--all-regions", is_flag=True, help="Map every supported part, each as its own custom operator.")
@click.option(
    "-i",
    "--intermediate-tensors",
    "stop_at",
    default="",
    metavar="NAMES",
    help="Tensors where mapping stops, with commas between; lists of several models with colons between.",
)
@click.option("-d", "--search", is_flag=True, help="If compilation fails, stop earlier in the graph and try again.")
@click.option("-k", "--search-step", default=1, show_default=True, type=click.IntRange(1), help="Operators per try.")
@click.option(
    "-t", "--timeout", default=180.0, show_default=True, type=FiniteFloat(0.001, 1e6), help="Seconds it may take."
)
@click.option("--order", type=click.Choice(["given", "best"]), default="given", help="Order of co-compiled models.")
@click.option("--rate", "rates", multiple=True, metavar="MODEL=R", help="How often a model runs, for --order best.")
@click.option("--generation", default="16", show_default=True, help="Vendor compiler to follow: 1.0, 2.0 ... 16.")
@click.option(
    "--no-cpu-subgraph",
    is_flag=True,
    help="Leave the original operators out: smaller files, not for plain LiteRT.",
)
@click.option("--partition", "partition_file", metavar="FILE", help="Cut as this file of atoll partition says.")
@click.option(
    "--codegen",
    type=click.Choice(["auto", "virtual", "vendor"]),
    default="auto",
    show_default=True,
    help="Whose compiler writes the files: ours (for virtual devices), or the vendor's; auto: the vendor's if found.",
)
@click.option("--compiler", metavar="PATH", help="The vendor's compiler.  [default: the first in PATH]")
@click.option("--csv", "csv_file", metavar="FILE", type=OUTPUT_FILE, help="Write one row per operator.")
@json_option
@quiet_option
def command(
    models: tuple[str, ...],
    directory: str,
    segments: int,
    min_runtime: int | None,
    all_regions: bool,
    stop_at: str,
    search: bool,
    search_step: int,
    timeout: float,
    order: str,
    rates: tuple[str, ...],
    generation: str,
    no_cpu_subgraph: bool,
    partition_file: str | None,
    codegen: Mode,
    compiler: str | None,
    csv_file: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compile MODEL for the Edge TPU; several MODELs share one Edge TPU's memory.

    Our own files run on virtual devices and, without any, on the CPU; real Edge TPUs need the vendor's compiler. With
    that, the report shows its answer and what we predicted. All files are named as the vendor names them.
    """
    from atoll.cli.compile_vendor import Request, compile_with_vendor, vendor_compiler

    weights = _rates(models, rates, order)
    _require_one_cut(models, partition_file)
    chosen = vendor_compiler(codegen, compiler, quiet)
    if chosen is not None:
        request = Request(models, directory, segments, min_runtime, all_regions, timeout, partition_file)
        compile_with_vendor(chosen, request, as_json, quiet)
        return
    from atoll.api.compile_job import Compilation, Job
    from atoll.files import write_file
    from atoll.hardware import generations
    from atoll.reporting.compile_report import operators_csv
    from atoll.toolchain import CompileOptions

    options = CompileOptions(
        segments=segments,
        min_runtime=min_runtime,
        all_regions=all_regions,
        search_step=search_step if search else 0,
        generation=generations.generation(generation),
        cpu_graph=not no_cpu_subgraph,
    )
    with (
        Compilation(Job(models, options, stop_at, directory, weights, partition_file), timeout) as compilation,
        progress(f"compiling {', '.join(models)}", quiet=quiet),
    ):
        reports = compilation.wait()
    if csv_file:
        write_file(csv_file, operators_csv(reports))
    if as_json:
        print_json("compile", **_fields(models, reports, compilation.attempts, compilation.orders))
        return
    _show_orders(models, weights, compilation.orders)
    for attempt in compilation.attempts:
        if attempt.failure is not None:
            click.echo(f"stopping after {attempt.operators} operators failed: {attempt.failure.message}")
    _show_files(reports)
    _show_reasons(reports)
    for hint in hints(reports, options.generation.default_runtime):
        click.echo(f"hint: {hint}")


def _require_one_cut(models: Sequence[str], partition_file: str | None) -> None:
    if partition_file is None:
        return
    given = click.get_current_context().get_parameter_source
    if len(models) > 1:
        raise UsageError("--partition says how to cut one model, and several are given", "Name one model.")
    if given("segments") is not click.core.ParameterSource.DEFAULT:
        raise UsageError("--partition and --segments both say how many segments there are", "Leave --segments out.")


def _rates(models: Sequence[str], rates: Sequence[str], order: str) -> tuple[float, ...] | None:
    """Per model, how often it runs; None when no order is to be searched."""
    import difflib
    import math

    if order != "best":
        if rates:
            raise UsageError("--rate says how to weigh orders, and no order is searched", "Add --order best.")
        return None
    if len(models) < 2:
        raise UsageError("--order best needs several models", "Name the models that run on the same Edge TPU.")
    result = dict.fromkeys(models, 1.0)
    for text in rates:
        name, _, number = text.rpartition("=")
        if name not in result:
            near = difflib.get_close_matches(name, models, n=1, cutoff=0.0)
            raise UsageError(f"--rate {text}: '{name}' is not one of the models", f"Did you mean {near[0]}={number}?")
        try:
            result[name] = float(number)
        except ValueError:
            result[name] = math.nan
        if not 0 <= result[name] < math.inf:
            raise UsageError(f"--rate {text}: '{number}' is not a rate", "Give inferences per second, 0 or more.")
    return tuple(result[model] for model in models)


def _fields(
    models: Sequence[str], reports: Sequence[FileReport], attempts: Sequence[Attempt], orders: OrderSearch | None
) -> dict[str, Any]:
    content: dict[str, Any] = {"files": [{**asdict(report), "log": report.log} for report in reports]}
    content["attempts"] = [
        {**asdict(attempt), "failure": attempt.failure and attempt.failure.message}
        for attempt in attempts
        if attempt.failure is not None or not _failed_later(attempt, attempts)
    ]
    if orders is not None:
        listed = [{**asdict(item), "models": [models[i] for i in item.models]} for item in orders.orders[:1000]]
        content["orders"] = {"exhaustive": orders.exhaustive, "tried": len(orders.orders), "orders": listed}
    return content


def _failed_later(attempt: Attempt, attempts: Iterable[Attempt]) -> bool:
    place = attempt.segment, attempt.operators
    return any(other.failure is not None and (other.segment, other.operators) == place for other in attempts)


def _show_orders(models: Sequence[str], weights: Sequence[float] | None, orders: OrderSearch | None) -> None:
    if orders is None or weights is None:
        return
    from atoll.products.units import size
    from atoll.reporting.compile_report import base_name

    names = [base_name(model) for model in models]
    table(
        ("order", ">on-chip", ">off-chip", ">streamed per second"),
        [
            (
                " ".join(names[i] for i in item.models),
                " ".join(size(item.cached[i]) for i in item.models),
                " ".join(size(item.streamed[i]) for i in item.models),
                size(round(item.cost)),
            )
            for item in orders.orders[:_SHOWN_ORDERS]
        ],
    )
    left_out = len(orders.orders) - _SHOWN_ORDERS
    if left_out > 0:
        click.echo(f"{left_out} more orders stream as much or more.")
    proof = "the true optimum" if orders.exhaustive else "the best found; there are too many models to try every order"
    click.echo(f"Compiled in the first order: {proof}.")


def _show_files(reports: Sequence[FileReport]) -> None:
    from atoll.products.units import size

    table(
        ("file", ">operators", ">on TPU", ">on-chip", ">remaining", ">off-chip", ">runtime", ">size"),
        [
            (
                report.output,
                f"{len(report.operators)}",
                f"{sum(item.on_tpu for item in report.operators)}",
                size(report.on_chip_bytes),
                size(report.remaining_bytes),
                size(report.off_chip_bytes),
                f"{report.runtime}" if report.subgraphs else "-",
                size(report.output_bytes),
            )
            for report in reports
        ],
    )


def _show_reasons(reports: Sequence[FileReport]) -> None:
    """Every rule that keeps operators on the CPU, with the first operator that it speaks of."""
    findings = [finding for report in reports for item in report.operators for finding in item.findings]
    counts = Counter(finding.rule for finding in findings)
    for rule, count in counts.items():
        first = next(finding for finding in findings if finding.rule == rule)
        others = f" (and {count - 1} more)" if count > 1 else ""
        click.echo(brief(f"on the CPU: {first.where}{others}\n  why: {first.why}\n  do:  {first.remedy}"))


def hints(reports: Sequence[FileReport], default_runtime: int) -> Iterable[str]:
    """What would make the result better."""
    from atoll.products.units import size

    for report in reports:
        if not report.subgraphs:
            yield f"nothing of {report.input} runs on the Edge TPU; see the reasons above."
        elif len(reports) == 1 and any(
            item.placement == "off-chip" and item.parameter_rows for item in report.operators
        ):
            capacity = report.on_chip_bytes + report.remaining_bytes
            count = -(-(report.on_chip_bytes + report.off_chip_bytes) // max(1, capacity))
            yield (
                f"{size(report.off_chip_bytes)} of parameters are sent with every inference. With {max(2, count)} or "
                f"more Edge TPUs they might all stay on the chips: --segments {max(2, count)}"
            )
        elif report.subgraphs and report.runtime > default_runtime:
            yield f"{report.output} needs Edge TPU runtime {report.runtime}."
    streamed = [report.output for report in reports if report.off_chip_bytes]
    if len(reports) > 1 and streamed:
        yield f"parameters of {', '.join(streamed)} are sent with every inference."
