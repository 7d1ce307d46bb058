"""``partition_with_profiling``, the vendor's partitioner: a model → compiled segments of about the same latency."""

from __future__ import annotations

from typing import Any

import click

from atoll.cli.options import (
    MODEL,
    OUTPUT_DIRECTORY,
    format_option,
    measuring_device_option,
    quiet_option,
    store_option,
    timeout_option,
)
from atoll.cli.output import say, say_each, show

_NS = click.IntRange(-1)


@click.command("partition_with_profiling", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--edgetpu_compiler_binary", metavar="PATH", help="Any with the vendor's command line.  [default: atoll's]"
)
@click.option("--model_path", required=True, type=MODEL, help="Path to the model.")
@click.option("--num_segments", required=True, type=click.IntRange(1), help="Number of output segment models.")
@click.option(
    "--output_dir", default="/tmp/models/", show_default=True, type=OUTPUT_DIRECTORY, help="Where the segments go."
)
@click.option(
    "--device_type",
    default="any",
    show_default=True,
    type=click.Choice(["any", "pcionly", "usbonly"]),
    help="What to profile on.",
)
@click.option(
    "--diff_threshold_ns",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(0),
    help="Stop when the upper and the lower bound of the latency differ by no more.",
)
@click.option(
    "--partition_search_step",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Places to cut by which a segment grows or shrinks at a time.",
)
@click.option(
    "--delegate_search_step",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Operators by which the compiler's delegate search steps back.",
)
@click.option(
    "--initial_lower_bound_ns", default=-1, show_default=True, type=_NS, help="-1: that of the start's fastest segment."
)
@click.option(
    "--initial_upper_bound_ns", default=-1, show_default=True, type=_NS, help="-1: that of the start's slowest segment."
)
@measuring_device_option
@click.option("--target", metavar="NAME|FILE", help="The host of the timing model.  [default: x86-pcie, desktop-usb3]")
@timeout_option
@store_option
@format_option
@quiet_option
def command(
    edgetpu_compiler_binary: str | None,
    model_path: str,
    num_segments: int,
    output_dir: str,
    diff_threshold_ns: int,
    partition_search_step: int,
    delegate_search_step: int,
    initial_lower_bound_ns: int,
    initial_upper_bound_ns: int,
    output_format: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Cut a model into segments of about the same latency, as compiled and measured, and write them.

    The search begins with segments of equal parameter bytes and bisects the latency of the slowest one. One Edge TPU
    is enough; without any, the timing model takes its place. atoll partition --measure finds better cuts with
    fewer measurements.
    """
    from atoll.api.partition_with_profiling import partition_with_profiling

    report = partition_with_profiling(
        model_path,
        segments=num_segments,
        output=output_dir,
        compiler=edgetpu_compiler_binary,
        threshold_ns=diff_threshold_ns,
        lower_ns=None if initial_lower_bound_ns < 0 else initial_lower_bound_ns,
        upper_ns=None if initial_upper_bound_ns < 0 else initial_upper_bound_ns,
        step=partition_search_step,
        delegate_step=delegate_search_step,
        **options,
        on_progress=say_each(quiet),
        on_message=say,
    )
    show(report, output_format)
