"""``model_pipelining DIR NAME SEGMENTS INFERENCES``: compiled segments → a pipeline, and what each of them did."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atoll.cli import invoke
from atoll.cli.options import INFERENCES

if TYPE_CHECKING:
    from atoll.pipeline import Pipeline


@click.command("model_pipelining", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("name")
@click.argument("segments", type=click.IntRange(1))
@click.argument("inferences", type=INFERENCES)
def command(directory: Path, name: str, segments: int, inferences: int) -> None:
    """Run the SEGMENTS files that the compiler made of the model NAME (without .tflite) in DIR as a pipeline.

    Each segment gets an Edge TPU of its own; INFERENCES random inputs are run.
    """
    from atoll.device import lease, make_interpreter
    from atoll.device.leasing.lease import patience
    from atoll.pipeline import Pipeline

    paths = _files(directory, name, segments)
    with lease(segments, timeout=patience(), on_wait=lambda text: click.echo(text, err=True)) as devices:
        interpreters = [make_interpreter(path, device) for path, device in zip(paths, devices)]
        with Pipeline(interpreters, devices=[device.path for device in devices]) as pipeline:
            begin = time.perf_counter()
            _run(pipeline, inferences)
            seconds = time.perf_counter() - begin
        _show(pipeline, paths, inferences, seconds)


def _files(directory: Path, name: str, segments: int) -> list[Path]:
    """The compiler's names; a model in one piece has no numbers."""
    from atoll.errors import FileMissingError

    if segments == 1:
        candidates = [[directory / f"{name}_segment_0_of_1_edgetpu.tflite"], [directory / f"{name}_edgetpu.tflite"]]
        paths = next((paths for paths in candidates if paths[0].exists()), candidates[-1])
    else:
        paths = [directory / f"{name}_segment_{i}_of_{segments}_edgetpu.tflite" for i in range(segments)]
    for path in paths:
        if not path.exists():
            hint = f"Make them: edgetpu_compiler --num_segments={segments} -o {directory} {name}.tflite"
            raise FileMissingError(f"there is no file {path}", hint)
    return paths


def _run(pipeline: Pipeline, inferences: int) -> None:
    """A producer and a consumer, as in the vendor's example."""
    import numpy as np

    random = np.random.default_rng(0)
    inputs = {spec.name: _random(random, spec) for spec in pipeline.inputs}
    failures: list[BaseException] = []

    def produce() -> None:
        try:
            for _ in range(inferences):
                pipeline.push(inputs)
            pipeline.close()
        except BaseException as failure:
            failures.append(failure)
            pipeline.close()

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        while pipeline.pop() is not None:
            pass
    except BaseException:
        pipeline.cancel()
        raise
    finally:
        producer.join()
    if failures:
        raise failures[0]


def _random(random: Any, spec: Any) -> Any:
    if spec.dtype.kind == "f":
        return random.uniform(-1, 1, spec.shape).astype(spec.dtype)
    return random.integers(0, 128, spec.shape).astype(spec.dtype)


def _show(pipeline: Pipeline, paths: Sequence[Path], inferences: int, seconds: float) -> None:
    from atoll.cli.old_output import table

    columns = ("segment", "device", "file", ">inferences", ">mean", ">p95", ">busy", ">waits for input", ">for output")
    rows = [
        (
            f"{stage.segment}",
            stage.device,
            path.name,
            f"{stage.count}",
            f"{stage.mean_s * 1e3:.2f} ms",
            f"{stage.p95_s * 1e3:.2f} ms",
            f"{stage.busy_share:.0%}",
            f"{stage.wait_input_s * 1e3:.1f} ms",
            f"{stage.wait_output_s * 1e3:.1f} ms",
        )
        for stage, path in zip(pipeline.stats(), paths)
    ]
    table(columns, rows)
    click.echo(
        f"{inferences} inferences in {seconds:.3f} s: {inferences / seconds:.1f} per second, "
        f"{seconds / inferences * 1e3:.2f} ms each."
    )
    limit = pipeline.bottleneck()
    if limit is not None:
        click.echo(f"{limit.message[0].upper()}{limit.message[1:]}. {limit.help}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit."""
    sys.exit(invoke(command, arguments))
