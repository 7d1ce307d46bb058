"""``atoll devices``: this machine → a table of its Edge TPUs, real and virtual."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING

import click

from atoll.cli.old_output import json_option, print_json, table
from atoll.cli.options import FiniteFloat

if TYPE_CHECKING:
    from atoll.device.survey import DeviceInfo, Survey

_COLUMNS = ("device", "kind", "bus", ">speed", "path", "identity", ">temperature", ">clock", "held by")


@click.command("devices")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--interval", default=1.0, show_default=True, type=FiniteFloat(0.1, 1e6), help="Seconds between two looks."
)
@json_option
def command(watch: bool, interval: float, as_json: bool) -> None:
    """List the Edge TPUs: bus and speed, path, identity, temperature and clock, and who holds them.

    With --watch and --json, one line of JSON for each look.
    """
    from atoll.device.survey import survey

    if not watch:
        _show(survey(), as_json)
        return
    try:
        while True:
            seen = survey(refresh=True)
            if as_json:
                click.echo(json.dumps({"schema": "atoll.devices/1", "time": time.time(), **_fields(seen)}))
            else:
                click.clear()
                _show(seen, as_json)
            time.sleep(interval)
    except KeyboardInterrupt:
        return


def _show(seen: Survey, as_json: bool) -> None:
    if as_json:
        print_json("devices", **_fields(seen))
        return
    if seen.devices:
        table(_COLUMNS, [_row(device) for device in seen.devices])
    else:
        click.echo("No Edge TPU. ATOLL_VIRTUAL_TPUS=4 makes four virtual ones; atoll doctor says more.")
    for device in seen.devices:
        for note in device.notes:
            click.echo(f"{device.name or device.path}: {note}")
    if seen.problem is not None:
        from atoll.errors import LeaseDirectoryError

        what = (
            "Devices cannot be leased"
            if isinstance(seen.problem, LeaseDirectoryError)
            else "Real devices cannot be used"
        )
        click.echo(f"{what}: {seen.problem.message}", err=True)
        click.echo(seen.problem.hint, err=True)


def _row(device: DeviceInfo) -> tuple[str, ...]:
    speed = device.speed_mbps
    return (
        device.name or "-",
        "virtual" if device.virtual else device.type,
        {"pcie": "PCIe", "usb3": "USB 3", "usb2": "USB 2"}[device.bus],
        "" if speed is None else f"{speed / 1000:g} Gbit/s" if speed >= 1000 else f"{speed} Mbit/s",
        device.path,
        device.identity,
        "" if device.temperature_c is None else f"{device.temperature_c:.1f} °C",
        "" if device.clock_mhz is None else f"{device.clock_mhz:g} MHz",
        device.holder,
    )


def _fields(seen: Survey) -> dict[str, object]:
    problem = seen.problem
    return {
        "devices": [dataclasses.asdict(device) for device in seen.devices],
        "problem": problem and {"message": problem.message, "hint": problem.hint, "exit_code": problem.exit_code},
    }
