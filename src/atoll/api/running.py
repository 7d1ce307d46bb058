"""A deployment, devices and inputs → a pipeline run, its proof against the uncut model, its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from atoll import toolchain
from atoll.api.run_devices import leased, usable_devices
from atoll.api.run_options import Run, RunOptions, Tensors
from atoll.api.run_results import compare_with_whole, run_report
from atoll.api.run_segments import run_segments
from atoll.compiler.deployment import Deployment
from atoll.errors import UsageError, VerificationError
from atoll.model.graph import Model
from atoll.reporting.run_report import RunReport


def run_pipeline(
    model: Model,
    tpus: int,
    inputs: Iterable[Tensors],
    segments_dir: str | Path,
    options: RunOptions = RunOptions(),
    on_result: Callable[[int], object] = int,
) -> RunReport:
    """Compile ``model`` into ``tpus`` segments of equal parameter bytes, run them, and compare with the uncut model.

    ``inputs`` gives at least ``options.inferences`` sets by tensor name.

    Raises:
        AtollError: as :func:`atoll.toolchain.deploy`; and DeviceError, InputError, OutputError, PipelineError.
        VerificationError: an output differs.
    """
    model = toolchain.load(model)
    deployment = toolchain.deploy(model, toolchain.equal_partition(model.main, tpus), segments_dir)
    return run_deployment(deployment, model, inputs, options, on_result)


def run_deployment(
    deployment: Deployment,
    whole: Model | None,
    inputs: Iterable[Tensors],
    options: RunOptions = RunOptions(),
    on_result: Callable[[int], object] = int,
) -> RunReport:
    """Run compiled segments as a pipeline on devices of their own, and compare with the uncut model if it is given.

    Raises as :func:`run_pipeline`. On real devices a difference is reported, and no error.
    """
    usable = usable_devices(deployment, options.devices)
    if options.clock is not None and not (options.target or options.by_bus) and usable[0].virtual:
        raise UsageError(
            "the clock of virtual devices changes modelled latencies, and none are asked for",
            "Add --real-time, --bus or --target to --clock.",
        )
    with leased(usable, deployment.devices, options.timeout, options.on_wait) as devices:
        run = run_segments(deployment, devices, inputs, options, on_result)
        deviations = compare_with_whole(whole, run.sample) if whole is not None else ()
    if deviations and all(device.virtual for device in devices):
        worst = deviations[0]
        raise VerificationError(
            f"{deployment.name}: output '{worst.output}' of inference {worst.inference} differs from the uncut model "
            f"in {worst.count} of {worst.size} values",
            "This is a fault of atoll: please report it with the model.",
        )
    return run_report(deployment, devices, run, whole is not None, deviations, options)


__all__ = [
    "Run",
    "RunOptions",
    "compare_with_whole",
    "leased",
    "run_deployment",
    "run_pipeline",
    "run_report",
    "run_segments",
    "usable_devices",
]
