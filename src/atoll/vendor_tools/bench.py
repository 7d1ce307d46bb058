"""``atoll bench``: the vendor's analysis tools by their names and flags."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from atoll.cli.options import INFERENCES, OUTPUT_FILE, format_option, quiet_option
from atoll.cli.output import progress, say, show
from atoll.vendor_tools.graph import Names, Numbers

_F = TypeVar("_F", bound=Callable[..., Any])
# What the vendor's tools measure when nothing is named.
_PIPELINED = "inception_v3_299_quant,inception_v4_299_quant"
_SIDE_BY_SIDE = (
    "mobilenet_v1_1.0_224_quant,mobilenet_v2_1.0_224_quant,ssd_mobilenet_v1_coco_quant_postprocess,"
    "ssd_mobilenet_v2_coco_quant_postprocess,inception_v1_224_quant,inception_v2_224_quant,inception_v3_299_quant,"
    "inception_v4_299_quant"
)


@click.group("bench")
def command() -> None:
    """Measure, or model, what several Edge TPUs gain.

    A model is named as in its file NAME_edgetpu.tflite, NAME_segment_0_of_2_edgetpu.tflite or NAME.tflite (compiled for
    the run), or is a network of the zoo. Virtual devices take the times of CPU kernels, and they share the CPU's
    cores: measured on them, more devices gain little. --modelled says what Edge TPUs would do.
    """


def _common_options(function: _F) -> _F:
    options = [
        click.option("--device_type", default="any", type=click.Choice(["any", "pcionly", "usbonly"])),
        click.option("--modelled", is_flag=True, help="Simulate Edge TPUs; no device is used."),
        click.option("--target", metavar="NAME|FILE", help="The host of --modelled.  [default: x86-pcie]"),
        format_option,
        quiet_option,
    ]
    return functools.reduce(lambda made, option: option(made), reversed(options), function)


@command.command("model_pipelining_performance_analysis")
@click.option("--data_dir", default="/tmp/models/", show_default=True, help="Where the models are.")
@click.option("--model_list", type=Names(), default=_PIPELINED, show_default=True, help="Which models: a,b")
@click.option("--num_segments_list", type=Numbers(), default="1,2,3,4", show_default=True, help="Into how many pieces.")
@click.option("--num_inferences", default=100, show_default=True, type=INFERENCES, help="For each of them.")
@click.option(
    "--segment_latencies_path", metavar="FILE", type=OUTPUT_FILE, help="Write the segments' latencies, in ns."
)
@_common_options
def model_pipelining_performance_analysis(
    data_dir: str,
    model_list: Sequence[str],
    num_segments_list: Sequence[int],
    num_inferences: int,
    segment_latencies_path: str | None,
    output_format: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Run models as pipelines of several lengths: throughput, and what each segment takes."""
    from atoll.api.bench import pipelining_performance

    with progress(quiet) as told:
        report = pipelining_performance(
            model_list,
            directory=data_dir,
            segments=num_segments_list,
            inferences=num_inferences,
            latencies=segment_latencies_path,
            **options,
            on_progress=told,
            on_message=say,
        )
    show(report, output_format)


@command.command("multiple_tpus_performance_analysis")
@click.option("--num_requests", default=30_000, show_default=True, type=INFERENCES, help="For each number.")
@click.option("--test_data_dir", default="test_data", show_default=True, help="Where the models are.")
@click.option("--model_list", type=Names(), default=_SIDE_BY_SIDE, help="Which models: a,b  [default: the vendor's 8]")
@click.option(
    "--num_tpus_list",
    type=Numbers(),
    default="",
    help="On how many devices.  [default: 1 up to all, modelled: up to 4]",
)
@_common_options
def multiple_tpus_performance_analysis(
    num_requests: int,
    test_data_dir: str,
    model_list: Sequence[str],
    num_tpus_list: Sequence[int],
    output_format: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Run each model on one device, on two, ... side by side, the requests being shared out."""
    from atoll.api.bench import side_by_side_performance

    with progress(quiet) as told:
        report = side_by_side_performance(
            model_list,
            directory=test_data_dir,
            counts=num_tpus_list,
            requests=num_requests,
            **options,
            on_progress=told,
            on_message=say,
        )
    show(report, output_format)
