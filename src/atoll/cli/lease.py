"""``atoll lease``: a number of Edge TPUs and a command → the command, alone on them."""

from __future__ import annotations

import shutil

import click

from atoll.cli.options import wait_option
from atoll.cli.output import say
from atoll.hardware.buses import CHOICES
from atoll.products.progress import ignore


@click.command("lease", context_settings={"allow_interspersed_args": False})
@click.option("-n", "--count", type=click.IntRange(1), help="How many Edge TPUs.  [default: 1, or all that are named]")
@click.option("--bus", type=click.Choice([*CHOICES]), help="Only on this bus.")
@click.option("--device", "devices", multiple=True, metavar="DEVICE", help="Only these (usb:0, a path); repeatable.")
@click.option(
    "--priority",
    default=0,
    show_default=True,
    help="-100 to 100; the higher goes first. A step is worth a minute of waiting.",
)
@wait_option
@click.option("-q", "--quiet", is_flag=True, help="Do not say what the lease waits for.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    count: int | None,
    bus: str | None,
    devices: tuple[str, ...],
    priority: int,
    wait: float | None,
    quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND (after --) with Edge TPUs that no other process gets meanwhile.

    All of them at once or none, first come first served. The command sees the leased devices only, and has them until
    it and everything it started has ended, however that happens.
    """
    from atoll.device import lease
    from atoll.device.leasing.command import EXIT_NOT_FOUND, run_alone

    if shutil.which(command[0]) is None:
        say(f"error: there is no command '{command[0]}'")
        click.get_current_context().exit(EXIT_NOT_FOUND)
    taken = lease(
        count,
        bus=bus,
        devices=devices or None,
        priority=priority,
        wait=wait,
        on_message=ignore if quiet else say,
    )
    click.get_current_context().exit(run_alone(taken, command))
