"""Workloads and a target → how a prediction was obtained, and what is known about its error."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from atoll.estimate import MAX_CLOCK_MHZ
from atoll.estimate.workload import Workload
from atoll.hardware.host import Target, profile, profile_names


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Errors of such predictions on measurements that nothing was fitted to; relative, 0.1 is 10 %."""

    group: str
    points: int
    median: float
    p90: float
    caveat: str = ""
    """Why the error of this prediction may be another."""


def error_sentence(accuracy: Accuracy | None) -> str:
    """What is known about the error, in words."""
    if accuracy is None:
        return "not known, nobody has compared this target with measurements that it was not made from"
    caveat = f"; {accuracy.caveat}" if accuracy.caveat else ""
    return (
        f"median {accuracy.median:.1%}, 90th percentile {accuracy.p90:.1%} on {accuracy.points} measurements held out "
        f"from the fit ({accuracy.group}; docs/timing.md){caveat}"
    )


_INSTRUCTIONS_ESTIMATED = "The size of the instruction stream is estimated (median error 16 %, docs/timing.md)."
_INSTRUCTIONS_READ = "The size of the instruction stream is that in the compiled file."


def source_sentences(
    workloads: Sequence[Workload], target: Target, measured: Sequence[Mapping[int, float]]
) -> list[str]:
    """How the numbers of a profile came about, a sentence each; ``measured``: ms of operators of the CPU."""
    texts = [f"Modelled with the numbers of {target.name} (docs/timing.md); no Edge TPU was used for that."]
    texts += dict.fromkeys(work.how for work in workloads)
    if any(work.regions for work in workloads):
        read = all(work.instruction_bytes for work in workloads if work.regions)
        texts.append(_INSTRUCTIONS_READ if read else _INSTRUCTIONS_ESTIMATED)
    if any(set(work.hosted) - set(cpu) for work, cpu in zip(workloads, measured)):
        texts.append(
            "Operators on the CPU are estimated from multiply-accumulates, elements and anchors; of them only "
            "detections were ever compared with measurements."
        )
    if any(measured):
        texts.append("Operators on the CPU were measured here: medians of LiteRT's built-in kernels on one thread.")
    if len(workloads) > 1:
        texts.append("Stages follow the pipeline model: one host thread of work per stage, transfers scaled.")
    return texts


def held_out_error(
    target: Target, tpus: int = 1, clock_mhz: float = MAX_CLOCK_MHZ, hosted: bool = False
) -> Accuracy | None:
    """What is known about the error of predictions for ``target``; None for one that does not come with the package.

    The numbers are those that benchmarks/fit_timing.py wrote beside the profiles, with the memory planned by atoll.
    ``hosted``: operators stay on the CPU.
    """
    known = next((name for name in profile_names() if _same_numbers(profile(name), target)), None)
    if known is None:
        return None
    groups = _held_out()
    caveats = []
    group = f"{known}, real network"
    if tpus > 1:
        group = "all pipelines"
        # ../shared/data/latencies.json has times of five convolutions or dense layers in a row; of real networks in
        # pipelines only the speed-ups that the vendor's tests require at least.
        caveats.append("synthetic sweeps, no time of a real network in a pipeline is known")
        if known != "x86-pcie":
            caveats.append("measured on x86-pcie only")
        if tpus > 4:
            caveats.append("of 2 to 4 devices only")
    elif group not in groups:
        group = "real networks, all hosts"
        caveats.append(f"no real network was measured on {known}")
    if clock_mhz != MAX_CLOCK_MHZ:
        caveats.append("all at 500 MHz")
    if hosted:
        caveats.append("of operators on the CPU they had detections only")
    found = groups[group]
    return Accuracy(group, int(found["points"]), found["median"], found["p90"], ", ".join(caveats))


def _same_numbers(one: Target, other: Target) -> bool:
    return all(getattr(one, table) == getattr(other, table) for table in ("chip", "instructions", "bus", "host"))


@functools.cache
def _held_out() -> Mapping[str, Mapping[str, float]]:
    text = (resources.files("atoll.hardware") / "hosts" / "held-out.json").read_text("utf-8")
    groups: Mapping[str, Mapping[str, float]] = json.loads(text)["groups"]
    return groups
