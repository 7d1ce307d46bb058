"""``atoll check``: a model → which operators the Edge TPU would run, and why not the others."""

from __future__ import annotations

from dataclasses import asdict

import click

from atoll.cli.output import json_option, print_json, table


@click.command("check")
@click.argument("model", type=click.Path(readable=False))
@click.option("-m", "--min-runtime-version", "runtime", default=14, show_default=True, help="Oldest runtime.")
@json_option
def command(model: str, runtime: int, as_json: bool) -> None:
    """Say which operators of MODEL would run on the Edge TPU, and why the others would not.

    Nothing is written. Every reason is given, with what to do about it.
    """
    from atoll import toolchain

    report = toolchain.check_model(toolchain.load(model), runtime)
    if as_json:
        print_json("check", **asdict(report))
        return
    table(("operator", ">count", "status"), [(row.operator, f"{row.count}", row.status) for row in report.operators])
    for finding in report.findings:
        click.echo(f"{finding.where}\n  why: {finding.why}\n  do:  {finding.remedy}")
    click.echo(
        f"{report.mapped_operators} of {report.total_operators} operators would run on the Edge TPU, "
        f"with {report.mapped_macs:.1%} of the multiply-accumulates and {report.mapped_parameters:.1%} of the "
        f"parameters. They need runtime version {report.runtime}."
    )
