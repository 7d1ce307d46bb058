"""``atoll check``: a model → which operators the Edge TPU would run, and why not the others."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from atoll.cli.output import brief, json_option, print_json, table

if TYPE_CHECKING:
    from atoll.reporting.check_report import Stop


@click.command("check")
@click.argument("model", type=click.Path(readable=False))
@click.option("-m", "--min-runtime-version", "runtime", default=14, show_default=True, help="Oldest runtime.")
@json_option
def command(model: str, runtime: int, as_json: bool) -> None:
    """Say which operators of MODEL would run on the Edge TPU, and why the others would not.

    Nothing is written. Every reason is given, with what to do about it; operators that stay on the CPU only because
    they follow another one are counted with it (--json lists them).
    """
    from atoll.api.checking import check_model
    from atoll.model.tflite import read_model
    from atoll.reporting.check_report import stops

    report = check_model(read_model(model), runtime)
    if as_json:
        print_json("check", **asdict(report))
        return
    table(("operator", ">count", "status"), [(row.operator, f"{row.count}", row.status) for row in report.operators])
    for stop in stops(report.findings):
        _show(stop)
    click.echo(
        f"{report.mapped_operators} of {report.total_operators} operators would run on the Edge TPU, "
        f"with {report.mapped_macs:.1%} of the multiply-accumulates and {report.mapped_parameters:.1%} of the "
        f"parameters. They need runtime version {report.runtime}."
    )


def _show(stop: Stop) -> None:
    click.echo(brief(stop.where))
    for reason in stop.reasons:
        click.echo(brief(f"  why: {reason.why}\n  do:  {reason.remedy}"))
    if stop.behind:
        count = f"{len(stop.behind)} operators" if len(stop.behind) > 1 else "one operator"
        first = brief(stop.behind[0])
        click.echo(f"  {count} behind it, from {first} on, could run there: only one region is mapped (-a: all)")
