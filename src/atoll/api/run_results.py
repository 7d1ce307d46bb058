"""A run → its proof against the uncut model, and its report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from atoll.api.run_options import Run, RunOptions, Tensors
from atoll.api.run_segments import dealt, per_device
from atoll.compiler.deployment import Deployment, SegmentFile
from atoll.device import EdgeTpu
from atoll.device.plain import plain_interpreter
from atoll.errors import InvalidModelError
from atoll.model.graph import Model
from atoll.pipeline import StageStats
from atoll.reporting.run_report import Deviation, RunReport, SegmentReport


def compare_with_whole(model: Model, sample: Iterable[tuple[Tensors, Tensors]]) -> tuple[Deviation, ...]:
    """The oracle: the uncut model in one plain interpreter of the same kernels, fed the same inputs in the same order.

    Every output that differs from it in at least one bit.
    """
    whole = plain_interpreter(model)
    try:
        whole.allocate_tensors()
    except RuntimeError as error:
        raise InvalidModelError(f"{model.path}: LiteRT cannot run it: {error}", "Convert it again.") from error
    found = []
    for number, (inputs, outputs) in enumerate(sample):
        for detail in whole.get_input_details():
            whole.set_tensor(detail["index"], inputs[detail["name"]])
        whole.invoke()
        for detail in whole.get_output_details():
            expected, got = whole.get_tensor(detail["index"]), outputs[detail["name"]]
            if expected.tobytes() != got.tobytes():
                steps = np.abs(expected.astype(np.float64) - got.astype(np.float64))
                count = int(np.count_nonzero(expected != got))
                found.append(Deviation(number, detail["name"], count, expected.size, float(steps.max(initial=0))))
    return tuple(found)


def run_report(
    deployment: Deployment,
    devices: Sequence[EdgeTpu],
    run: Run,
    compared: bool,
    deviations: Sequence[Deviation],
    options: RunOptions,
) -> RunReport:
    """Everything that a run showed."""
    groups = dealt(deployment, devices)
    stages = [[stage for stage in run.stages if stage.segment == n] for n in range(len(groups))]
    periods = [_period(each) for each in stages]
    slowest = max(periods)
    return RunReport(
        model=deployment.name,
        strategy=deployment.strategy,
        compiler=deployment.compiler,
        inferences=run.inferences,
        verified=len(run.sample) if compared else 0,
        deviations=tuple(deviations),
        first_result_s=run.first_result_s,
        wall_s=run.wall_s,
        throughput=run.inferences / run.wall_s,
        ideal_throughput=1 / slowest,
        advice=run.advice,
        times=_times(devices, options),
        targets=tuple({target.name: None for target in map(options.target_of, devices) if target is not None}),
        virtual=any(device.virtual for device in devices),
        interpreters_per_device=per_device(devices[0], options),
        segments=tuple(
            _segment_report(segment, group, each, period / slowest, modelled, late)
            for segment, group, each, period, modelled, late in zip(
                deployment.segments, groups, stages, periods, run.modelled_s or [None] * len(groups), run.late
            )
        ),
        agreements=deployment.agreements,
    )


def _period(stages: Sequence[StageStats]) -> float:
    """Seconds per item that a segment needs with all its devices."""
    return 1 / sum(1 / stage.mean_s for stage in stages if stage.mean_s)


def _times(devices: Sequence[EdgeTpu], options: RunOptions) -> str:
    if not any(device.virtual for device in devices):
        return "measured on real Edge TPUs"
    if options.real_time:
        return "virtual devices in real time: each takes as long as modelled, or longer"
    return (
        f"virtual devices: wall-clock times of CPU kernels on this machine's {os.cpu_count()} cores, "
        "not those of an Edge TPU (what that would take: atoll plan, atoll profile, or --real-time)"
    )


def _segment_report(
    segment: SegmentFile,
    group: Sequence[EdgeTpu],
    stages: Sequence[StageStats],
    share: float,
    modelled_s: float | None,
    late: float,
) -> SegmentReport:
    count = sum(stage.count for stage in stages)
    return SegmentReport(
        file=segment.path.name,
        device=", ".join(device.path for device in group),
        replicas=len(group),
        operators=segment.operators,
        mapped_operators=segment.mapped_operators,
        on_chip_bytes=segment.on_chip_bytes,
        off_chip_bytes=segment.off_chip_bytes,
        input_bytes=segment.input_bytes,
        output_bytes=segment.output_bytes,
        mean_ms=sum(stage.total_s for stage in stages) / max(count, 1) * 1e3,
        p95_ms=max(stage.p95_s for stage in stages) * 1e3,
        modelled_ms=None if modelled_s is None else modelled_s * 1e3,
        late_share=late,
        share_of_bottleneck=share,
    )
