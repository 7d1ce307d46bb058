"""Options that say which Edge TPUs there are → a fleet, and what a model's segments cost on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atoll.errors import UsageError

if TYPE_CHECKING:
    from atoll.hardware.host import Target
    from atoll.model.graph import Graph
    from atoll.partitioning.fleet_costs import FleetCosts
    from atoll.partitioning.segment_costs import MemoryLimit

_F = TypeVar("_F", bound=Callable[..., Any])

TARGETS = {"pcie": "x86-pcie", "usb3": "desktop-usb3", "usb2": "pi3-usb2"}
"""The measured host that stands for a bus."""
ALIASES = {"pci": "pcie", "usb": "usb3"}
MOST_MIXED = 16
"""The search for devices of several kinds takes seconds from about here on."""
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "kib": 2**10, "mib": 2**20}


def mixed_option(function: _F) -> _F:
    """``--mixed``, passed as the kinds of the devices."""
    text = "Edge TPUs of different kinds: pcie:2,usb3:2. Instead of --tpus and --bus."
    return click.option("--mixed", metavar="BUS:N,...", callback=lambda _c, _p, value: _mixed(value), help=text)(
        function
    )


def memory_option(function: _F) -> _F:
    """``--memory-limit``, passed as a :data:`atoll.planning.MemoryLimit`."""
    text = "The parameters of a segment take so much at most (6MiB), or all fit on the chip (fit)."
    callback = lambda _c, _p, value: _memory(value)  # noqa: E731
    return click.option("--memory-limit", metavar="SIZE|fit", callback=callback, help=text)(function)


def _mixed(text: str | None) -> tuple[str, ...]:
    kinds: list[str] = []
    for item in [] if text is None else text.split(","):
        match = re.fullmatch(r"\s*(\w+):([1-9]\d{0,3})\s*", item, re.ASCII)
        kind = ALIASES.get(match[1], match[1]) if match else ""
        if match is None or kind not in TARGETS:
            raise UsageError(
                f"--mixed is '{text}'", f"Write for example pcie:2,usb3:2; known are {', '.join(TARGETS)}."
            )
        kinds += [kind] * int(match[2])
        if len(kinds) > MOST_MIXED:
            raise UsageError(f"--mixed '{text}' has more than {MOST_MIXED} Edge TPUs", "Name fewer.")
    return tuple(kinds)


def _memory(text: str | None) -> MemoryLimit:
    if text is None:
        return None
    if text == "fit":
        return "fit"
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?) ?([kmi]*b?)", text.lower(), re.ASCII)
    if match is None or match[2] not in _UNITS or not (size := int(float(match[1]) * _UNITS[match[2]])):
        raise UsageError(f"--memory-limit is '{text}'", "Write bytes (6000000), a size such as 6MiB, or fit.")
    return size


def load_host(bus: str | None, target: str | None) -> Target:
    """The host that ``--bus`` or ``--target`` names."""
    from atoll.hardware.host import load_target

    if bus and target:
        raise UsageError("--bus and --target both name a host", "Leave one of the two out.")
    return load_target(target or TARGETS[bus or "pcie"])


def hosts_of(mixed: tuple[str, ...], bus: str | None, target: str | None) -> dict[str, Target]:
    """By kind of device the host that is taken for it; ``any`` where all are alike."""
    if mixed and (bus or target):
        raise UsageError("--mixed and --bus or --target both say what the Edge TPUs hang on", "Leave one of them out.")
    if not mixed:
        return {"any": load_host(bus, target)}
    return {kind: load_host(kind, None) for kind in dict.fromkeys(mixed)}


def load_graph(path: str) -> Graph:
    """The main graph of a model; raises as compiling it would."""
    from atoll import toolchain
    from atoll.partitioning.best_cuts import cut_places
    from atoll.support import require_compilable

    model = toolchain.load(path)
    require_compilable(model)
    cut_places(model.main, 1)
    return model.main


def fleet_costs(graph: Graph, hosts: dict[str, Target], memory_limit: MemoryLimit = None) -> FleetCosts:
    """The costs of a model's segments on each kind of device."""
    from atoll.partitioning.fleet_costs import FleetCosts
    from atoll.partitioning.segment_costs import SegmentCosts

    return FleetCosts({kind: SegmentCosts(graph, host, memory_limit) for kind, host in hosts.items()})


CPU_CORES = "Each Edge TPU, copies and replicas too, is taken to have a CPU core for the operators on the CPU."
"""What predictions with copies or replicas take to be so, where there are such operators."""


def how(costs: FleetCosts) -> tuple[str, ...]:
    """How the predictions were obtained."""
    every = len(costs.graph.operators)
    hosted = every - len(costs.first.mapped)
    on_cpu = (
        f"{hosted} of the model's {every} operators stay on the CPU, each in its segment; their times are estimated."
    )
    mixed = "Each bus has its own host's numbers. Such pipelines were never compared with measurements."
    return (
        f"Times are modelled (docs/timing.md) with the numbers of {costs.name}; no Edge TPU was used. The memory is "
        "planned as atoll's compiler does; the size of the instruction stream is estimated.",
        *([mixed] if len(costs.targets) > 1 else []),
        *([on_cpu] if hosted else []),
    )
