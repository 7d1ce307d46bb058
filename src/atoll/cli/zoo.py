"""``atoll zoo``: the standard networks."""

from __future__ import annotations

import click

from atoll.cli.old_output import json_option, print_json, table
from atoll.cli.options import OUTPUT_FILE, SEED


@click.group("zoo")
def command() -> None:
    """Standard networks as full-integer int8 models with random weights.

    Good for measuring and for trying things out: shapes, parameters and multiply-accumulates are those of the
    published networks, the weights are random, so the answers mean nothing.
    """


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the networks with their sizes."""
    from atoll import networks as zoo

    entries = zoo.names()
    if as_json:
        print_json("zoo", networks=[vars_of(entry) for entry in entries])
        return
    rows = [
        (
            e.name,
            "×".join(map(str, e.input_shape)),
            f"{e.parameters / 1e6:.2f} M",
            f"{e.macs / 1e6:,.0f} M",
            e.description,
        )
        for e in entries
    ]
    table(("network", "input", ">parameters", ">MACs", "description"), rows)


def vars_of(entry: object) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(entry)  # type: ignore[call-overload, no-any-return]


@command.command("build")
@click.argument("name")
@click.option("-o", "--output", metavar="FILE", type=OUTPUT_FILE, help="Where to write it.  [default: NAME.tflite]")
@click.option("--seed", default=0, show_default=True, type=SEED, help="Seed of the random weights.")
def build(name: str, output: str | None, seed: int) -> None:
    """Build network NAME and write it as a .tflite file."""
    from atoll import networks as zoo
    from atoll.cli.old_output import progress
    from atoll.model.tflite import write_model

    path = output or f"{name}.tflite"
    with progress(f"building {name}"):
        write_model(zoo.build(name, seed), path)
    click.echo(path)
